import type { TextLine } from './pdf-lines.ts';
import type { WordJoiner } from './pdf-words.ts';
import { endsAbbreviated, isUnfinished, splitWords } from './sentences.ts';
import { CAPTION, ENDS_SENTENCE, LIST_MARK } from './sentence-marks.ts';

/**
 * Lines that belong together: running `text`, the `line` of a heading or of a form, a `row` of a table, the `caption`
 * of a figure, a `note` in small type.
 */
export type Part = { kind: 'text' | 'line' | 'row' | 'caption' | 'note'; page: number; text: string };

/** Puts lines in reading order together, up to the list of references. */
export function toParts(lines: TextLine[], words: WordJoiner): Part[] {
  const type = measureType(lines);
  const parts: OpenPart[] = [];
  // What a line just below may go on with, and the paragraph that may go on in another column or after a figure.
  let above: OpenPart | undefined;
  let paragraph: OpenPart | undefined;
  for (const [index, line] of lines.entries()) {
    const isReferences = REFERENCES.test(line.text) && line.size >= type.bodySize * SMALL;
    if (isReferences) break;
    const kind = kindOf(lines, index, above, type);
    const text = line.dropCap ? words.joinDropCap(line.dropCap, line.text) : line.text;
    const open =
      kind === 'text'
        ? openParagraph(line, lines[index + 1], above, paragraph, type)
        : openSame(kind, line, above, type);
    if (open) {
      open.text = words.joinLines(open.text, text);
      open.right = open.last.block === line.block ? Math.max(open.right, line.right) : line.right;
      open.width = Math.max(open.width, line.right - line.x);
      open.last = line;
      above = open;
    } else {
      above = {
        kind,
        page: line.page,
        text,
        first: line,
        last: line,
        right: line.right,
        width: line.right - line.x,
      };
      parts.push(above);
    }
    if (kind === 'text') paragraph = above;
    if (kind === 'row' && isBeside(paragraph, line)) paragraph = undefined;
  }
  return parts.map((part) => ({
    kind: part.kind === 'text' && isHeading(part, type) ? 'line' : part.kind,
    page: part.page,
    text: part.text,
  }));
}

const REFERENCES = /^(\d+\.?\s+)?(references|bibliography|works cited|literature cited)$/i;
const NOTE_MARK = /^(\d{1,3}|[⁰¹²³⁴-⁹]+|[*†‡§¶])[.)]?\s*["“(]?\p{L}/u;
/** As a share of the size that most of the text is set in. */
const SMALL = 0.85;
const LARGE = 1.12;

/** `right` and `width` are those of the part's longest line, in its last column. */
type OpenPart = Part & { first: TextLine; last: TextLine; right: number; width: number };

type TypeMeasures = {
  bodySize: number;
  /** A page may be set in small type as a whole. */
  pageSizes: Map<number, number>;
  /** From baseline to baseline, for each block with enough lines to tell, and for the document. */
  leadings: Map<string, number>;
  leading: number;
  /** Blocks with enough lines to tell how wide their column is. */
  columns: Map<string, { left: number; right: number }>;
};

function measureType(lines: TextLine[]): TypeMeasures {
  const bodySize = mostCommonSize(lines);
  const pageSizes = new Map<number, number>();
  for (const [page, onPage] of Map.groupBy(lines, (line) => line.page))
    pageSizes.set(page, mostCommonSize(onPage));
  const leadings = new Map<string, number>();
  const columns = new Map<string, { left: number; right: number }>();
  for (const [block, inBlock] of Map.groupBy(lines, blockOf)) {
    const size = mostCommonSize(inBlock);
    const usual = inBlock.filter((line) => line.size === size);
    if (usual.length > 2) {
      columns.set(block, {
        left: Math.min(...usual.map((line) => line.x)),
        right: Math.max(...usual.map((line) => line.right)),
      });
    }
    const gaps = gapsBetween(inBlock, size);
    if (gaps.length >= 4) leadings.set(block, median(gaps));
  }
  const leading = median(gapsBetween(lines, bodySize)) || bodySize * 1.2;
  return { bodySize, pageSizes, leadings, leading, columns };
}

/** The size most of the text is set in. */
export function mostCommonSize(lines: TextLine[]): number {
  const letters = new Map<number, number>();
  for (const { size, text } of lines) letters.set(size, (letters.get(size) ?? 0) + text.length);
  return [...letters].reduce((best, entry) => (entry[1] > best[1] ? entry : best), [0, 0])[0];
}

function blockOf({ page, block }: TextLine): string {
  return `${page} ${block}`;
}

function gapsBetween(lines: TextLine[], size: number): number[] {
  return lines.flatMap((line, index) => {
    const above = lines[index - 1];
    const gap = above && blockOf(above) === blockOf(line) ? above.y - line.y : 0;
    return above?.size === size && line.size === size && gap > 0 && gap < size * 3 ? [gap] : [];
  });
}

function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

function kindOf(
  lines: TextLine[],
  index: number,
  above: OpenPart | undefined,
  type: TypeMeasures,
): Part['kind'] {
  const line = lines[index]!;
  if (line.isTableRow) return 'row';
  const body = Math.min(type.bodySize, type.pageSizes.get(line.page) ?? type.bodySize);
  if (line.size < body * SMALL) return 'note';
  const goesOn = above !== undefined && isBeside(above, line) && isNear(above, line, type);
  if (goesOn && above.kind === 'note' && line.size <= above.last.size) return 'note';
  if (NOTE_MARK.test(line.text) && line.size < body * 0.97 && isLastInBlock(lines, index)) return 'note';
  if (goesOn && above.kind === 'caption' && line.size === above.last.size) return 'caption';
  const isSentenceOpen = goesOn && above.kind === 'text' && !ENDS_SENTENCE.test(endOf(above));
  return CAPTION.test(line.text) && !isSentenceOpen ? 'caption' : 'text';
}

/** Only smaller type follows down to the end of the column, as below the line over footnotes. */
function isLastInBlock(lines: TextLine[], index: number): boolean {
  const line = lines[index]!;
  for (let below = index + 1; below < lines.length && blockOf(lines[below]!) === blockOf(line); below += 1) {
    if (lines[below]!.size > line.size) return false;
  }
  return true;
}

function isBeside(part: OpenPart | undefined, line: TextLine): boolean {
  return part !== undefined && blockOf(part.last) === blockOf(line);
}

function isNear(part: OpenPart, line: TextLine, type: TypeMeasures): boolean {
  return part.last.y - line.y <= leadingOf(line, type) * 1.3;
}

function leadingOf(line: TextLine, type: TypeMeasures): number {
  const larger = Math.max(1, line.size / type.bodySize);
  return type.leadings.get(blockOf(line)) ?? type.leading * larger;
}

function openSame(kind: Part['kind'], line: TextLine, above: OpenPart | undefined, type: TypeMeasures) {
  if (kind === 'row' || above?.kind !== kind || !isBeside(above, line)) return undefined;
  return isNear(above, line, type) && !NOTE_MARK.test(line.text) ? above : undefined;
}

function openParagraph(
  line: TextLine,
  next: TextLine | undefined,
  above: OpenPart | undefined,
  paragraph: OpenPart | undefined,
  type: TypeMeasures,
): OpenPart | undefined {
  if (LIST_MARK.test(line.text)) return undefined;
  if (above?.kind === 'text' && isBeside(above, line)) {
    return continuesBelow(above, line, next, type) ? above : undefined;
  }
  return paragraph && resumes(paragraph, line, next, type) ? paragraph : undefined;
}

function continuesBelow(
  part: OpenPart,
  line: TextLine,
  next: TextLine | undefined,
  type: TypeMeasures,
): boolean {
  const { last } = part;
  const isOpen = isUnfinished(endOf(part), line.text);
  const gap = last.y - line.y;
  if (!isAlike(last.size, line.size, LARGE)) return false;
  const isApart = gap > leadingOf(line, type) * 1.3;
  const isHeadingAbove = isOpen && part.first.font === last.font && last.font !== line.font && isShort(part);
  if (isHeadingAbove && (isApart || last.size > line.size)) return false;
  // Formulas and raised figures push lines apart, but not a sentence.
  if (isOpen && (startsSmall(line) || endsAbbreviated(endOf(part)))) return gap <= leadingOf(line, type) * 3;
  if (isApart) return false;
  if (!isOpen) {
    const indent = line.x - last.x;
    return !(indent > line.size * 0.8 && indent < line.size * 4);
  }
  const following = next && blockOf(next) === blockOf(line) ? next : line;
  return (
    !isHeadingAbove &&
    !isBrokenEarly(last, line, {
      right: Math.max(part.right, line.right, following.right),
      width: Math.max(part.width, line.right - line.x, following.right - following.x),
    })
  );
}

/** In another column, on another page or after a figure, only an unfinished sentence goes on. */
function resumes(part: OpenPart, line: TextLine, next: TextLine | undefined, type: TypeMeasures): boolean {
  const { last } = part;
  if (!isUnfinished(endOf(part), line.text) || !isAlike(last.size, line.size, 1.06)) return false;
  if (last.font !== line.font && isShort(part)) return false;
  if (startsSmall(line) || endsAbbreviated(endOf(part))) return true;
  if (last.font !== line.font || isBeside(part, line)) return false;
  // A line that stands alone tells nothing about how long it could be; it may be the header of the page.
  const column = type.columns.get(blockOf(last)) ?? { left: last.x, right: last.x + part.width };
  if (part.first === last && !type.columns.has(blockOf(last))) return false;
  if (isBrokenEarly(last, line, { right: column.right, width: column.right - column.left })) return false;
  // A heading at the top of a column: it leaves most of its line empty, and a sentence begins below.
  const isHeadingHere =
    next !== undefined &&
    blockOf(next) === blockOf(line) &&
    !startsSmall(next) &&
    !ENDS_SENTENCE.test(line.text) &&
    isBrokenEarly(line, next, { right: next.right, width: next.right - next.x });
  return !isHeadingHere;
}

/** A paragraph grows line by line; its sentence need not be read from the start each time. */
function endOf(part: { text: string }): string {
  return part.text.slice(-MAX_END);
}

const MAX_END = 300;
const MAX_SHORT = 400;

function isAlike(a: number, b: number, ratio: number): boolean {
  return Math.max(a, b) <= Math.min(a, b) * ratio;
}

/** Where no sentence of a script with capitals begins. */
function startsSmall(line: TextLine): boolean {
  return !line.dropCap && /^["'“‘«([]?[\p{Ll},;.)\]–—-]/u.test(line.text);
}

function isShort(part: { text: string }): boolean {
  return part.text.length < MAX_SHORT && splitWords(part.text).length < 12;
}

/** Whether the first word of the next line had room on the one above: then the break was meant. */
function isBrokenEarly(line: TextLine, next: TextLine, longest: { right: number; width: number }): boolean {
  const isSpaced = next.text.includes(' ');
  const letters = isSpaced ? next.text.indexOf(' ') + 1 : 1;
  const word = ((next.right - next.x) * letters) / next.text.length;
  const needed = word * 1.1 + line.size * 0.8;
  return line.right + needed < longest.right && line.right - line.x + needed < longest.width;
}

/** A short part that ends no sentence, or one in larger type. */
function isHeading(part: OpenPart, type: TypeMeasures): boolean {
  const body = Math.max(type.bodySize, type.pageSizes.get(part.page) ?? 0);
  const isOpen = !ENDS_SENTENCE.test(endOf(part));
  if (part.first.size > body * LARGE) return isOpen || isShort(part);
  return isOpen && !LIST_MARK.test(part.text) && isShort(part);
}
