import { invariant, unreachable } from '../base/invariant.ts';
import type { Log } from '../base/log.ts';
import type { Resolve } from './address-guard.ts';
import { openAttempt, type Attempt } from './attempt.ts';
import { askHttpAgent } from './http-agent.ts';
import { createMcpAgents } from './mcp-agent.ts';
import { SESSION_LIMITS, type SessionLimits } from './mcp-sessions.ts';
import { createPools, type Target } from './pools.ts';
import type { CallIdentity, RequestSigner } from './signature.ts';
import { signPost } from './signed-post.ts';
import { tryEndpoint } from './try-endpoint.ts';
import type { EndpointTrial } from './upstream.ts';
import type { Endpoint, PreparedCall, Upstream, UpstreamOutcome, UpstreamRequest } from './upstream.ts';

export type UpstreamOptions = {
  /** True for an endpoint the operator vouches for, by exact host and port: no address or scheme is refused there. */
  allowEndpoint?: (url: URL) => boolean;
  signer?: RequestSigner;
  log: Log;
  /** More calls than this (2,048) to one origin wait in line, inside their own deadlines. */
  maxConnectionsPerOrigin?: number;
  /** 5 s. */
  connectTimeoutMs?: number;
  /** How names become addresses; the system's resolver when absent. */
  resolve?: Resolve;
  /** How long and how many sessions at MCP servers are kept; `SESSION_LIMITS` where absent. */
  sessionLimits?: Partial<SessionLimits>;
};

/** Sends a call that is written and signed to the target; the attempt hears how it ended. */
type Ask = (attempt: Attempt, target: Target) => void;

/** Speaks to agents over HTTP, on Node, through one `undici` pool per origin. */
export function createUpstream(options: UpstreamOptions): Upstream {
  const { log, signer } = options;
  const pools = createPools({
    allowEndpoint: options.allowEndpoint,
    resolve: options.resolve,
    maxConnectionsPerOrigin: options.maxConnectionsPerOrigin ?? 2_048,
    connectTimeoutMs: options.connectTimeoutMs ?? 5_000,
    sweepEveryMs: 60_000,
  });
  const mcpAgents = createMcpAgents(
    signer,
    { ...SESSION_LIMITS, ...options.sessionLimits },
    // Asked again, since a session outlives its connections, and the permission to call there.
    (url) => {
      const found = pools.find(url);
      return found.kind === 'ok' ? found.target : undefined;
    },
  );
  let isClosed = false;

  function prepare(request: UpstreamRequest): PreparedCall {
    // Once closed, nothing may open a pool again.
    const found = isClosed ? undefined : pools.find(request.endpoint.url);
    const ask = found?.kind === 'ok' ? write(found.target.href, request) : undefined;
    return { send: () => send(request, ask) };
  }

  /** Writes the call and has it signed; for an MCP server without a session that is left for when it is sent. */
  function write(href: string, request: UpstreamRequest): Ask {
    const { protocol, tool } = request.endpoint;
    switch (protocol) {
      case 'http': {
        const post = signPost(href, request.input, request, signer);
        return (attempt, target) => askHttpAgent(attempt, target, post);
      }
      case 'mcp': {
        invariant(tool !== undefined, 'an mcp endpoint names its tool');
        const call = mcpAgents.prepare(href, request);
        return (attempt, target) => {
          mcpAgents.ask(attempt, target, call).catch((error: unknown) => attempt.crash(error));
        };
      }
      default:
        return unreachable(protocol);
    }
  }

  async function send(request: UpstreamRequest, prepared: Ask | undefined): Promise<UpstreamOutcome> {
    if (isClosed) return { kind: 'unreachable', detail: 'the gateway is shutting down' };
    if (request.signal.aborted) return { kind: 'cancelled' };
    // Checked again at every call: what was allowed when the agent was published may no longer be.
    const found = pools.find(request.endpoint.url);
    if (found.kind === 'refused') {
      const { callId } = request;
      log('warn', 'an agent has an endpoint that is refused', { callId, reason: found.reason });
      return { kind: 'unreachable', detail: `its URL ${found.reason}` };
    }
    const attempt = openAttempt(request, log);
    try {
      const ask = prepared ?? write(found.target.href, request);
      ask(attempt, found.target);
    } catch (error) {
      attempt.crash(error);
    }
    return attempt.outcome;
  }

  async function tryAgent(endpoint: Endpoint, identity: CallIdentity): Promise<EndpointTrial> {
    // Once closed, nothing may open a pool again.
    if (isClosed) return { kind: 'ok' };
    return tryEndpoint(endpoint, identity, { pools, mcpAgents, signer });
  }

  async function close(): Promise<void> {
    isClosed = true;
    await mcpAgents.close();
    await pools.close();
  }

  return { prepare, tryEndpoint: tryAgent, close };
}
