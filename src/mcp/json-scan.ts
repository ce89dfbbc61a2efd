import { endOfNumber, endOfString, isWide } from '../base/exact-json.ts';

/** What a JSON text is made of, counted without parsing it. */
export type JsonShape = {
  depth: number;
  members: number;
  commas: number;
  /** It holds a number that no double does. */
  hasWideNumber: boolean;
};

const QUOTE = 0x22;

/**
 * Counts in one pass, skipping strings with `indexOf`: about 1 µs for a small request. Meant to run before
 * `JSON.parse`, so that nothing deep or crowded is ever built; on text that is not JSON the counts mean nothing.
 */
export function scanJson(text: string): JsonShape {
  const { length } = text;
  let level = 0;
  let depth = 0;
  let members = 0;
  let commas = 0;
  let hasWideNumber = false;
  for (let at = 0; at < length; at += 1) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = endOfString(text, at);
        break;
      case 0x7b: // {
      case 0x5b: // [
        level += 1;
        if (level > depth) depth = level;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        level -= 1;
        break;
      case 0x3a: // :
        members += 1;
        break;
      case 0x2c: // ,
        commas += 1;
        break;
      case 0x30: // 0
      case 0x31:
      case 0x32:
      case 0x33:
      case 0x34:
      case 0x35:
      case 0x36:
      case 0x37:
      case 0x38:
      case 0x39: {
        const end = endOfNumber(text, at);
        hasWideNumber ||= isWide(text, at, end);
        at = end - 1;
        break;
      }
      default:
    }
  }
  return { depth, members, commas, hasWideNumber };
}

/**
 * Members of the parsed value. A text with more members than its value names one twice: `JSON.parse` keeps the
 * last, another parser on the way may have kept the first, and they would not agree on what was asked.
 */
export function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  let count = 0;
  if (Array.isArray(value)) {
    for (const element of value) if (typeof element === 'object') count += countMembers(element);
    return count;
  }
  for (const name in value) {
    const member: unknown = (value as Record<string, unknown>)[name];
    count += 1;
    if (typeof member === 'object') count += countMembers(member);
  }
  return count;
}
