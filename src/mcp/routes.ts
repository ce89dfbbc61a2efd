import { Hono } from 'hono';
import { answerEmpty, type Answer, type Exchange } from './exchange.ts';
import { guard, type Handler } from './failures.ts';
import { notOffered, openStream, postToSession } from './legacy-transport.ts';
import { createParts } from './parts.ts';
import { postMessage } from './streamable-post.ts';
import type { McpDeps } from './tool-call.ts';
import { exchangeOf, responseOf } from './web-exchange.ts';

export type { McpDeps } from './tool-call.ts';

/**
 * The MCP endpoint for API keys: Streamable HTTP of every revision on `/mcp` and `/mcp/sse`, and the HTTP+SSE
 * transport of 2024-11-05 on the same URLs with `/mcp/messages`. `Host` and `Origin` are the front door's.
 */
export type McpEndpoint = {
  /** For the app, on any runtime. */
  routes: Hono;
  /** What answers there, for a server that need not ask the app; it never rejects. */
  find(method: string, path: string): ((exchange: Exchange) => Promise<Answer>) | undefined;
};

const HANDLERS: readonly [method: string, path: string, handle: Handler][] = [
  ['POST', '/mcp', postMessage],
  ['POST', '/mcp/sse', postMessage],
  ['GET', '/mcp', openStream],
  ['GET', '/mcp/sse', openStream],
  ['POST', '/mcp/messages', postToSession],
];

export function createMcpEndpoint(deps: McpDeps): McpEndpoint {
  const parts = createParts(deps);
  const handlers = new Map(
    HANDLERS.map(([method, path, handle]) => [
      `${method} ${path}`,
      (exchange: Exchange) => guard(exchange, handle, parts),
    ]),
  );

  const routes = new Hono();
  for (const [method, path, handle] of HANDLERS) {
    routes.on(method, path, async (c) => responseOf(c, await guard(exchangeOf(c), handle, parts)));
  }
  for (const path of ['/mcp', '/mcp/sse']) {
    // There is no session to end; hosts of the 2025 revisions ask all the same, and mind a failure.
    routes.delete(path, (c) => responseOf(c, answerEmpty(200)));
  }
  for (const path of new Set(HANDLERS.map(([, path]) => path))) {
    routes.all(path, (c) => responseOf(c, notOffered()));
  }
  return { routes, find: (method, path) => handlers.get(`${method} ${path}`) };
}
