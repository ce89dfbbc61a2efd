import { invariant, unreachable } from '../base/invariant.ts';
import type { Log } from '../base/log.ts';
import type { Resolve } from './address-guard.ts';
import { openAttempt } from './attempt.ts';
import { askHttpAgent } from './http-agent.ts';
import { createMcpAgents } from './mcp-agent.ts';
import { createPools } from './pools.ts';
import type { RequestSigner } from './signature.ts';
import type { Upstream, UpstreamOutcome, UpstreamRequest } from './upstream.ts';

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
};

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
  const mcpAgents = createMcpAgents(signer);
  let isClosed = false;

  async function invoke(request: UpstreamRequest): Promise<UpstreamOutcome> {
    if (isClosed) return { kind: 'unreachable', detail: 'the gateway is shutting down' };
    if (request.signal.aborted) return { kind: 'cancelled' };
    // Checked again at every call: what was allowed when the agent was published may no longer be.
    const found = pools.find(request.endpoint.url);
    if (found.kind === 'refused') {
      log('warn', 'an agent has an endpoint that is refused', {
        callId: request.callId,
        reason: found.reason,
      });
      return { kind: 'unreachable', detail: `its URL ${found.reason}` };
    }

    const attempt = openAttempt(request, log);
    try {
      switch (request.endpoint.protocol) {
        case 'http':
          askHttpAgent(attempt, found.target, signer);
          break;
        case 'mcp':
          invariant(request.endpoint.tool !== undefined, 'an mcp endpoint names its tool');
          mcpAgents.ask(attempt, found.target).catch((error: unknown) => attempt.crash(error));
          break;
        default:
          unreachable(request.endpoint.protocol);
      }
    } catch (error) {
      attempt.crash(error);
    }
    return attempt.outcome;
  }

  async function close(): Promise<void> {
    isClosed = true;
    await pools.close();
  }

  return { invoke, close };
}
