/** Splits running text into sentences, keeping abbreviations, initials and decimal numbers whole. */
export function splitSentences(text: string): string[] {
  const sentences: string[] = [];
  for (const { segment } of SENTENCES.segment(text)) {
    const piece = segment.trim();
    const previous = sentences.at(-1);
    if (previous !== undefined && (ABBREVIATED.test(previous) || /^[\p{Ll},;)]/u.test(piece))) {
      sentences[sentences.length - 1] = `${previous} ${piece}`;
    } else if (piece !== '') {
      sentences.push(piece);
    }
  }
  return sentences;
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

const ABBREVIATED =
  /(?:^|[\s(])(?:\p{Lu}|e\.g|i\.e|et al|cf|ca|approx|vs|etc|no|nos|fig|figs|eq|sec|vol|pp|ed|eds|dr|mr|mrs|ms|prof|st|inc|ltd|co|corp|jr|sr|u\.s|jan|feb|mar|apr|aug|sept?|oct|nov|dec)\.$/iu;

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
