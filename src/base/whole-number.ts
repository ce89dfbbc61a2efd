/**
 * A whole number as text from outside, or undefined: digits and nothing else. No sign, no blanks, no `1e3`, no zero
 * in front, and at most fifteen digits, so that every number it answers is exact.
 */
export function parseWholeNumber(text: string): number | undefined {
  return /^(0|[1-9][0-9]{0,14})$/.test(text) ? Number(text) : undefined;
}
