import { newSecret } from '../base/ids.ts';
import { type JsonObject, isJsonObject } from '../base/json.ts';

/** Where a `tools/call` carries the key under which the gateway charges it once. */
export const IDEMPOTENCY_META = 'xyz.sentinel/idempotency-key';

/**
 * The message with an idempotency key of its own, unless the host already chose one. Whatever is sent again
 * later is this same text, so a call that is retried is never paid twice.
 *
 * The key is spliced into the text: parsing and printing again would round integers beyond 2^53, and the
 * arguments have to reach the agent as the host wrote them.
 */
export function withIdempotencyKey(
  text: string,
  params: JsonObject,
  mint = (): string => newSecret(24),
): string {
  const meta = params['_meta'];
  if (isJsonObject(meta) && typeof meta[IDEMPOTENCY_META] === 'string') return text;

  // A call without params, or with something else under that name, is malformed: refusing it is the gateway's part.
  const paramsStart = findMember(text, skipSpace(text, 0), 'params');
  if (paramsStart === undefined || text[paramsStart] !== '{') return text;
  const metaStart = findMember(text, paramsStart, '_meta');
  if (metaStart !== undefined && text[metaStart] !== '{') return text;

  const member = `${JSON.stringify(IDEMPOTENCY_META)}:"${mint()}"`;
  return metaStart === undefined
    ? insertMember(text, paramsStart, `"_meta":{${member}}`)
    : insertMember(text, metaStart, member);
}

function insertMember(text: string, objectStart: number, member: string): string {
  const inside = objectStart + 1;
  const comma = text[skipSpace(text, inside)] === '}' ? '' : ',';
  return text.slice(0, inside) + member + comma + text.slice(inside);
}

/**
 * Where the value of one member of the object at `objectStart` begins. `text` is known to be valid JSON;
 * when the member is there twice the last one counts, as it does for JSON.parse.
 */
function findMember(text: string, objectStart: number, name: string): number | undefined {
  let found: number | undefined;
  let at = skipSpace(text, objectStart + 1);
  while (text[at] !== '}') {
    const nameEnd = skipString(text, at);
    const valueStart = skipSpace(text, skipSpace(text, nameEnd) + 1);
    if (JSON.parse(text.slice(at, nameEnd)) === name) found = valueStart;
    at = skipSpace(text, skipValue(text, valueStart));
    if (text[at] === ',') at = skipSpace(text, at + 1);
  }
  return found;
}

function skipValue(text: string, start: number): number {
  if (text[start] === '"') return skipString(text, start);
  let depth = 0;
  for (let at = start; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') at = skipString(text, at) - 1;
    else if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') {
      if (depth === 0) return at;
      depth -= 1;
      if (depth === 0) return at + 1;
    } else if (character === ',' && depth === 0) return at;
  }
  return text.length;
}

function skipString(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

function skipSpace(text: string, start: number): number {
  let at = start;
  while (text[at] === ' ' || text[at] === '\t' || text[at] === '\n' || text[at] === '\r') at += 1;
  return at;
}
