import type { TextLine } from './pdf-lines.ts';

/**
 * Leaves out headers, footers and page numbers: the outermost lines that come again on other pages, digits aside, and
 * that stand apart from the text. Two columns may by chance end in the same words; three hardly do at one height.
 */
export function withoutPageFurniture(lines: TextLine[]): TextLine[] {
  const leading = usualLeading(lines) ?? 0;
  const apart = new Set<TextLine>();
  const edges = [...Map.groupBy(lines, (line) => line.page).values()].flatMap((onPage) => {
    const outer = outermost(onPage, usualLeading(onPage) ?? leading);
    for (const line of outer.apart) apart.add(line);
    return outer.lines;
  });
  const alike = Map.groupBy(edges, (line) => digitless(line.text));
  const pages = new Set(lines.map((line) => line.page)).size;
  const furniture = new Set(
    edges.filter((line) => {
      if (apart.has(line) && isPageNumber(line.text)) return true;
      const others = (alike.get(digitless(line.text)) ?? []).filter(({ page }) => page !== line.page);
      const level = others.filter(({ y, size }) => Math.abs(y - line.y) < 2 && size === line.size);
      const standsApart = (one: TextLine) => apart.has(one);
      if (apart.has(line) && level.some(standsApart)) return true;
      if (apart.has(line) && countPages(others.filter(standsApart)) + 1 >= Math.max(2, pages / 3))
        return true;
      return countPages(level) + 1 >= Math.max(3, pages / 3);
    }),
  );
  return lines.filter((line) => !furniture.has(line));
}

const EDGE_HEIGHTS = 2;
/** As a multiple of the usual distance between two lines of the page. */
const MIN_DISTANCE = 1.4;

/** The lines at the two greatest and the two least heights of a page, and those with white between them and the rest. */
function outermost(onPage: TextLine[], leading: number): { lines: TextLine[]; apart: TextLine[] } {
  const heights = [...new Set(onPage.map(heightOf))].sort((a, b) => b - a);
  const at = (some: number[]) => onPage.filter((line) => some.includes(heightOf(line)));
  const isApart = (above: number | undefined, below: number | undefined) =>
    above === undefined || below === undefined || above - below > leading * MIN_DISTANCE;
  const apart: number[] = [];
  for (let count = 1; count <= EDGE_HEIGHTS; count += 1) {
    if (isApart(heights[count - 1], heights[count])) apart.push(...heights.slice(0, count));
    if (isApart(heights.at(-count - 1), heights.at(-count))) apart.push(...heights.slice(-count));
  }
  return {
    lines: at([...heights.slice(0, EDGE_HEIGHTS), ...heights.slice(-EDGE_HEIGHTS)]),
    apart: at(apart),
  };
}

/** Undefined where there are too few lines to tell. */
function usualLeading(lines: TextLine[]): number | undefined {
  const gaps = lines.flatMap((line, index) => {
    const above = lines[index - 1];
    return above?.block === line.block && above.y - line.y > line.size * 0.5 ? [above.y - line.y] : [];
  });
  gaps.sort((a, b) => a - b);
  return gaps.length < MIN_GAPS ? undefined : gaps[Math.floor(gaps.length / 2)];
}

const MIN_GAPS = 5;

function countPages(lines: TextLine[]): number {
  return new Set(lines.map((line) => line.page)).size;
}

function heightOf(line: TextLine): number {
  return Math.round(line.y);
}

function digitless(text: string): string {
  return text.toLowerCase().replace(/\d+/g, '#');
}

function isPageNumber(text: string): boolean {
  return PAGE_NUMBER.test(text) || ROMAN_PAGE_NUMBER.test(text);
}

const PAGE_NUMBER =
  /^[-–—|[(\s]*(page|seite|p\.)?\s*\d{1,4}(\s*(of|\/|von|\|)\s*\d{1,4})?(\s*\|?\s*page)?[-–—|\])\s]*$/i;
const ROMAN_PAGE_NUMBER = /^[-–—|[(\s]*(?=[ivxl])(xl|l?x{0,3})(ix|iv|v?i{0,3})[-–—|\])\s]*$/i;
