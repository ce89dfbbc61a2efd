import { Hono, type Context } from 'hono';
import { traceOf } from '../base/log.ts';
import { Problem } from '../base/problem.ts';
import { problemOfThrown } from '../db/thrown-problem.ts';
import { JSON_HEADERS } from './answer-as-it-comes.ts';
import { notOffered, openStream, postToSession } from './legacy-transport.ts';
import { createParts, requestIdOf, type McpParts } from './parts.ts';
import { refuseProblem } from './refusals.ts';
import { formatError } from './rpc-text.ts';
import { postMessage } from './streamable-post.ts';
import type { McpDeps } from './tool-call.ts';

export type { McpDeps } from './tool-call.ts';

const ENDPOINTS = ['/mcp', '/mcp/sse'];

/**
 * The MCP endpoint for API keys: Streamable HTTP of every revision on `/mcp` and `/mcp/sse`, and the HTTP+SSE
 * transport of 2024-11-05 on the same URLs with `/mcp/messages`. `Host` and `Origin` are the outer app's.
 */
export function mcpRoutes(deps: McpDeps): Hono {
  const parts = createParts(deps);
  const app = new Hono();
  for (const path of ENDPOINTS) {
    app.post(path, (c) => guard(c, postMessage, parts));
    app.get(path, (c) => guard(c, openStream, parts));
    // There is no session to end; hosts of the 2025 revisions ask all the same, and mind a failure.
    app.delete(path, () => new Response(null, { status: 200 }));
    app.all(path, () => notOffered());
  }
  app.post('/mcp/messages', (c) => guard(c, postToSession, parts));
  app.all('/mcp/messages', () => notOffered());
  return app;
}

type Handler = (c: Context, parts: McpParts) => Promise<Response>;

/** Nothing a request does ends in an unhandled rejection, and no internal text reaches the client. */
async function guard(c: Context, handle: Handler, parts: McpParts): Promise<Response> {
  try {
    return await handle(c, parts);
  } catch (error) {
    if (error instanceof Problem) return refuseProblem(error);
    if (c.req.raw.signal.aborted) return new Response(null, { status: 499 });
    parts.deps.log('error', 'an MCP request failed', {
      request: requestIdOf(c),
      error: traceOf(error),
    });
    const problem = problemOfThrown(error);
    if (problem.code === 'UNAVAILABLE') return refuseProblem(problem);
    const failure = formatError(null, { code: -32_603, message: 'Internal error.' });
    return new Response(failure, { status: 500, headers: JSON_HEADERS });
  }
}
