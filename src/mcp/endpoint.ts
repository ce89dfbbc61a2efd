import { answerEmpty, type Answer, type Exchange } from './exchange.ts';
import { guard, type Handler } from './failures.ts';
import { notOffered, openStream, postToSession } from './legacy-transport.ts';
import { createParts, type EndpointOptions } from './parts.ts';
import { postMessage } from './streamable-post.ts';
import type { McpDeps } from './tool-call.ts';

/**
 * One MCP endpoint: Streamable HTTP of every revision at its prefix and at `…/sse`, and the HTTP+SSE transport of
 * 2024-11-05 at the same URLs with `…/messages`. It knows no server: `Host`, `Origin` and mounting are those of the
 * server around it.
 */
export type McpEndpoint = {
  /** Every path it answers at. */
  readonly paths: readonly string[];
  /** What answers there, for the verbs it offers; it never rejects. */
  find(method: string, path: string): Answerer | undefined;
  /** The answer to a verb it does not offer. */
  refuseVerb(method: string): Answer;
};

export type Answerer = (exchange: Exchange) => Promise<Answer>;

export function createMcpEndpoint(deps: McpDeps, options: EndpointOptions): McpEndpoint {
  const { prefix } = options;
  const handlers: readonly [method: string, path: string, handle: Handler][] = [
    ['POST', prefix, postMessage],
    ['POST', `${prefix}/sse`, postMessage],
    ['GET', prefix, openStream],
    ['GET', `${prefix}/sse`, openStream],
    ['POST', `${prefix}/messages`, postToSession],
  ];
  const parts = createParts(deps, options);
  const answerers = new Map<string, Answerer>(
    handlers.map(([method, path, handle]) => [
      `${method} ${path}`,
      (exchange) => guard(exchange, handle, parts),
    ]),
  );
  return {
    paths: [...new Set(handlers.map(([, path]) => path))],
    find: (method, path) => answerers.get(`${method} ${path}`),
    // There is no session to end; hosts of the 2025 revisions ask all the same, and mind a failure.
    refuseVerb: (method) => (method === 'DELETE' ? answerEmpty(200) : notOffered()),
  };
}
