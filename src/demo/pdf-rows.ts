import type { Fragment } from './pdf-fragments.ts';

/** Fragments on one baseline, from left to right, with raised and lowered ones among them. */
export type Row = { y: number; fragments: Fragment[] };

/** From top to bottom. */
export function toRows(fragments: Fragment[]): Row[] {
  // Larger type first, so that a small raised figure joins the line that it stands on.
  const bySize = fragments.toSorted(
    (a, b) => Math.round(b.size) - Math.round(a.size) || b.y - a.y || a.x - b.x,
  );
  const rows: (Row & { size: number })[] = [];
  for (const fragment of bySize) {
    const row = nearest(rows, fragment);
    if (row) row.fragments.push(fragment);
    else rows.push({ y: fragment.y, size: fragment.size, fragments: [fragment] });
  }
  for (const row of rows) row.fragments.sort((a, b) => a.x - b.x);
  return rows.sort((a, b) => b.y - a.y).map(({ y, fragments: onRow }) => ({ y, fragments: onRow }));
}

function nearest<T extends Row & { size: number }>(rows: T[], fragment: Fragment): T | undefined {
  let best: T | undefined;
  for (const row of rows) {
    const isBesideDropCap = row.size > fragment.size * MAX_RATIO && fragment.text.trim().length > MAX_MARK;
    if (isBesideDropCap || overlap(row, fragment) < 0.5) continue;
    if (!best || Math.abs(row.y - fragment.y) < Math.abs(best.y - fragment.y)) best = row;
  }
  return best;
}

/** A letter that is larger still, such as a drop cap, stands beside several lines; a mark may be as small as it likes. */
const MAX_RATIO = 2.2;
const MAX_MARK = 3;

/** The share of the smaller one's height that both have; a capital is about 0.7 em high. */
function overlap(row: { y: number; size: number }, { y, size }: Fragment): number {
  const both = Math.min(row.y + row.size * 0.7, y + size * 0.7) - Math.max(row.y, y);
  return both / (Math.min(row.size, size) * 0.7);
}
