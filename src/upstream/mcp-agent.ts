import { LRUCache } from 'lru-cache';
import { isJsonObject } from '../base/json.ts';
import type { Json, JsonObject } from '../base/json.ts';
import type { Attempt } from './attempt.ts';
import { closeLink, openLink } from './mcp-link.ts';
import type { LinkResult } from './mcp-link.ts';
import { createMcpSessions } from './mcp-sessions.ts';
import type { SessionLimits, SessionLink } from './mcp-sessions.ts';
import { STATELESS_META, UNSUPPORTED_VERSION, postMessage, signMessage } from './mcp-wire.ts';
import type { Link, Written } from './mcp-wire.ts';
import type { Target } from './pools.ts';
import { publicWords } from './public-words.ts';
import type { CallIdentity, RequestSigner } from './signature.ts';
import type { SignedPost } from './signed-post.ts';
import { outcomeOfResource, outcomeOfToolResult } from './tool-result.ts';
import type { ToolProgress, UpstreamRequest, Usage } from './upstream.ts';
import { parseUsage } from './usage.ts';

export type McpAgents = {
  /** The `tools/call`, if the link to the server is open; what it says depends on it. */
  prepare(url: string, request: UpstreamRequest): PreparedToolCall | undefined;
  /** Ends the attempt with what the tool answered. Rejects for our own bugs only. */
  ask(attempt: Attempt, target: Target, prepared: PreparedToolCall | undefined): Promise<void>;
  /** A link to the server for what is no call: it is a session of nobody's. */
  open(target: Target, identity: CallIdentity): Promise<LinkResult>;
  /** Ends every session at its server. */
  close(): Promise<void>;
};

export type PreparedToolCall = { id: number; link: Link; post: SignedPost };

/**
 * Protocol `mcp`: one tool of another MCP server over Streamable HTTP. A client of our own, because the official one
 * costs about 300 µs of CPU a call and this one about 50 µs. The calls of one organization to an endpoint share one
 * session there; the knowledge that a server has none is shared by all. Each call has an id of ours, never the buyer's.
 */
export function createMcpAgents(
  signer: RequestSigner | undefined,
  limits: SessionLimits,
  findTarget: (url: string) => Target | undefined,
): McpAgents {
  // By URL and not by target: a link outlives the connections, or every quiet minute would leave one more session
  // behind at the server.
  const sessions = createMcpSessions(limits, async ({ href, link, identity }) => {
    const target = findTarget(href);
    if (target) await closeLink(target, link, identity, signer);
  });
  const sessionlessLinks = new LRUCache<string, Link>({ max: 10_000 });
  const opening = new Map<string, Promise<LinkResult>>();
  let lastId = 0;

  function prepare(url: string, request: UpstreamRequest): PreparedToolCall | undefined {
    const link = knownLink(url, request);
    return link && writeToolCall(url, link, request);
  }

  function knownLink(url: string, request: UpstreamRequest): Link | undefined {
    return sessionlessLinks.get(url) ?? sessions.find(sessionOwner(url, request), url);
  }

  function writeToolCall(url: string, link: Link, request: UpstreamRequest): PreparedToolCall {
    const id = ++lastId;
    const name = request.resourceUri ?? request.endpoint.tool ?? '';
    const message = request.resourceUri === undefined ? toolCall(id, request, link) : reading(id, name, link);
    return { id, link, post: signMessage(url, message, request, signer, { link, name }) };
  }

  async function ask(
    attempt: Attempt,
    target: Target,
    prepared: PreparedToolCall | undefined,
  ): Promise<void> {
    for (let canRetry = true; ; canRetry = false) {
      const known = knownLink(target.href, attempt.request);
      const found: LinkResult = known
        ? { kind: 'link', link: known }
        : await findLink(target, attempt.request);
      if (attempt.isOver()) return;
      if (found.kind === 'failed') return attempt.fail(found.outcome, found.code);
      // Written for a link that was lost meanwhile it would not be understood.
      const call =
        prepared?.link === found.link ? prepared : writeToolCall(target.href, found.link, attempt.request);
      const letGo = sessions.use(found.link);
      const answer = await callTool(attempt, target, call, canRetry);
      letGo();
      if (answer === 'ended') return;
      // The server has forgotten the session, so nothing was executed and saying it again is safe. Another call
      // may have opened the next link already.
      sessions.forget(found.link);
      if (sessionlessLinks.get(target.href) === found.link) sessionlessLinks.delete(target.href);
    }
  }

  async function findLink(target: Target, request: UpstreamRequest): Promise<LinkResult> {
    return openOnce(sessionOwner(target.href, request), target, request);
  }

  async function openOnce(owner: string, target: Target, identity: CallIdentity): Promise<LinkResult> {
    const key = `${owner} ${target.href}`;
    let pending = opening.get(key);
    if (!pending) {
      pending = openLink(target, identity, signer).then((result) => {
        if (result.kind === 'link') keepLink(owner, target.href, result.link, identity);
        return result;
      });
      opening.set(key, pending);
      const forget = () => void opening.delete(key);
      pending.then(forget, forget);
    }
    return pending;
  }

  function keepLink(owner: string, href: string, link: Link, { callId, requestId }: CallIdentity): void {
    if (hasSession(link)) sessions.keep(owner, href, link, { callId, requestId });
    else sessionlessLinks.set(href, link);
  }

  function callTool(
    attempt: Attempt,
    target: Target,
    { id, link, post }: PreparedToolCall,
    canRetry: boolean,
  ): Promise<'ended' | 'link is stale'> {
    const { request } = attempt;
    let repliesLeft = 16;

    return new Promise((resolve) => {
      const end = (outcome: Parameters<Attempt['end']>[0]) => {
        attempt.end(outcome);
        resolve('ended');
      };
      const hear = (message: JsonObject, { exact, isWellFormed }: Written) => {
        if (attempt.isOver()) return;
        if (typeof message['method'] === 'string') {
          if (message['id'] !== undefined) {
            if (repliesLeft-- > 0) answerServer(target, link, request, message);
          } else if (message['method'] === 'notifications/progress') {
            const chunk = chunkOfProgress(message['params'], id);
            if (chunk) request.onChunk?.(chunk.text, chunk.progress);
            const usage = chunk && usageSoFar(message['params']);
            if (usage) request.onUsage?.(usage);
          }
        } else if (message['id'] === id) {
          if (isJsonObject(message['result'])) {
            const { isOutputPromised } = request;
            const written = exact['result'] as JsonObject;
            end(
              request.resourceUri === undefined
                ? outcomeOfToolResult(message['result'], written, { isWellFormed, isOutputPromised })
                : outcomeOfResource(message['result'], written),
            );
          } else end(outcomeOfError(message['error']));
        }
      };
      const exchange = postMessage(target, post, request.maxBytes, {
        message: hear,
        ended: (wasStream) =>
          end(
            wasStream
              ? { kind: 'unreachable', detail: 'the stream ended before its answer' }
              : { kind: 'output_invalid', detail: 'the answer does not belong to the request' },
          ),
        refused(status, outcome, said) {
          if (canRetry && isStale(link, status, said)) {
            exchange.drain();
            resolve('link is stale');
          } else end(said ? outcomeOfError(said['error']) : outcome);
        },
        failed(outcome, code) {
          attempt.fail(outcome, code);
          resolve('ended');
        },
        crashed(error) {
          attempt.crash(error);
          resolve('ended');
        },
      });
      attempt.runs(exchange);
      attempt.onAbandoned = () => {
        // In the stateless era the closed stream is the cancellation.
        if (link.era === 'session') sendAside(target, link, request, cancellation(id));
        resolve('ended');
      };
    });
  }

  /** We offer a server nothing but `ping`: no sampling, no elicitation, no roots. */
  function answerServer(target: Target, link: Link, request: UpstreamRequest, asked: JsonObject): void {
    const answer: JsonObject =
      asked['method'] === 'ping'
        ? { result: {} }
        : { error: { code: -32601, message: 'This client offers no such method' } };
    sendAside(target, link, request, { jsonrpc: '2.0', id: asked['id']!, ...answer });
  }

  /** Sends what nobody waits for, for at most five seconds. */
  function sendAside(target: Target, link: Link, request: UpstreamRequest, message: JsonObject): void {
    let timer: NodeJS.Timeout | undefined;
    let isDone = false;
    const done = () => {
      isDone = true;
      clearTimeout(timer);
    };
    const post = signMessage(target.href, message, request, signer, { link });
    const exchange = postMessage(target, post, 64 * 1_024, {
      message: () => {},
      ended: done,
      refused: done,
      failed: done,
      crashed: done,
    });
    if (!isDone) timer = setTimeout(() => exchange.abort(), 5_000).unref();
  }

  function open(target: Target, identity: CallIdentity): Promise<LinkResult> {
    const link = sessionlessLinks.get(target.href);
    return link ? Promise.resolve({ kind: 'link', link }) : openOnce(NOBODY, target, identity);
  }

  return { prepare, ask, open, close: () => sessions.close() };
}

/** Owns the session in which an endpoint is tried. */
const NOBODY = 'nobody';

/** Whose session a call runs in. A server that keeps nothing of its callers has one for all. */
function sessionOwner(url: string, { endpoint, organizationId }: UpstreamRequest): string {
  return endpoint.session === 'shared' ? `shared ${url}` : organizationId;
}

function hasSession(link: Link): link is SessionLink {
  return link.era === 'session' && link.sessionId !== undefined;
}

function toolCall(id: number, request: UpstreamRequest, link: Link): JsonObject {
  const meta: JsonObject = {
    ...(link.era === 'stateless' ? STATELESS_META : {}),
    ...(request.onChunk ? { progressToken: id } : {}),
  };
  const params: JsonObject = { name: request.endpoint.tool ?? '', arguments: request.input };
  if (link.era === 'stateless' || request.onChunk) params['_meta'] = meta;
  return { jsonrpc: '2.0', id, method: 'tools/call', params };
}

function reading(id: number, uri: string, link: Link): JsonObject {
  const meta: JsonObject = link.era === 'stateless' ? { _meta: STATELESS_META } : {};
  return { jsonrpc: '2.0', id, method: 'resources/read', params: { uri, ...meta } };
}

function cancellation(requestId: number): JsonObject {
  return {
    jsonrpc: '2.0',
    method: 'notifications/cancelled',
    params: { requestId, reason: 'The caller no longer waits' },
  };
}

/**
 * 404 to a request with a session is how a server says that the session is gone. Many answer 400 instead; those
 * are believed when they speak of the session.
 */
function isStale(link: Link, status: number, said: JsonObject | undefined): boolean {
  const error = isJsonObject(said?.['error']) ? said['error'] : {};
  if (error['code'] === UNSUPPORTED_VERSION) return true;
  if (link.era === 'stateless') return false;
  if (status === 404 && link.sessionId !== undefined) return true;
  const words = error['message'];
  return (status === 400 || status === 404) && typeof words === 'string' && SESSION_WORDS.test(words);
}

const SESSION_WORDS =
  /mcp-session-id|valid session|unknown session|session (id|not found|expired)|not initialized/i;

function chunkOfProgress(
  params: Json | undefined,
  token: number,
): { text: string; progress?: ToolProgress } | undefined {
  if (!isJsonObject(params) || params['progressToken'] !== token) return undefined;
  const { message, progress, total } = params;
  const hasMessage = typeof message === 'string' && message !== '';
  if (typeof progress !== 'number') return hasMessage ? { text: message } : undefined;
  if (typeof total !== 'number') {
    return { text: hasMessage ? message : String(progress), progress: { progress, hasMessage } };
  }
  return { text: hasMessage ? message : `${progress}/${total}`, progress: { progress, total, hasMessage } };
}

/** What a metered tool says it has used up to here, beside its progress: `_meta["xyz.sentinel/usage"]`. */
function usageSoFar(params: Json | undefined): Usage | undefined {
  const meta = isJsonObject(params) ? params['_meta'] : undefined;
  const reported = isJsonObject(meta) ? meta['xyz.sentinel/usage'] : undefined;
  return isJsonObject(reported) ? parseUsage(reported['quantity'], reported['unit']) : undefined;
}

/** JSON-RPC 2.0 section 5.1. */
const INVALID_PARAMS = -32602;

function outcomeOfError(error: Json | undefined): Parameters<Attempt['end']>[0] {
  if (!isJsonObject(error))
    return { kind: 'output_invalid', detail: 'the answer has neither a result nor an error' };
  const detail = publicWords(error) || 'it reported an error';
  return error['code'] === INVALID_PARAMS
    ? { kind: 'agent_error', detail, inputAtFault: true }
    : { kind: 'agent_error', detail };
}
