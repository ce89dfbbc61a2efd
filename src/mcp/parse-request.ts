import { isUtf8 } from 'node:buffer';
import { isRawNumber, parseAsDoubles, parseExact, type RawNumber } from '../base/exact-json.ts';
import { isJsonObject, type Json, type JsonObject } from '../base/json.ts';
import { countMembers, scanJson } from './json-scan.ts';

/** A whole number that no double holds is kept as it was written, so that its answer is known again. */
export type RequestId = string | number | RawNumber;

/**
 * One JSON-RPC message of a client. `body` is the whole of it, as parsed; `exactParams` are its parameters with the
 * numbers that no double holds as they were written, where there are any.
 */
export type Message = {
  method: string;
  params: JsonObject | undefined;
  exactParams?: JsonObject | undefined;
  body: JsonObject;
} & ({ kind: 'request'; id: RequestId } | { kind: 'notification' });

/** A body that is no message we take: what is wrong with it, in JSON-RPC's words. */
export type MessageFault = { kind: 'fault'; code: number; message: string; id: RequestId | null };

export const PARSE_ERROR = -32_700;
export const INVALID_REQUEST = -32_600;
export const INVALID_PARAMS = -32_602;

const MAX_DEPTH = 64;
const MAX_COMMAS = 100_000;
const MAX_ID_LENGTH = 256;
const ENVELOPE = new Set(['jsonrpc', 'id', 'method', 'params']);

/**
 * Bytes → one message, strictly: what two parsers could read differently is refused, because what was
 * authorised must be what is forwarded.
 */
export function parseMessage(bytes: Uint8Array): Message | MessageFault {
  if (bytes.length === 0) return parseError('the body is empty');
  if (!isUtf8(bytes)) return parseError('the body is not UTF-8');
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');

  const shape = scanJson(text);
  if (shape.depth > MAX_DEPTH) return invalidRequest(`the body is nested deeper than ${MAX_DEPTH}`);
  if (shape.commas > MAX_COMMAS)
    return invalidRequest(`the body has more than ${MAX_COMMAS} members and elements`);
  let body: unknown;
  let exact: Json | undefined;
  try {
    body = shape.hasWideNumber ? parseAsDoubles(text) : JSON.parse(text);
    if (shape.hasWideNumber) exact = parseExact(text);
  } catch {
    return parseError('the body is not valid JSON');
  }
  if (Array.isArray(body)) {
    return invalidRequest(
      'batches are not served: they were removed in revision 2025-06-18. Send one message a request',
    );
  }
  if (!isJsonObject(body)) return invalidRequest('a message is a JSON object');
  const written = isJsonObject(exact) ? exact : body;
  const id = readId(written);
  if (id.kind === 'fault') return id;
  const { value } = id;
  if (countMembers(body) !== shape.members)
    return invalidRequest('a member is named twice in one object', value);
  for (const name in body) {
    if (!ENVELOPE.has(name)) return invalidRequest(unknownMember(name), value);
  }
  if (body['jsonrpc'] !== '2.0') return invalidRequest('"jsonrpc" must be "2.0"', value);
  const { method, params } = body;
  if (typeof method !== 'string' || method === '')
    return invalidRequest('"method" must be a text that is not empty', value);
  if (params !== undefined && !isJsonObject(params))
    return invalidRequest('"params" must be a JSON object', value);
  const message = {
    method,
    params,
    body,
    ...(written === body ? {} : { exactParams: written['params'] as JsonObject | undefined }),
  };
  return value === null ? { kind: 'notification', ...message } : { kind: 'request', id: value, ...message };
}

/** The parameters with every number as it was written. */
export function writtenParams({ exactParams, params }: Message): JsonObject | undefined {
  return exactParams ?? params;
}

/** An id or a token: a text, or a whole number. */
export function isId(value: Json | undefined): value is string | number {
  return typeof value === 'string' || typeof value === 'number' || (isRawNumber(value) && isWhole(value));
}

function readId(body: JsonObject): { kind: 'id'; value: RequestId | null } | MessageFault {
  if (!Object.hasOwn(body, 'id')) return { kind: 'id', value: null };
  const { id } = body;
  if (typeof id === 'string' && id.length <= MAX_ID_LENGTH) return { kind: 'id', value: id };
  // From 1e21 on the digits would not come back as they were sent.
  if (typeof id === 'number' && Number.isInteger(id) && Math.abs(id) < 1e21) return { kind: 'id', value: id };
  if (isRawNumber(id) && isWhole(id) && id.rawJSON.length <= MAX_ID_LENGTH) return { kind: 'id', value: id };
  return invalidRequest(`"id" must be a text of at most ${MAX_ID_LENGTH} characters or a whole number`);
}

function isWhole({ rawJSON }: RawNumber): boolean {
  return /^-?\d+$/.test(rawJSON);
}

function unknownMember(name: string): string {
  const meant = [...ENVELOPE].find((known) => known === name.toLowerCase());
  if (meant !== undefined) return `a member is named like "${meant}" in other letters`;
  return name === 'result' || name === 'error'
    ? 'no request of this server is waiting for a response'
    : 'a message has no members but "jsonrpc", "id", "method" and "params"';
}

function parseError(what: string): MessageFault {
  return { kind: 'fault', code: PARSE_ERROR, message: `Parse error: ${what}.`, id: null };
}

function invalidRequest(what: string, id: RequestId | null = null): MessageFault {
  return { kind: 'fault', code: INVALID_REQUEST, message: `Invalid request: ${what}.`, id };
}
