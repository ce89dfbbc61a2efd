import type { Json } from './json.ts';

/*
 * Numbers as they were written. `JSON.parse` makes a double of every number, and 12345678901234567890 or 1e400 comes
 * out of it as another one. Where a text holds such a literal, it is read with `JSON.rawJSON` values in their places:
 * `JSON.stringify` writes those as they were written. All else is a value like any other, and a text without such a
 * literal is only looked at.
 */

declare global {
  interface JSON {
    rawJSON(text: string): RawNumber;
    isRawJSON(value: unknown): value is RawNumber;
    parse(
      text: string,
      revive: (name: string, value: unknown, context: { source?: string }) => unknown,
    ): unknown;
  }
}

/** A number in a value that `parseExact` read. It is a `Json` to whoever passes it on, and an object to no one. */
export type RawNumber = { readonly rawJSON: string };

export function isRawNumber(value: unknown): value is RawNumber {
  return JSON.isRawJSON(value);
}

/** Whether a JSON text holds a number that no double does. Strings are skipped, so a large one costs little. */
export function hasWideNumber(text: string): boolean {
  const { length } = text;
  for (let at = 0; at < length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at);
    else if (isDigit(code)) {
      const end = endOfNumber(text, at);
      if (isWide(text, at, end)) return true;
      at = end - 1;
    }
  }
  return false;
}

/** The value of a JSON text, with the literals no double holds as they were written. Throws for what is not JSON. */
export function parseExact(text: string): Json {
  return JSON.parse(text, (_name, value, { source }) =>
    typeof value === 'number' && source !== undefined && !holds(source) ? JSON.rawJSON(source) : value,
  ) as Json;
}

/**
 * The same value with the nearest double in each place, to be checked against a schema: what is beyond the doubles
 * is the largest of them, so that it is a number there and larger than all others.
 */
export function parseAsDoubles(text: string): Json {
  return JSON.parse(text, (_name, value) =>
    typeof value === 'number' && !Number.isFinite(value) ? Math.sign(value) * Number.MAX_VALUE : value,
  ) as Json;
}

/** As `JSON.parse`, for a text of which only the exact value is of interest. */
export function parseJsonExactly(text: string): Json {
  return hasWideNumber(text) ? parseExact(text) : (JSON.parse(text) as Json);
}

/** Where the string that begins at `start` ends. A quote after an odd number of backslashes is inside it. */
export function endOfString(text: string, start: number): number {
  let end = start;
  do {
    end = text.indexOf('"', end + 1);
    if (end === -1) return text.length;
  } while (isEscaped(text, end));
  return end;
}

/** Where the number ends that has a digit at `start`. */
export function endOfNumber(text: string, start: number): number {
  let end = start + 1;
  while (isInNumber(text.charCodeAt(end))) end += 1;
  return end;
}

/** Whether the literal between the two, but for its sign, is one that no double holds. */
export function isWide(text: string, start: number, end: number): boolean {
  // Looked at and not cut out, since most numbers are short.
  if (end - start <= SURELY_HELD_CHARACTERS) {
    let at = start;
    while (at < end && text.charCodeAt(at) < LETTERS) at += 1;
    if (at === end) return false;
  }
  return !holds(text.slice(start, end));
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const LETTERS = 0x41;
/** Every decimal of at most 15 digits is held, but for those with an exponent. */
const SURELY_HELD_CHARACTERS = 15;

function isEscaped(text: string, at: number): boolean {
  let before = at - 1;
  while (text.charCodeAt(before) === BACKSLASH) before -= 1;
  return (at - before) % 2 === 0;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function isInNumber(code: number): boolean {
  return isDigit(code) || code === 0x2e || code === 0x65 || code === 0x45 || code === 0x2b || code === 0x2d;
}

/** Whether the double nearest to the literal is written as the same decimal number. */
function holds(literal: string): boolean {
  const written = String(Number(literal));
  return written === literal || decimalOf(written) === decimalOf(literal);
}

/** One spelling for each decimal number: `-12.50e1` → `-125e0`. `Infinity` has none that a literal could have. */
function decimalOf(literal: string): string {
  const mark = literal.search(/[eE]/);
  const mantissa = mark === -1 ? literal : literal.slice(0, mark);
  const sign = mantissa.startsWith('-') ? '-' : '';
  const point = mantissa.indexOf('.');
  const digits = mantissa.replace(/[-.]/g, '');
  let first = 0;
  while (digits[first] === '0') first += 1;
  let end = digits.length;
  while (end > first && digits[end - 1] === '0') end -= 1;
  if (end === first) return '0';
  const fraction = point === -1 ? 0 : mantissa.length - point - 1;
  const exponent = (mark === -1 ? 0 : Number(literal.slice(mark + 1))) - fraction + (digits.length - end);
  return `${sign}${digits.slice(first, end)}e${exponent}`;
}
