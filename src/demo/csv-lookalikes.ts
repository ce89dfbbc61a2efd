/** Values that people read as numbers or dates and the profiler leaves as text, because it could only guess what they mean. */
const LOOKALIKES: readonly [pattern: RegExp, words: string][] = [
  [/^[+-]?\d+(?:[.,]\d+)?\s?%$/, 'percentages'],
  [
    /^[+-]?(?:[$€£¥₹]|[A-Z]{3})\s?[+-]?\d[\d.,' ]*$|^[+-]?\d[\d.,' ]*\s?(?:[$€£¥₹]|[A-Z]{3})$/,
    'amounts of money',
  ],
  [/^\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d{2})$/, 'dates that may be day-first or month-first'],
  [/^[+-]?\d{1,3}(?:[,' ]\d{3})+(?:\.\d+)?$/, 'numbers with thousands separators'],
  [/^[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+),\d+$/, 'numbers with a decimal comma'],
];
const MOSTLY = 0.9;

/** Counts, cell by cell, what a column's values look like. */
export function createLookalikes() {
  const counts = LOOKALIKES.map(() => 0);
  return {
    add(value: string): void {
      for (const [index, [pattern]] of LOOKALIKES.entries()) {
        if (pattern.test(value)) counts[index] = (counts[index] ?? 0) + 1;
      }
    },
    /** What to tell of a column of `count` values that is text. */
    warning(name: string, count: number): string | undefined {
      const found = counts.findIndex((seen) => count > 0 && seen >= count * MOSTLY);
      const words = LOOKALIKES[found]?.[1];
      return words && `Column ${JSON.stringify(name)} looks like ${words}; its values are left as text.`;
    },
  };
}
