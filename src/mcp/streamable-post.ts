import type { Context } from 'hono';
import { answerAsItComes, JSON_HEADERS, type AnswerForm } from './answer-as-it-comes.ts';
import type { Connection } from './connection.ts';
import {
  eraOf,
  isHot,
  MODERN_VERSION,
  progressTokenOf,
  type Era,
  type Request as ToolsRequest,
} from './hot-path.ts';
import { isJsonObject } from '../base/json.ts';
import { parseMessage, type Message, type MessageFault } from './parse-request.ts';
import { connect, requestIdOf, type McpParts } from './parts.ts';
import { readTermHeaders } from './purchase-terms.ts';
import { MAX_BODY_BYTES, readBody } from './read-body.ts';
import { refuse, refuseMessage } from './refusals.ts';

/** `POST /mcp`: one JSON-RPC message over Streamable HTTP, of any revision. Throws Problem for its credentials. */
export async function postMessage(c: Context, parts: McpParts): Promise<Response> {
  const connection = await connect(c, parts);
  const form = readAccept(c.req.header('accept'));
  if (form === undefined)
    return refuse(406, 'Not Acceptable: answers are application/json or text/event-stream.');
  const message = await readMessage(c);
  if (message instanceof Response) return message;
  if (message.kind === 'fault') return refuseMessage(message);

  const headers = {
    version: c.req.header('mcp-protocol-version'),
    method: c.req.header('mcp-method'),
    name: c.req.header('mcp-name'),
  };
  const era = eraOf(message, headers);
  if (era !== undefined && isHot(message)) return answerHot(c, message, connection, era, form, parts);
  if (era === 'legacy' && message.kind === 'notification') {
    cancelIfAsked(message, connection.caller.keyId, parts);
    return new Response(null, { status: 202 });
  }
  return answerBySdk(c, message, headers.version, connection, form, parts);
}

/** The one message of a POST, what is wrong with it, or the HTTP answer that refuses the body itself. */
export async function readMessage(c: Context): Promise<Message | MessageFault | Response> {
  if (!isJsonType(c.req.header('content-type')))
    return refuse(415, 'Unsupported Media Type: Content-Type must be application/json in UTF-8.');
  const bytes = await readBody(c.req.raw);
  if (bytes === undefined) {
    const answer = refuse(413, `Payload Too Large: a body has at most ${MAX_BODY_BYTES} bytes.`);
    // The rest of a body nobody reads would be taken for the next request of its connection.
    answer.headers.set('connection', 'close');
    return answer;
  }
  return parseMessage(bytes);
}

/** A legacy client takes a request back in a request of its own. */
export function cancelIfAsked(message: Message, scope: string, { inFlight }: McpParts): void {
  if (message.method !== 'notifications/cancelled') return;
  const id = message.params?.['requestId'];
  if (typeof id === 'string' || typeof id === 'number') inFlight.cancel(scope, id);
}

async function answerHot(
  c: Context,
  request: ToolsRequest,
  connection: Connection,
  era: Era,
  form: AnswerForm,
  parts: McpParts,
): Promise<Response> {
  const { hotPath, inFlight, pulse } = parts;
  const wire = {
    era,
    requestId: requestIdOf(c),
    headers: readTermHeaders((name) => c.req.header(name)),
    onChunk: undefined,
  };
  if (request.method === 'tools/list' && form.json) {
    const answer = await hotPath.answer(request, connection, { ...wire, signal: NEVER });
    return new Response(answer, { headers: jsonHeaders(c) });
  }
  // Ends the call when the client hangs up, takes the request back, or stops reading its stream.
  const abort = new AbortController();
  const cancel = (): void => abort.abort();
  const { signal: hungUp } = c.req.raw;
  if (hungUp.aborted) cancel();
  else hungUp.addEventListener('abort', cancel, { once: true });
  const landed = era === 'legacy' ? inFlight.add(connection.caller.keyId, request.id, abort) : undefined;

  const progressToken = progressTokenOf(request);
  return answerAsItComes(
    { ...form, progressToken, jsonHeaders: () => jsonHeaders(c) },
    pulse,
    cancel,
    async (onChunk) => {
      try {
        return await hotPath.answer(request, connection, { ...wire, signal: abort.signal, onChunk });
      } finally {
        landed?.();
        hungUp.removeEventListener('abort', cancel);
      }
    },
  );
}

/**
 * The headers of a JSON answer. Where the app around us says what every answer carries, it is made with them
 * and marked as dressed.
 */
function jsonHeaders(c: Context): Record<string, string> {
  const plain: unknown = c.get('plainHeaders' as never);
  if (typeof plain !== 'object' || plain === null) return JSON_HEADERS;
  c.set('isDressed' as never, true as never);
  return { ...plain, ...JSON_HEADERS };
}

const NEVER = new AbortController().signal;

async function answerBySdk(
  c: Context,
  message: Message,
  version: string | undefined,
  connection: Connection,
  form: AnswerForm,
  { sdkPath, changes }: McpParts,
): Promise<Response> {
  const headers = new Headers(c.req.raw.headers);
  // The SDK insists on both; what the client cannot read it is not sent.
  headers.set('accept', 'application/json, text/event-stream');
  const { signal } = c.req.raw;
  const request = new Request(c.req.url, { method: 'POST', headers, signal });
  if (!saysModern(message, version)) return inForm(form, await sdkPath.answerLegacy(request, message));

  const isListening = message.method === 'subscriptions/listen';
  const release = isListening ? changes.admit(connection.caller.keyId) : undefined;
  if (isListening && release === undefined)
    return refuse(429, 'Too Many Requests: this key has too many streams open. Close some.');
  const wire = { requestId: requestIdOf(c), headers: readTermHeaders((name) => c.req.header(name)) };
  const response = await sdkPath.answer(request, message, connection, wire);
  if (release) {
    const isOpen = response.headers.get('content-type') === 'text/event-stream' && !signal.aborted;
    if (isOpen) signal.addEventListener('abort', release, { once: true });
    else release();
  }
  return inForm(form, response);
}

async function inForm(form: AnswerForm, response: Response): Promise<Response> {
  const isJson = response.headers.get('content-type')?.startsWith(JSON_HEADERS['content-type']) === true;
  if (form.json || !isJson) return response;
  const body = `event: message\ndata: ${await response.text()}\n\n`;
  return new Response(body, {
    status: response.status,
    headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform' },
  });
}

function saysModern(message: Message, version: string | undefined): boolean {
  const meta = message.params?.['_meta'];
  const claims = isJsonObject(meta) && Object.hasOwn(meta, 'io.modelcontextprotocol/protocolVersion');
  return claims || (version !== undefined && version >= MODERN_VERSION);
}

/** Which of our two forms the client reads, or undefined when it reads neither. */
function readAccept(accept: string | undefined): AnswerForm | undefined {
  if (accept === undefined || accept === '') return { json: true, sse: false };
  const wanted = accept.toLowerCase();
  const sse = wanted.includes('text/event-stream');
  const json =
    wanted.includes('application/json') || wanted.includes('*/*') || wanted.includes('application/*');
  return sse || json ? { json, sse } : undefined;
}

function isJsonType(type: string | undefined): boolean {
  if (type === undefined) return false;
  return (
    type === 'application/json' ||
    /^application\/json\s*(;\s*charset="?utf-?8"?\s*)?;?\s*$/i.test(type.trim())
  );
}
