import { isJsonObject } from '../base/json.ts';
import type { JsonObject } from '../base/json.ts';
import { startExchange } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import {
  CLIENT_INFO,
  STATELESS_META,
  STATELESS_VERSION,
  UNSUPPORTED_VERSION,
  postMessage,
  signGoodbye,
  signMessage,
} from './mcp-wire.ts';
import type { Link } from './mcp-wire.ts';
import type { Target } from './pools.ts';
import { publicWords } from './public-words.ts';
import type { CallIdentity, RequestSigner } from './signature.ts';
import type { UpstreamOutcome } from './upstream.ts';

/**
 * `code` is for the log, and empty when the outcome says it all. `refusal`: the server itself said no, with this status
 * if it was not 2xx, and the outcome is in its words.
 */
export type LinkResult = { kind: 'link'; link: Link } | LinkFailure;
type LinkFailure = {
  kind: 'failed';
  outcome: UpstreamOutcome;
  code: string;
  refusal?: { status?: number };
};

/**
 * Shakes hands with the server: `initialize` first, because that is what most servers speak and those that
 * speak both eras accept it; the stateless revision when the server refuses it. Each step takes at most 15 s, whoever waits.
 */
export async function openLink(
  target: Target,
  identity: CallIdentity,
  signer: RequestSigner | undefined,
): Promise<LinkResult> {
  const initialize = await askServer(target, {}, identity, signer, {
    jsonrpc: '2.0',
    id: 'initialize',
    method: 'initialize',
    params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: CLIENT_INFO },
  });
  if (initialize.kind === 'failed') return initialize;
  if (initialize.kind === 'error') {
    return REFUSES_ERA.has(initialize.code)
      ? openStatelessLink(target, identity, signer)
      : refusedLink(initialize);
  }

  const version = initialize.result['protocolVersion'];
  if (typeof version !== 'string' || !SESSION_VERSIONS.has(version)) {
    return failed('output_invalid', 'the MCP server speaks no protocol version that the gateway knows');
  }
  const { sessionId } = initialize;
  // The transport allows visible ASCII only, and the id goes back as a header.
  if (sessionId !== undefined && !/^[\x21-\x7e]{1,1024}$/.test(sessionId)) {
    return failed('output_invalid', 'the MCP server gave a session id that is not visible ASCII');
  }
  const link: Link = { era: 'session', version, ...(sessionId === undefined ? {} : { sessionId }) };
  // Servers refuse calls before this notification, so it is waited for. What is answered does not matter.
  await askServer(target, { link }, identity, signer, {
    jsonrpc: '2.0',
    method: 'notifications/initialized',
  });
  return { kind: 'link', link };
}

/** Tells the server that its session is over. Resolves when it has answered, or not within a second. */
export async function closeLink(
  target: Target,
  link: Link,
  identity: CallIdentity,
  signer: RequestSigner | undefined,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const exchange = startExchange(target, signGoodbye(target.href, link, identity, signer), {
    // Servers that do not let clients end sessions answer 405. Whatever is said, the session is not used again.
    head: () => {},
    data: () => {},
    end: resolve,
    failed: () => resolve(),
    crashed: () => resolve(),
  });
  const timer = setTimeout(resolve, GOODBYE_MS);
  await promise;
  clearTimeout(timer);
  exchange.abort();
}

const SESSION_VERSIONS = new Set(['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05', '2024-10-07']);
/** How servers of the stateless era refuse `initialize`: wrong version, wrong headers, no such method, bad request. */
const REFUSES_ERA = new Set([UNSUPPORTED_VERSION, -32020, -32601, -32600, -32602]);
const HANDSHAKE_MS = 15_000;
const GOODBYE_MS = 1_000;
const HANDSHAKE_BYTES = 1_024 * 1_024;

async function openStatelessLink(
  target: Target,
  identity: CallIdentity,
  signer: RequestSigner | undefined,
): Promise<LinkResult> {
  const link: Link = { era: 'stateless' };
  const discover = await askServer(target, { link }, identity, signer, {
    jsonrpc: '2.0',
    id: 'discover',
    method: 'server/discover',
    params: { _meta: STATELESS_META },
  });
  if (discover.kind === 'failed') return discover;
  if (discover.kind === 'error') return refusedLink(discover);
  const supported = discover.result['supportedVersions'];
  return Array.isArray(supported) && supported.includes(STATELESS_VERSION)
    ? { kind: 'link', link }
    : failed('output_invalid', 'the MCP server speaks no protocol version that the gateway knows');
}

export type Reply =
  | { kind: 'result'; result: JsonObject; sessionId?: string }
  | { kind: 'error'; code: number; outcome: UpstreamOutcome; status?: number }
  | LinkFailure;

/** One request to the server, outside of any call: a caller who leaves does not end it for the others. */
export function askServer(
  target: Target,
  to: { link?: Link },
  identity: CallIdentity,
  signer: RequestSigner | undefined,
  message: JsonObject,
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    let sessionId: string | undefined;
    const settle = (reply: Reply) => {
      clearTimeout(timer);
      exchange?.drain();
      resolve(reply);
    };
    const timer = setTimeout(() => {
      exchange?.abort();
      settle(failed('unreachable', 'the MCP server did not finish its handshake in time'));
    }, HANDSHAKE_MS);
    const hear = (reply: JsonObject) => {
      if (reply['id'] !== message['id'] || message['id'] === undefined) return;
      if (isJsonObject(reply['result'])) {
        settle({
          kind: 'result',
          result: reply['result'],
          ...(sessionId === undefined ? {} : { sessionId }),
        });
      } else if (isJsonObject(reply['error'])) settle(errorReply(reply));
    };
    // Assigned late when the request fails at once, while the listener already settles.
    let exchange: Exchange | undefined;
    const post = signMessage(target.href, message, identity, signer, to);
    exchange = postMessage(target, post, HANDSHAKE_BYTES, {
      sessionId: (id) => void (sessionId = id),
      message: hear,
      ended: () => settle(failed('unreachable', 'the MCP server ended its handshake without an answer')),
      refused: (status, outcome, said) =>
        settle(
          said
            ? { ...errorReply(said), outcome, status }
            : { kind: 'failed', outcome, code: '', refusal: { status } },
        ),
      failed: (outcome, code) => settle({ kind: 'failed', outcome, code }),
      crashed: (error) => {
        clearTimeout(timer);
        reject(error);
      },
    });
  });
}

function errorReply(reply: JsonObject): Reply & { kind: 'error' } {
  const error = reply['error'] as JsonObject;
  const words = publicWords(error);
  return {
    kind: 'error',
    code: typeof error['code'] === 'number' ? error['code'] : 0,
    outcome: { kind: 'agent_error', detail: words || 'the MCP server refused the handshake' },
  };
}

function refusedLink({ outcome, status }: Reply & { kind: 'error' }): LinkFailure {
  return { kind: 'failed', outcome, code: '', refusal: status === undefined ? {} : { status } };
}

function failed(kind: 'unreachable' | 'output_invalid', detail: string): LinkFailure {
  return { kind: 'failed', outcome: { kind, detail }, code: '' };
}
