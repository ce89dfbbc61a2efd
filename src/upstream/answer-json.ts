import { isUtf8 } from 'node:buffer';
import type { Json } from '../base/json.ts';

/** The JSON a body is, or why it is none. Deeper than 200 levels is refused: it would end some later walk over it. */
export function parseAnswerJson(body: Buffer): { kind: 'ok'; value: Json } | { kind: 'bad'; detail: string } {
  if (body.length === 0) return { kind: 'bad', detail: 'the answer is empty' };
  if (!isUtf8(body)) return { kind: 'bad', detail: 'the answer is not UTF-8' };
  return parseJsonText(body.toString());
}

/** As `parseAnswerJson`, for text. */
export function parseJsonText(text: string): { kind: 'ok'; value: Json } | { kind: 'bad'; detail: string } {
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
  return { kind: 'ok', value };
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
