import { writeFileSync } from 'node:fs';

/** One line of the table: what was measured, and whether it is what was promised. */
export type Figure = {
  name: string;
  value: number;
  /** Absent for figures that are only reported. */
  goal?: { most: number } | { least: number };
  unit: string;
};

/** Prints the table and, where asked, writes the results as JSON. */
export function report(figures: Figure[], jsonFile: string | undefined): void {
  const rows = figures.map((figure) => ({
    what: figure.name,
    measured: `${shorten(figure.value)} ${figure.unit}`.trim(),
    goal: goalOf(figure),
    pass: figure.goal === undefined ? '' : passes(figure) ? 'yes' : 'NO',
  }));
  const widths = (['what', 'measured', 'goal', 'pass'] as const).map((column) =>
    Math.max(column.length, ...rows.map((row) => row[column].length)),
  );
  const line = (cells: string[]): string =>
    `| ${cells.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join(' | ')} |`;
  console.log(line(['what', 'measured', 'goal', 'pass']));
  console.log(line(widths.map((width) => '-'.repeat(width))));
  for (const row of rows) console.log(line([row.what, row.measured, row.goal, row.pass]));
  if (jsonFile === undefined) return;
  const results = figures.map((figure) => ({
    name: figure.name,
    value: figure.value,
    goal: goalOf(figure) || null,
    unit: figure.unit,
    pass: passes(figure),
  }));
  writeFileSync(jsonFile, `${JSON.stringify({ results }, null, 2)}\n`);
}

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

function passes({ goal, value }: Figure): boolean {
  if (goal === undefined) return true;
  return 'most' in goal ? value <= goal.most : value >= goal.least;
}

function goalOf({ goal }: Figure): string {
  if (goal === undefined) return '';
  return 'most' in goal ? `≤ ${goal.most}` : `≥ ${goal.least}`;
}

function shorten(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}
