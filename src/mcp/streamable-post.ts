import { contentCodings, explainCoding, isJsonInUtf8 } from '../base/http-fields.ts';
import { isJsonObject } from '../base/json.ts';
import { Problem } from '../base/problem.ts';
import { MAX_ENVELOPE_BYTES } from '../calls/payload-limit.ts';
import { readAccept } from './accept.ts';
import { answerAsItComes, type AnswerForm } from './answer-as-it-comes.ts';
import type { Connection } from './connection.ts';
import {
  answerEmpty,
  answerText,
  JSON_HEADERS,
  type Answer,
  type Exchange,
  type TextAnswer,
} from './exchange.ts';
import { answerThrown } from './failures.ts';
import { eraOf, isHot, progressTokenOf, type Era, type Request as ToolsRequest } from './hot-path.ts';
import { isId, parseMessage, writtenParams, type Message, type MessageFault } from './parse-request.ts';
import { connect, type McpParts } from './parts.ts';
import { readTermHeaders } from './purchase-terms.ts';
import { refuse, refuseMessage, refuseProblem } from './refusals.ts';
import { BEFORE_THE_HEADER, legacyRevision, MODERN_VERSION } from './revision.ts';
import { standInForId } from './sdk-path.ts';
import { eventsOf, relayEvents } from './sdk-stream.ts';

/** `POST /mcp`: one JSON-RPC message over Streamable HTTP, of any revision. Throws Problem for its credentials. */
export async function postMessage(exchange: Exchange, parts: McpParts): Promise<Answer> {
  const connection = await connect(exchange, parts);
  const form = readAccept(exchange.header('accept'));
  if (form === undefined)
    return refuse(406, 'Not Acceptable: answers are application/json or text/event-stream.');
  const message = await readMessage(exchange, parts);
  if (message.kind === 'text') return message;
  if (message.kind === 'fault') return refuseMessage(message);

  const headers = {
    version: exchange.header('mcp-protocol-version'),
    method: exchange.header('mcp-method'),
    name: exchange.header('mcp-name'),
  };
  const era = eraOf(message, headers);
  if (era !== undefined && isHot(message)) return answerHot(exchange, message, connection, era, form, parts);
  if (era === 'legacy' && message.kind === 'notification') {
    cancelIfAsked(message, connection.caller.keyId, parts);
    return answerEmpty(202);
  }
  return answerBySdk(exchange, message, headers.version, connection, form, parts);
}

/** The one message of a POST, what is wrong with it, or the answer that refuses the body itself. */
export async function readMessage(
  exchange: Exchange,
  { deps, options }: McpParts,
): Promise<Message | MessageFault | TextAnswer> {
  if (!isJsonType(exchange.header('content-type')))
    return refuseType('Content-Type must be application/json in UTF-8.');
  const [coding] = contentCodings(exchange.header('content-encoding'));
  if (coding !== undefined) return refuseType(explainCoding(coding));
  // Whose call it is stands within: what the most generous agent takes is read, and judged by its own limit.
  const { maxPayloadBytes } = deps.catalog;
  const maxBytes = maxPayloadBytes + MAX_ENVELOPE_BYTES;
  const bytes = await exchange.readBody(maxBytes);
  if (bytes !== undefined) return parseMessage(bytes);
  return refuseProblem(
    new Problem(
      'PAYLOAD_TOO_LARGE',
      `Payload Too Large: a body has at most ${maxBytes} bytes, for no agent takes arguments of more than ${maxPayloadBytes}. Send less in one call.`,
      { limit_bytes: maxBytes },
    ),
    options.challenge,
  );
}

function refuseType(words: string): TextAnswer {
  return refuse(415, `Unsupported Media Type: ${words}`, {
    accept: 'application/json',
    'accept-encoding': 'identity',
  });
}

/** A legacy client takes a request back in a request of its own. */
export function cancelIfAsked(message: Message, scope: string, { inFlight }: McpParts): void {
  if (message.method !== 'notifications/cancelled') return;
  const id = writtenParams(message)?.['requestId'];
  if (isId(id)) inFlight.cancel(scope, id);
}

async function answerHot(
  exchange: Exchange,
  request: ToolsRequest,
  connection: Connection,
  era: Era,
  form: AnswerForm,
  parts: McpParts,
): Promise<Answer> {
  const { hotPath, inFlight, pulse } = parts;
  const wire = {
    era,
    revision:
      era === 'modern'
        ? MODERN_VERSION
        : legacyRevision(exchange.header('mcp-protocol-version'), BEFORE_THE_HEADER),
    requestId: exchange.requestId,
    headers: readTermHeaders(exchange.header),
    onChunk: undefined,
  };
  if (request.method === 'tools/list' && form.json) {
    return answerText(await hotPath.answer(request, connection, { ...wire, signal: NEVER }));
  }
  // Ends the call when the client hangs up, takes the request back, or stops reading its stream.
  const abort = new AbortController();
  const cancel = (): void => abort.abort();
  const stopWatching = exchange.onGone(cancel);
  const landed = era === 'legacy' ? inFlight.add(connection.caller.keyId, request.id, abort) : undefined;

  return answerAsItComes(form, progressTokenOf(request), pulse, cancel, async (onChunk) => {
    try {
      return answerText(
        await hotPath.answer(request, connection, { ...wire, signal: abort.signal, onChunk }),
      );
    } catch (error) {
      return answerThrown(error, exchange, parts, request.id);
    } finally {
      landed?.();
      stopWatching();
    }
  });
}

const NEVER = new AbortController().signal;

async function answerBySdk(
  exchange: Exchange,
  message: Message,
  version: string | undefined,
  connection: Connection,
  form: AnswerForm,
  parts: McpParts,
): Promise<Answer> {
  const { sdkPath, changes } = parts;
  const abort = new AbortController();
  exchange.onGone(() => abort.abort());
  const request = requestForSdk(exchange, abort.signal, parts);
  const { body, restore } = standInForId(message);
  if (!saysModern(message, version))
    return inForm(form, restore, await sdkPath.answerLegacy(request, { body }));

  const isListening = message.method === 'subscriptions/listen';
  const release = isListening ? changes.admit(connection.caller.keyId) : undefined;
  if (isListening && release === undefined)
    return refuse(429, 'Too Many Requests: this key has too many streams open. Close some.');
  const wire = { requestId: exchange.requestId, headers: readTermHeaders(exchange.header) };
  const response = await sdkPath.answer(request, { ...message, body }, connection, wire);
  const events = eventsOf(response);
  if (events) return { kind: 'events', stream: relayEvents(events, restore, () => release?.()) };
  release?.();
  return inForm(form, restore, response);
}

function requestForSdk(exchange: Exchange, signal: AbortSignal, { deps }: McpParts): Request {
  const headers = exchange.allHeaders();
  // The SDK insists on both; what the client cannot read it is not sent.
  headers.set('accept', 'application/json, text/event-stream');
  return new Request(new URL(exchange.target, deps.publicUrl), { method: 'POST', headers, signal });
}

/** What the SDK answers at once, with its own headers; JSON as an event where the client reads nothing else. */
async function inForm(
  form: AnswerForm,
  restore: (text: string) => string,
  response: Response,
): Promise<Answer> {
  const text = restore(await response.text());
  const isJson = response.headers.get('content-type')?.startsWith(JSON_HEADERS['content-type']) === true;
  if (form.json || !isJson) return answerText(text, response.status, Object.fromEntries(response.headers));
  return answerText(`event: message\ndata: ${text}\n\n`, response.status, ONE_EVENT_HEADERS);
}

const ONE_EVENT_HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-transform',
};

function saysModern(message: Message, version: string | undefined): boolean {
  const meta = message.params?.['_meta'];
  const claims = isJsonObject(meta) && Object.hasOwn(meta, 'io.modelcontextprotocol/protocolVersion');
  return claims || (version !== undefined && version >= MODERN_VERSION);
}

/** The common spelling first: it stands in nearly every request. */
function isJsonType(type: string | undefined): boolean {
  return type === 'application/json' || (type !== undefined && isJsonInUtf8(type));
}
