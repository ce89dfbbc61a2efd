import { isUtf8 } from 'node:buffer';
import { hasWideNumber, parseAsDoubles, parseExact } from '../base/exact-json.ts';
import type { Json } from '../base/json.ts';

/** What an agent wrote, to be looked at and to be passed on. */
export type AnswerJson = {
  /** Every number is a double: what schemas are checked against. */
  value: Json;
  /** The same with the numbers no double holds as they were written; the very same where there are none. */
  exact: Json;
  /** No text in it holds half of a surrogate pair, for which canonical JSON has no form. */
  isWellFormed: boolean;
};

export type ParsedAnswer = ({ kind: 'ok' } & AnswerJson) | { kind: 'bad'; detail: string };

export const HALF_CHARACTER = 'the answer holds half a character (an unpaired surrogate)';

/** The JSON a body is, or why it is none. Deeper than 200 levels is refused: it would end some later walk over it. */
export function parseAnswerJson(body: Buffer): ParsedAnswer {
  if (body.length === 0) return { kind: 'bad', detail: 'the answer is empty' };
  if (!isUtf8(body)) return { kind: 'bad', detail: 'the answer is not UTF-8' };
  return parseJsonText(body.toString());
}

/** As `parseAnswerJson`, for text. */
export function parseJsonText(text: string): ParsedAnswer {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    return { kind: 'bad', detail: 'the answer is not JSON' };
  }
  // Two characters open and close a level, so a short text needs no walk.
  if (text.length > 2 * MAX_DEPTH && isDeeperThan(value, MAX_DEPTH)) {
    return { kind: 'bad', detail: `the answer is nested deeper than ${MAX_DEPTH} levels` };
  }
  const isWellFormed = !mayHoldHalfCharacters(text) || isWellFormedThroughout(value);
  return hasWideNumber(text)
    ? { kind: 'ok', value: parseAsDoubles(text), exact: parseExact(text), isWellFormed }
    : { kind: 'ok', value, exact: value, isWellFormed };
}

const MAX_DEPTH = 200;

function isDeeperThan(value: Json, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levels === 0) return true;
  if (Array.isArray(value)) return value.some((item) => isDeeperThan(item, levels - 1));
  for (const member in value) {
    if (isDeeperThan(value[member]!, levels - 1)) return true;
  }
  return false;
}

/** UTF-8 cannot say half a character, so it takes an escape. */
function mayHoldHalfCharacters(text: string): boolean {
  return text.includes('\\ud') || text.includes('\\uD');
}

function isWellFormedThroughout(value: Json): boolean {
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) return value.every(isWellFormedThroughout);
  for (const name in value) {
    if (!name.isWellFormed() || !isWellFormedThroughout(value[name]!)) return false;
  }
  return true;
}
