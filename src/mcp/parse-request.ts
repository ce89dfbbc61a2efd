import { isUtf8 } from 'node:buffer';
import { isJsonObject, type JsonObject } from '../base/json.ts';
import { countMembers, scanJson } from './json-scan.ts';

export type RequestId = string | number;

/** One JSON-RPC message of a client. `body` is the whole of it, as parsed. */
export type Message =
  | { kind: 'request'; id: RequestId; method: string; params: JsonObject | undefined; body: JsonObject }
  | { kind: 'notification'; method: string; params: JsonObject | undefined; body: JsonObject };

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
  try {
    body = JSON.parse(text);
  } catch {
    return parseError('the body is not valid JSON');
  }
  if (Array.isArray(body)) {
    return invalidRequest(
      'batches are not served: they were removed in revision 2025-06-18. Send one message a request',
    );
  }
  if (!isJsonObject(body)) return invalidRequest('a message is a JSON object');
  const id = readId(body);
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
  return value === null
    ? { kind: 'notification', method, params, body }
    : { kind: 'request', id: value, method, params, body };
}

function readId(body: JsonObject): { kind: 'id'; value: RequestId | null } | MessageFault {
  if (!Object.hasOwn(body, 'id')) return { kind: 'id', value: null };
  const { id } = body;
  if (typeof id === 'string' && id.length <= MAX_ID_LENGTH) return { kind: 'id', value: id };
  if (typeof id === 'number' && Number.isSafeInteger(id)) return { kind: 'id', value: id };
  return invalidRequest(`"id" must be a text of at most ${MAX_ID_LENGTH} characters or a whole number`);
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
