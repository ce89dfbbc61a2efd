/** One line as it is printed: where it begins, in points from the page's lower left corner, and its type size. */
export type TextLine = { text: string; page: number; x: number; y: number; size: number };

/** Running text, without headings, page furniture, notes in small type and the list of references. */
export type Paragraph = { page: number; text: string };

/** Puts the lines of a document together again. A paragraph may run over the end of a column or of a page. */
export function linesToParagraphs(lines: TextLine[]): Paragraph[] {
  const printed = withoutPageFurniture(lines);
  const bodySize = mostCommonSize(printed);
  const leading = medianLeading(printed, bodySize);

  const paragraphs: Paragraph[] = [];
  let previous: TextLine | undefined;
  for (const line of printed) {
    if (line.size > bodySize * 1.12 || REFERENCES.test(line.text)) {
      if (REFERENCES.test(line.text)) break;
      previous = undefined;
      continue;
    }
    if (line.size < bodySize * 0.85) continue;
    const open = paragraphs.at(-1);
    if (open && previous && continues(previous, line, leading)) open.text = join(open.text, line.text);
    else paragraphs.push({ page: line.page, text: line.text });
    previous = line;
  }
  return paragraphs.filter((paragraph) => !isHeading(paragraph.text));
}

const REFERENCES = /^(\d+\.?\s+)?(references|bibliography|works cited)$/i;
const LIST_MARK = /^([•▪‣◦●–*-]|\(?\d{1,2}[.)]|\([a-z]\))\s/;
const ENDS_SENTENCE = /[.!?:;。！？]["'”’)\]]*$/;

/** Headers, footers and page numbers: the outermost lines that come again on most pages, digits aside. */
function withoutPageFurniture(lines: TextLine[]): TextLine[] {
  const edges = new Set<TextLine>();
  const pagesOf = new Map<string, Set<number>>();
  const pages = Map.groupBy(lines, (line) => line.page);
  for (const [page, onPage] of pages) {
    const byHeight = onPage.toSorted((a, b) => b.y - a.y);
    for (const line of [...byHeight.slice(0, 2), ...byHeight.slice(-2)]) {
      edges.add(line);
      const key = digitless(line.text);
      pagesOf.set(key, (pagesOf.get(key) ?? new Set()).add(page));
    }
  }
  return lines.filter((line) => {
    if (!edges.has(line)) return true;
    const repeats = pagesOf.get(digitless(line.text))?.size ?? 0;
    return !PAGE_NUMBER.test(line.text) && (repeats < 2 || repeats < pages.size / 3);
  });
}

const PAGE_NUMBER = /^\W*(page\s*)?\d{1,4}(\s*(of|\/)\s*\d{1,4})?\W*$/i;

function digitless(text: string): string {
  return text.toLowerCase().replace(/\d+/g, '#');
}

/** The size most of the text is set in. */
export function mostCommonSize(lines: TextLine[]): number {
  const letters = new Map<number, number>();
  for (const { size, text } of lines) letters.set(size, (letters.get(size) ?? 0) + text.length);
  return [...letters].reduce((best, entry) => (entry[1] > best[1] ? entry : best), [0, 0])[0];
}

function medianLeading(lines: TextLine[], bodySize: number): number {
  const gaps: number[] = [];
  lines.forEach((line, index) => {
    const above = lines[index - 1];
    const gap = above ? above.y - line.y : 0;
    if (above?.size === bodySize && line.size === bodySize && gap > 0 && gap < bodySize * 3) gaps.push(gap);
  });
  gaps.sort((a, b) => a - b);
  return gaps[Math.floor(gaps.length / 2)] ?? bodySize * 1.2;
}

function continues(above: TextLine, line: TextLine, leading: number): boolean {
  if (LIST_MARK.test(line.text)) return false;
  const gap = above.y - line.y;
  // Another page or another column: only an unfinished sentence goes on there.
  if (line.page !== above.page || gap < -line.size) return !ENDS_SENTENCE.test(above.text);
  if (gap > leading * 1.3) return false;
  const isIndented = line.x - above.x > line.size * 0.8 && line.x - above.x < line.size * 4;
  return !(isIndented && ENDS_SENTENCE.test(above.text));
}

/** A word divided at the end of a line becomes whole again. */
function join(text: string, next: string): string {
  if (/\p{Ll}-$/u.test(text) && /^\p{Ll}/u.test(next)) return text.slice(0, -1) + next;
  return `${text} ${next}`;
}

/** A short line that ends no sentence, in the size of the text. */
function isHeading(text: string): boolean {
  return !ENDS_SENTENCE.test(text) && !LIST_MARK.test(text) && text.split(' ').length < 12;
}
