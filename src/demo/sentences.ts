import { ENDS_SENTENCE } from './sentence-marks.ts';

/** Splits running text into sentences, keeping abbreviations, initials, decimal numbers and brackets whole. */
export function splitSentences(text: string): string[] {
  const sentences: string[] = [];
  let start = 0;
  let end = 0;
  for (const next of possibleEnds(text)) {
    if (end > start && !goesOn(text.slice(start, end).trim(), text.slice(end, next).trim())) {
      sentences.push(text.slice(start, end).trim());
      start = end;
    }
    end = next;
  }
  return [...sentences, text.slice(start).trim()].filter((sentence) => sentence !== '');
}

/** Where Unicode's rules see the end of a sentence, and after the marks of notes, which hide it from them. */
function possibleEnds(text: string): number[] {
  const ends = new Set([text.length]);
  for (const { index, segment } of SENTENCES.segment(text)) ends.add(index + segment.length);
  for (const { index } of text.matchAll(AFTER_NOTE_MARK)) ends.add(index);
  return [...ends].sort((a, b) => a - b);
}

/** "ended.[1] The next". */
const AFTER_NOTE_MARK = /(?<=[.!?]["”’)]*(?:\[[\d, –-]+\]|[¹²³⁰⁴-⁹]+)\s)(?=["“‘(]?\p{Lu})/gu;

/** Those rules see an end where a full stop only abbreviates, and where a quotation ends before its sentence. */
function goesOn(previous: string, piece: string): boolean {
  return (
    !ENDS_STATEMENT.test(previous) ||
    ABBREVIATED.test(previous) ||
    /^(?:[\p{Ll},;:)\]}”’»–—¹²³⁰⁴-⁹]|\[?[\d, –-]+\])/u.test(piece) ||
    (/^(?:[\d§([]|\p{Lu}\b)/u.test(piece) && NUMBERED.test(previous)) ||
    isOpen(previous)
  );
}

const ENDS_STATEMENT = /[\p{Sentence_Terminal}…]["'”’»)\]]*(?:\[[\d, –-]+\]|[¹²³⁰⁴-⁹]+)?$/u;

/**
 * "… (see there. It is …) …" is one sentence, and so is what is quoted in one. A bracket that never closes is a
 * slip, and is not waited for.
 */
function isOpen(text: string): boolean {
  const bracket = text.lastIndexOf('(');
  const curly = text.lastIndexOf('“');
  const straight = text.lastIndexOf('"');
  const open = Math.max(
    bracket > text.lastIndexOf(')') ? bracket : -1,
    curly > text.lastIndexOf('”') ? curly : -1,
    /[\s(]/.test(text[straight - 1] ?? ' ') ? straight : -1,
  );
  return open !== -1 && text.length - open < 200;
}

/** Whether a text that is followed by `next` stops within a sentence or a clause. */
export function isUnfinished(text: string, next: string): boolean {
  return !ENDS_SENTENCE.test(text) || (!/[:;]$/.test(text) && goesOn(text, next));
}

/** Whether a text stops after "Dr." or the like, so that what belongs to it must follow. */
export function endsAbbreviated(text: string): boolean {
  return ABBREVIATED.test(text) || NUMBERED.test(text);
}

/** The words of a text, in any script, as they are written. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  for (const { segment, isWordLike } of WORDS.segment(text)) if (isWordLike) words.push(segment);
  return words;
}

/** Lower-case words that carry meaning, plural and singular counted as one. */
export function contentWords(text: string): string[] {
  return splitWords(text.toLowerCase())
    .filter((word) => word.length > 1 && !STOP_WORDS.has(word) && /\p{L}/u.test(word))
    .map(stem);
}

/** A light stemmer: enough to let "holds" meet "hold" and "refunded" meet "refund". */
function stem(word: string): string {
  const base = word.replace(/['’]s$/, '');
  if (base.length > 4 && base.endsWith('ies')) return `${base.slice(0, -3)}y`;
  if (base.length > 5 && /(?:ed|ing)$/.test(base)) {
    const root = base.replace(/(?:ed|ing)$/, '');
    return /([^aeiouls])\1$/.test(root) ? root.slice(0, -1) : root;
  }
  if (base.length > 3 && /[^su]s$/.test(base)) return base.slice(0, -1);
  return base;
}

const SENTENCES = new Intl.Segmenter('en', { granularity: 'sentence' });
const WORDS = new Intl.Segmenter('en', { granularity: 'word' });

// prettier-ignore
const ABBREVIATIONS = (
  'e.g i.e et_al cf ca approx vs v etc viz resp incl excl est ibid nr figs eqs secs sect vols paras dr mr mrs ms ' +
  'messrs prof rev hon gen col maj capt lt sgt gov sen rep pres st mt ft ave blvd rd inc ltd llc plc corp co bros ' +
  'dept univ assn jr sr ph.d jan feb apr aug sept oct nov dec abs bzw usw vgl mme mlle eds'
).split(' ');

/** An initial, an abbreviation of letters with full stops such as "U.S.", or one of the list. */
const ABBREVIATED = new RegExp(
  `(?:^|[\\s([“"'’/–—-])(?:\\p{L}|(?:\\p{L}\\.)+\\p{L}|${ABBREVIATIONS.map((word) => word.replaceAll('.', '\\.').replace('_', ' ')).join('|')})\\.$`,
  'iu',
);
/** Before a number these are abbreviations; elsewhere they may be the last word of a sentence. */
const NUMBERED =
  /(?:^|[\s(])(?:no|nos|fig|eq|sec|art|arts|vol|ch|chap|p|pp|para|cl|item|app|ref|refs|ex|tab|ed|max|min|mar|jun|jul|sep|tel|ext)\.$/iu;

// prettier-ignore
const STOP_WORDS = new Set(
  ('a about above after again against all also although always am an and any are as at be because been before being ' +
    'below between both but by can cannot could did do does doing down during each either ever every few for from ' +
    'further had has have having he her here hers him his how however i if in into is it its itself just least less ' +
    'let many may me might more most much must my neither never no nor not now of off often on once one only or ' +
    'other our out over own per perhaps quite rather really s same shall she should since so some such t than that ' +
    'the their them then there therefore these they this those though through thus to too two under until up upon ' +
    'us very was we well were what when where whether which while who whom whose why will with within without would ' +
    'yet you your yours').split(' '),
);
