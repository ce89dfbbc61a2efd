import type { Fragment } from './pdf-fragments.ts';
import { toRows, type Row } from './pdf-rows.ts';

/** Fragments that are read on their own: running text, or a table, whose rows are read across. */
export type Block = { kind: 'text' | 'table'; fragments: Fragment[] };

/**
 * Finds the columns of a page by the white strips between them and puts its parts into reading order, however they
 * were drawn. The tallest strip is cut first; what stands above and below it, such as a heading over two columns,
 * and each side of it are divided again in the same way.
 */
export function toBlocks(fragments: Fragment[], bodySize: number): Block[] {
  return divide(toRows(fragments), bodySize, 0);
}

function divide(rows: Row[], bodySize: number, depth: number): Block[] {
  if (rows.length === 0) return [];
  const strip = depth < MAX_DEPTH ? tallest(whiteStrips(rows, bodySize), rows, bodySize) : undefined;
  if (!strip) return [{ kind: 'text', fragments: rows.flatMap((row) => row.fragments) }];

  const band = rows.slice(strip.first, strip.last + 1);
  const middle = (strip.from + strip.to) / 2;
  const all = band.flatMap((row) => row.fragments);
  const left = all.filter((fragment) => fragment.x < middle);
  const right = all.filter((fragment) => fragment.x >= middle);
  const sides = isRightToLeft(all) ? [right, left] : [left, right];
  const blocks = sides.map((side) => divide(toRows(side), bodySize, depth + 1));
  return [
    ...divide(rows.slice(0, strip.first), bodySize, depth + 1),
    ...(isTable(band, left, right, blocks) ? [{ kind: 'table' as const, fragments: all }] : blocks.flat()),
    ...divide(rows.slice(strip.last + 1), bodySize, depth + 1),
  ];
}

/** A strip free of ink, from row `first` to row `last`, between the abscissas `from` and `to`. */
type Strip = { first: number; last: number; from: number; to: number };

const MAX_DEPTH = 40;
/** In ems. A narrower strip may be a chance of justified text; between two rows chance is likelier than between many. */
const MIN_GUTTER = 0.7;
const MIN_GUTTER_OF_FEW_ROWS = 1.2;
const MANY_ROWS = 5;
/** Open strips at once; a page of text has a handful. */
const MAX_OPEN_STRIPS = 200;

/** All strips that cannot be made taller without becoming narrower. */
function whiteStrips(rows: Row[], bodySize: number): Strip[] {
  const minWidth = bodySize * MIN_GUTTER;
  const finished: Strip[] = [];
  let open = new Map<string, Strip>();
  rows.forEach((row, index) => {
    const next = new Map<string, Strip>();
    const add = (from: number, to: number, first: number) => {
      const key = `${from} ${to}`;
      const known = next.get(key);
      if (known) known.first = Math.min(known.first, first);
      else if (next.size < MAX_OPEN_STRIPS) next.set(key, { first, last: index, from, to });
    };
    const gaps = gapsOf(row, minWidth);
    for (const strip of open.values()) {
      for (const gap of gaps) {
        const from = Math.max(strip.from, gap.from);
        const to = Math.min(strip.to, gap.to);
        if (to - from >= minWidth) add(from, to, strip.first);
      }
      if (!next.has(`${strip.from} ${strip.to}`)) finished.push(strip);
    }
    for (const { from, to } of gaps) add(from, to, index);
    open = next;
  });
  return [...finished, ...open.values()].filter(
    ({ from, to }) => Number.isFinite(from) && Number.isFinite(to),
  );
}

/** The white of a row, to the left and to the right of its text as well. */
function gapsOf(row: Row, minWidth: number): { from: number; to: number }[] {
  const gaps = [];
  let from = -Infinity;
  for (const fragment of row.fragments) {
    if (fragment.x - from >= minWidth) gaps.push({ from, to: fragment.x });
    from = Math.max(from, fragment.x + fragment.width);
  }
  return [...gaps, { from, to: Infinity }];
}

function tallest(strips: Strip[], rows: Row[], bodySize: number): Strip | undefined {
  let best: Strip | undefined;
  let bestWeight = 0;
  for (const candidate of strips) {
    const strip = trim(candidate, rows, bodySize);
    const weight = strip ? weigh(strip, rows, bodySize) : 0;
    if (weight > bestWeight) {
      best = strip;
      bestWeight = weight;
    }
  }
  return best;
}

/**
 * A column may be longer than its neighbour. But rows of one side only, above or below where both sides stand, and
 * well apart from them, are no part of the columns.
 */
function trim(strip: Strip, rows: Row[], bodySize: number): Strip | undefined {
  const zone = sharedRows(strip, rows);
  if (!zone) return undefined;
  let { first, last } = zone;
  const isNear = (above: Row | undefined, below: Row | undefined) =>
    above !== undefined && below !== undefined && above.y - below.y < MAX_GAP_IN_COLUMN * bodySize;
  while (first > strip.first && isNear(rows[first - 1], rows[first])) first -= 1;
  while (last < strip.last && isNear(rows[last], rows[last + 1])) last += 1;
  return { ...strip, first, last };
}

/** In ems, from baseline to baseline. */
const MAX_GAP_IN_COLUMN = 3.2;

/** From where both sides have begun to where one of them ends. */
function sharedRows(strip: Strip, rows: Row[]): { first: number; last: number } | undefined {
  const edges = { left: { first: Infinity, last: -1 }, right: { first: Infinity, last: -1 } };
  for (let index = strip.first; index <= strip.last; index += 1) {
    for (const { x } of rows[index]!.fragments) {
      const edge = x < strip.to ? edges.left : edges.right;
      edge.first = Math.min(edge.first, index);
      edge.last = Math.max(edge.last, index);
    }
  }
  const first = Math.max(edges.left.first, edges.right.first);
  const last = Math.min(edges.left.last, edges.right.last);
  return first <= last ? { first, last } : undefined;
}

/** How much of the page a strip divides in two; nothing when what it divides are no columns. */
function weigh(strip: Strip, rows: Row[], bodySize: number): number {
  const zone = sharedRows(strip, rows);
  if (!zone) return 0;
  // The lines of two columns need not be level, so a row more at each end.
  const shared = rows.slice(Math.max(strip.first, zone.first - 1), Math.min(strip.last, zone.last + 1) + 1);
  const lefts = shared
    .map((row) => row.fragments.filter(({ x }) => x < strip.to))
    .filter((side) => side.length > 0);
  const rights = shared
    .map((row) => row.fragments.filter(({ x }) => x >= strip.to))
    .filter((side) => side.length > 0);
  const fewer = Math.min(lefts.length, rights.length);
  const width = strip.to - strip.from;
  const height = strip.last - strip.first + 1;
  // One line may be all that a column holds, when no line of the other one reaches as far as that.
  if (height < MANY_ROWS && (fewer < 2 || width < bodySize * MIN_GUTTER_OF_FEW_ROWS)) return 0;
  // Marks of a list, numbers of lines or of pages stand beside the text that they belong to.
  if (lengthOf(lefts) <= MAX_MARK || rights.flat().every(({ text }) => PAGE_NUMBER.test(text.trim())))
    return 0;
  const labels = shared.filter((row) =>
    /[:：]\s*$/.test(row.fragments.findLast(({ x }) => x < strip.to)?.text ?? ''),
  );
  if (labels.length >= lefts.length / 2) return 0;
  // Wide spaces of justified text may stand below each other by chance, in a few rows that nearly all have ink on both
  // sides. They are as wide as the other spaces of their rows.
  const all = rows.slice(strip.first, strip.last + 1);
  const twoSided = all.filter(
    ({ fragments }) => fragments.some(({ x }) => x < strip.to) && fragments.some(({ x }) => x >= strip.to),
  );
  const isNarrow = width < bodySize * MIN_GUTTER_OF_FEW_ROWS;
  const mayBeChance = height < MANY_ROWS * 2 && (isNarrow || twoSided.length > height / 2);
  if (mayBeChance && width < typicalGap(all) * (height < MANY_ROWS ? 1.8 : 1.3)) return 0;
  // Where both sides stand counts most, then how far the white goes on along the longer one.
  const inEms = (from: Row, to: Row) => (from.y - to.y) / bodySize + 1;
  return (
    inEms(shared[0]!, shared.at(-1)!) +
    inEms(rows[strip.first]!, rows[strip.last]!) / 10 +
    width / bodySize / 1000
  );
}

/** In characters. */
const MAX_MARK = 3;
/** Of a table of contents. */
const PAGE_NUMBER = /^[.\s]*(\d{1,4}|[ivxlc]+)$/i;

/** The mean number of characters of a row. */
function lengthOf(sides: Fragment[][]): number {
  return sides.flat().reduce((sum, { text }) => sum + text.trim().length, 0) / sides.length;
}

/** The usual white between two words of these rows, in points. */
function typicalGap(rows: Row[]): number {
  const gaps = rows.flatMap(({ fragments }) =>
    fragments.flatMap((fragment, index) => {
      const next = fragments[index + 1];
      const within = Array.from(fragment.text.trim().matchAll(/\s/g), () => fragment.size * 0.28);
      return next ? [...within, next.x - fragment.x - fragment.width] : within;
    }),
  );
  gaps.sort((a, b) => a - b);
  return gaps[Math.floor(gaps.length / 2)] ?? 0;
}

/** Rows that stand on one line with each other and of which one side is short: cells rather than prose. */
function isTable(band: Row[], left: Fragment[], right: Fragment[], blocks: Block[][]): boolean {
  const rightSide = new Set(right);
  const both = band.filter(
    (row) =>
      row.fragments.some((fragment) => rightSide.has(fragment)) &&
      row.fragments.some((fragment) => !rightSide.has(fragment)),
  );
  const [leftRows, rightRows] = [toRows(left), toRows(right)];
  if (both.length < MIN_TABLE_ROWS || both.length < Math.max(leftRows.length, rightRows.length) * 0.6)
    return false;
  if (blocks.some((side) => side.length === 1 && side[0]?.kind === 'table')) return true;
  const length = Math.min(...[leftRows, rightRows].map((rows) => lengthOf(rows.map((row) => row.fragments))));
  return length < MAX_CELL;
}

/** In characters. */
const MAX_CELL = 12;
const MIN_TABLE_ROWS = 3;

function isRightToLeft(fragments: Fragment[]): boolean {
  const letters = (isRtl: boolean) =>
    fragments.reduce((sum, one) => sum + (one.isRightToLeft === isRtl ? one.text.length : 0), 0);
  return letters(true) > letters(false);
}
