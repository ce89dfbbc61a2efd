import { isJsonObject } from '../base/json.ts';
import type { McpAgents } from './mcp-agent.ts';
import { askServer } from './mcp-link.ts';
import type { LinkResult } from './mcp-link.ts';
import { STATELESS_META } from './mcp-wire.ts';
import type { Link } from './mcp-wire.ts';
import type { Pools, Target } from './pools.ts';
import type { CallIdentity, RequestSigner } from './signature.ts';
import type { Endpoint, EndpointTrial } from './upstream.ts';

export type TrialDeps = { pools: Pools; mcpAgents: McpAgents; signer: RequestSigner | undefined };

/**
 * Looks whether an agent can be reached where its manifest says. An MCP server is asked for its tools. An `http` agent is
 * only connected to: it has no request that is not a call, and servers answer `OPTIONS` or `HEAD` like one. What a server
 * says of itself is not passed on. Takes at most about five seconds.
 */
export async function tryEndpoint(
  endpoint: Endpoint,
  identity: CallIdentity,
  deps: TrialDeps,
): Promise<EndpointTrial> {
  const found = deps.pools.find(endpoint.url);
  if (found.kind === 'refused') return doubtful(`cannot be called: it ${found.reason}`);
  if (endpoint.protocol === 'http') {
    const failure = await deps.pools.tryConnection(endpoint.url);
    return failure === undefined ? { kind: 'ok' } : doubtful(`could not be reached: ${failure}`);
  }
  const asked = await within(HANDSHAKE_MS, askForTool(found.target, endpoint.tool ?? '', identity, deps));
  return (
    asked ?? (await explain(found.target, `did not answer as an MCP server within ${HANDSHAKE_MS / 1_000} s`))
  );
}

const HANDSHAKE_MS = 4_000;
const PROBE_MS = 1_000;
// More tools than any server lists; a server that never ends its pages is not followed for ever.
const MAX_PAGES = 50;

function doubtful(message: string, part: 'url' | 'tool' = 'url'): EndpointTrial {
  return { kind: 'doubtful', part, message };
}

async function within<T>(ms: number, answer: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), ms)));
  // An answer that comes too late, or a failure of ours by then, is heard by nobody.
  answer.catch(() => {});
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}

async function askForTool(
  target: Target,
  tool: string,
  identity: CallIdentity,
  { mcpAgents, signer }: TrialDeps,
): Promise<EndpointTrial> {
  const opened = await mcpAgents.open(target, identity);
  if (opened.kind === 'failed') return explain(target, describeFailure(opened));
  const { link } = opened;
  let cursor: string | undefined;
  for (let page = 0; page < MAX_PAGES; page++) {
    const reply = await askServer(target, { link }, identity, signer, listTools(link, page, cursor));
    if (reply.kind !== 'result') return doubtful('leads to an MCP server that does not list its tools');
    const { tools, nextCursor } = reply.result;
    const hasTool = Array.isArray(tools) && tools.some((each) => isJsonObject(each) && each['name'] === tool);
    if (hasTool) return { kind: 'ok' };
    if (typeof nextCursor !== 'string')
      return doubtful('is not the name of a tool of that MCP server', 'tool');
    cursor = nextCursor;
  }
  return { kind: 'ok' };
}

function listTools(link: Link, page: number, cursor: string | undefined) {
  const params = {
    ...(link.era === 'stateless' ? { _meta: STATELESS_META } : {}),
    ...(cursor === undefined ? {} : { cursor }),
  };
  return { jsonrpc: '2.0', id: `tools-${page}`, method: 'tools/list', params };
}

function describeFailure({ outcome, refusal }: Extract<LinkResult, { kind: 'failed' }>): string {
  if (refusal !== undefined) {
    const { status } = refusal;
    if (status === 401 || status === 403) {
      return `answers ${status}: it wants credentials, and the gateway sends none but its signature`;
    }
    if (status !== undefined) {
      return `answers ${status} to an MCP handshake: its path may be wrong, since many MCP servers are at /mcp`;
    }
    return 'leads to an MCP server that refuses the handshake';
  }
  if (outcome.kind === 'unreachable') return `could not be reached: ${outcome.detail}`;
  const detail = 'detail' in outcome ? `: ${outcome.detail}` : '';
  return `does not answer as an MCP server${detail}; its path may be wrong, since many MCP servers are at /mcp`;
}

/** The same doubt, unless the URL turns out to speak the transport that was before Streamable HTTP. */
async function explain(target: Target, message: string): Promise<EndpointTrial> {
  return doubtful((await speaksOldTransport(target)) ? OLD_TRANSPORT : message);
}

const OLD_TRANSPORT =
  'speaks only the old HTTP+SSE transport (2024-11-05); the gateway calls Streamable HTTP, which the server has to offer, often at /mcp';

/** A server of the old transport answers a GET with an event stream, whose first event is `endpoint`. */
function speaksOldTransport({ pool, path }: Target): Promise<boolean> {
  return new Promise((resolve) => {
    let abort: (() => void) | undefined;
    let isStream = false;
    let text = '';
    const end = (answer: boolean): void => {
      clearTimeout(timer);
      resolve(answer);
      abort?.();
    };
    const timer = setTimeout(() => end(false), PROBE_MS);
    const headers = { accept: 'text/event-stream', 'accept-encoding': 'identity', 'user-agent': 'sentinel' };
    pool.dispatch(
      { path, method: 'GET', headers },
      {
        onRequestStart(controller) {
          abort = () => controller.abort(new Error('the answer is no longer wanted'));
        },
        onResponseStart(_controller, status, answerHeaders) {
          isStream = status === 200 && /^text\/event-stream/i.test(String(answerHeaders['content-type']));
          if (!isStream) end(false);
        },
        onResponseData(_controller, chunk) {
          text += chunk.toString('latin1');
          if (/^event:\s*endpoint\s*$/m.test(text)) end(true);
          else if (text.length > MAX_PROBE_CHARACTERS) end(false);
        },
        onResponseEnd: () => end(false),
        onResponseError: () => end(false),
      },
    );
  });
}

const MAX_PROBE_CHARACTERS = 4_096;
