import { parseJsonExactly } from '../base/exact-json.ts';
import { isJsonObject, type Json, type JsonObject } from '../base/json.ts';
import { NotVerified } from './not-verified.ts';
import type { FoundReceipt } from './verify-receipt.ts';

/** What may hold a receipt: one found, or why there is none. With its line, where there are several. */
export type Finding = { line?: number } & ({ found: FoundReceipt } | { fault: string });

const META = 'xyz.sentinel/receipt';
const NONE = 'There is no receipt in it.';
/** An answer may be 64 levels deep; a receipt's own wrapping adds a few. */
const DEEPEST = 100;
const TOO_DEEP = `is nested more than ${DEEPEST} levels deep`;

/**
 * The receipts in a text, none in an empty one: a compact JWS, a receipt as JSON, anything that carries one (an MCP result, an
 * answer over REST, a page of a list), or lines of these.
 */
export function findReceipts(text: string): Finding[] {
  const whole = text.trim();
  if (whole === '') return [];
  const document = parse(whole);
  if (document !== undefined) return inDocument(document);
  const lines = whole.split('\n').map((line) => line.trim());
  if (lines.length === 1) return inLine(whole);
  return lines.flatMap((line, index) =>
    line === '' ? [] : inLine(line).map((finding) => ({ ...finding, line: index + 1 })),
  );
}

function inLine(line: string): Finding[] {
  const document = parse(line);
  if (document !== undefined) return inDocument(document);
  return [line.startsWith('{') ? { fault: 'It is not complete JSON.' } : { found: { jws: line } }];
}

function inDocument(document: Json): Finding[] {
  return isTooDeep(document) ? [{ fault: `It ${TOO_DEEP}.` }] : receiptsIn(document);
}

function receiptsIn(document: Json): Finding[] {
  if (Array.isArray(document)) return document.flatMap(receiptsIn);
  if (!isJsonObject(document)) return [{ fault: NONE }];
  // What is signed itself is the receipt, whatever else it shows: that is not signed, and said to be so.
  const isSigned = document['jws'] !== undefined;
  if (!isSigned && Array.isArray(document['items'])) return document['items'].flatMap(receiptsIn);
  const { jws, ...shown } = (isSigned ? undefined : carriedBy(document)) ?? document;
  return [typeof jws === 'string' ? { found: { jws, shown } } : { fault: NONE }];
}

/** In the result of a tool, in a JSON-RPC answer around that, or in an answer of ours over REST. */
function carriedBy(document: JsonObject): JsonObject | undefined {
  const result = document['result'];
  const inside = isJsonObject(result) ? result : document;
  const meta = inside['_meta'];
  const receipt = isJsonObject(meta) ? meta[META] : inside['receipt'];
  return isJsonObject(receipt) ? receipt : undefined;
}

function parse(text: string): Json | undefined {
  try {
    return parseJsonExactly(text);
  } catch {
    return undefined;
  }
}

/** Level by level, so that no depth overflows the stack: everything after this may recurse. */
function isTooDeep(document: Json): boolean {
  let level: Json[] = [document];
  for (let depth = 0; depth < DEEPEST && level.length > 0; depth++) {
    level = level.flatMap((value) =>
      typeof value === 'object' && value !== null ? Object.values(value) : [],
    );
  }
  return level.length > 0;
}

/** JSON a person named, which must be there and be JSON. */
export function readJson(text: string, what: string): Json {
  const value = parse(text);
  if (value === undefined) throw new NotVerified(`${what} is not JSON.`);
  if (isTooDeep(value)) throw new NotVerified(`${what} ${TOO_DEEP}.`);
  return value;
}
