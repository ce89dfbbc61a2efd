import { type JsonObject, isJsonObject } from '../base/json.ts';

export type MessageId = string | number;

/** One JSON-RPC 2.0 message, told apart the way the transport has to treat it. */
export type Message =
  | { kind: 'request'; id: MessageId; method: string; params: JsonObject }
  | { kind: 'notification'; method: string; params: JsonObject }
  | { kind: 'answer'; id: MessageId; body: JsonObject }
  | { kind: 'malformed'; id: MessageId | null; code: -32700 | -32600; words: string };

/** Reads one message. It never throws: what is not JSON-RPC comes back as `malformed`. */
export function parseMessage(text: string): Message {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return { kind: 'malformed', id: null, code: -32700, words: 'Parse error: this line is not valid JSON' };
  }
  if (Array.isArray(body))
    return invalid(null, 'batches are not part of MCP any more; send one message per line');
  if (!isJsonObject(body) || body['jsonrpc'] !== '2.0') return invalid(null, 'not a JSON-RPC 2.0 message');

  const { id, method } = body;
  const hasId = typeof id === 'string' || typeof id === 'number';
  if (method === undefined) {
    const answers = body['result'] !== undefined || body['error'] !== undefined;
    if (hasId && answers) return { kind: 'answer', id, body };
    return invalid(null, 'neither a request nor an answer');
  }
  if (typeof method !== 'string') return invalid(hasId ? id : null, 'method has to be a string');
  const params = isJsonObject(body['params']) ? body['params'] : {};
  if (id === undefined) return { kind: 'notification', method, params };
  if (!hasId) return invalid(null, 'id has to be a string or a number');
  return { kind: 'request', id, method, params };
}

function invalid(id: MessageId | null, words: string): Message {
  return { kind: 'malformed', id, code: -32600, words: `Invalid request: ${words}` };
}

/** The text of an error answer. `data.code` is Sentinel's own stable code where there is one. */
export function formatError(id: MessageId | null, code: number, message: string, data?: JsonObject): string {
  return JSON.stringify({ jsonrpc: '2.0', id, error: { code, message, ...(data && { data }) } });
}

/** One key per id, so that the number 1 and the string "1" stay two requests. */
export function idKey(id: MessageId): string {
  return JSON.stringify(id);
}

/**
 * The protocol revision a message claims for itself. Only hosts of 2026-07-28 and later put it there, so it
 * also tells the stateless era from the one that begins with `initialize`.
 */
export function claimedVersion(params: JsonObject): string | undefined {
  const meta = params['_meta'];
  const version = isJsonObject(meta) ? meta['io.modelcontextprotocol/protocolVersion'] : undefined;
  return typeof version === 'string' ? version : undefined;
}
