import { setImmediate as nextTurn } from 'node:timers/promises';
import { readAccept } from './accept.ts';
import type { Connection } from './connection.ts';
import { answerText, type Answer, type Exchange, type TextAnswer } from './exchange.ts';
import { isHot, progressTokenOf, type Request as ToolsRequest, type Wire } from './hot-path.ts';
import type { LegacySession } from './legacy-sessions.ts';
import type { Message } from './parse-request.ts';
import { connect, type McpParts } from './parts.ts';
import { createProgress } from './progress.ts';
import { readTermHeaders, type TermHeaders } from './purchase-terms.ts';
import { refuse, refuseMessage } from './refusals.ts';
import { legacyRevision, OF_THE_OLD_TRANSPORT } from './revision.ts';
import { standInForId } from './sdk-path.ts';
import { cancelIfAsked, readMessage } from './streamable-post.ts';

const MAX_RUNNING = 100;

/**
 * `GET`: a host that sends none of the newer transport's headers and accepts nothing but events opens the
 * HTTP+SSE transport of 2024-11-05; one that sends them listens for list changes. Throws Problem.
 */
export async function openStream(exchange: Exchange, parts: McpParts): Promise<Answer> {
  const accepted = readAccept(exchange.header('accept'));
  if (accepted?.sse !== true) return notOffered();
  const isNewer =
    exchange.header('mcp-session-id') !== undefined || exchange.header('mcp-protocol-version') !== undefined;
  if (!isNewer && accepted.json) return notOffered();
  const { caller, view } = await connect(exchange, parts);
  const stream = isNewer ? parts.changes.open(caller.keyId) : parts.sessions.open(caller, view)?.stream;
  if (!stream) return refuse(429, 'Too Many Requests: this key has too many streams open. Close some.');
  return { kind: 'events', stream };
}

/** Every verb but POST and, where it opens a stream, GET. */
export function notOffered(): TextAnswer {
  return refuse(405, 'Method Not Allowed: send JSON-RPC messages with POST.', { allow: 'GET, POST' });
}

/** `POST /mcp/messages?sessionId=…`: a message of the old transport; its answer goes out on the stream. */
export async function postToSession(exchange: Exchange, parts: McpParts): Promise<Answer> {
  const url = new URL(exchange.target, parts.deps.publicUrl);
  const id = url.searchParams.get('sessionId') ?? '';
  url.searchParams.delete('sessionId');
  // The stream's filters bind its calls; others beside the session id are refused, and so is a key.
  const { caller } = await connect({ ...exchange, target: url.href }, parts);
  if (url.search !== '') return refuse(400, 'The filters belong into the URL the stream is opened with.');
  const session = parts.sessions.find(id, caller);
  if (!session) return refuse(404, 'There is no such session. Open a new stream with GET.');
  session.touch();
  const message = await readMessage(exchange, parts);
  if (message.kind === 'text') return message;
  if (message.kind === 'fault') return refuseMessage(message);
  if (message.kind === 'notification') {
    cancelIfAsked(message, session.id, parts);
    return accepted();
  }
  if (session.running >= MAX_RUNNING)
    return refuse(429, 'Too Many Requests: wait for answers on the stream.');

  // The caller as this request's key proves it now, and not as it was when the stream was opened.
  const connection = { caller, view: session.view };
  session.running += 1;
  const answer = isHot(message)
    ? answerHot(
        message,
        connection,
        session,
        {
          requestId: exchange.requestId,
          headers: headersOf(exchange, session),
          revision: legacyRevision(exchange.header('mcp-protocol-version'), OF_THE_OLD_TRANSPORT),
        },
        parts,
      )
    : answerBySdk(message, parts);
  answer
    .then((text) => session.stream.send('message', text))
    .catch((error: unknown) =>
      parts.deps.log('error', 'a message of an old session failed', { error: String(error) }),
    )
    .finally(() => {
      session.running -= 1;
      session.touch();
    });
  return accepted();
}

function accepted(): TextAnswer {
  return answerText('Accepted', 202, { 'content-type': 'text/plain; charset=UTF-8' });
}

/** The stream is the connection. A host that sends one idempotency key with every message means none of them. */
function headersOf(exchange: Exchange, session: LegacySession): TermHeaders {
  const headers = readTermHeaders(exchange.header);
  return { ...headers, idempotencyKey: undefined, connection: session.id };
}

async function answerHot(
  request: ToolsRequest,
  connection: Connection,
  session: LegacySession,
  wire: Pick<Wire, 'requestId' | 'headers' | 'revision'>,
  { hotPath, inFlight, pulse }: McpParts,
): Promise<string> {
  const abort = new AbortController();
  const cancel = (): void => abort.abort();
  if (session.signal.aborted) cancel();
  else session.signal.addEventListener('abort', cancel, { once: true });
  const landed = inFlight.add(session.id, request.id, abort);
  const token = progressTokenOf(request);
  const progress =
    token === undefined
      ? undefined
      : createProgress(token, pulse, (text) => session.stream.send('message', text));
  try {
    const answer = await hotPath.answer(request, connection, {
      era: 'legacy',
      ...wire,
      signal: abort.signal,
      onChunk: progress?.tell,
    });
    // A 1.x client that reads the last chunk and the result at once drops the chunk.
    if (progress?.hasTold()) await nextTurn();
    return answer;
  } finally {
    progress?.stop();
    landed();
    session.signal.removeEventListener('abort', cancel);
  }
}

async function answerBySdk(message: Message, { sdkPath, deps }: McpParts): Promise<string> {
  const headers = { accept: 'application/json, text/event-stream', 'content-type': 'application/json' };
  const request = new Request(deps.publicUrl, { method: 'POST', headers });
  const { body, restore } = standInForId(message);
  return restore(await (await sdkPath.answerLegacy(request, { body })).text());
}
