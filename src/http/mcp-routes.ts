import { Hono, type Context } from 'hono';
import { EVENT_STREAM_HEADERS } from '../base/event-stream.ts';
import type { McpEndpoint } from '../mcp/endpoint.ts';
import type { Answer, Exchange } from '../mcp/exchange.ts';
import { readBody } from '../mcp/read-body.ts';
import type { HttpEnv } from './env.ts';
import { bodyOf } from './event-body.ts';

/** Mounts an MCP endpoint in the app, on any runtime that has fetch's `Request` and `Response`. */
export function mcpRoutes(endpoint: McpEndpoint): Hono<HttpEnv> {
  const routes = new Hono<HttpEnv>();
  for (const path of endpoint.paths) {
    for (const method of ['POST', 'GET']) {
      const answer = endpoint.find(method, path);
      if (answer) routes.on(method, path, async (c) => responseOf(c, await answer(exchangeOf(c))));
    }
    routes.all(path, (c) => responseOf(c, endpoint.refuseVerb(c.req.method)));
  }
  return routes;
}

function exchangeOf(c: Context<HttpEnv>): Exchange {
  const { url } = c.req;
  return {
    target: url.slice(url.indexOf('/', url.indexOf('://') + 3)),
    requestId: c.get('requestId'),
    header: (name) => c.req.header(name),
    allHeaders: () => new Headers(c.req.raw.headers),
    readBody: (maxBytes) => readBody(c.req.raw, maxBytes),
    isGone: () => c.req.raw.signal.aborted,
    onGone(listener) {
      const { signal } = c.req.raw;
      if (signal.aborted) listener();
      else signal.addEventListener('abort', listener, { once: true });
      return () => signal.removeEventListener('abort', listener);
    },
  };
}

function responseOf(c: Context<HttpEnv>, answer: Answer): Response {
  if (answer.kind === 'events') {
    return new Response(bodyOf(answer.stream), { headers: withDefaults(c, EVENT_STREAM_HEADERS) });
  }
  const { status, headers, text } = answer;
  return new Response(text === '' ? null : text, { status, headers: withDefaults(c, headers) });
}

/** Made with what every answer carries, which costs less than adding it to an answer that is there already. */
function withDefaults(c: Context<HttpEnv>, headers: Record<string, string>): Record<string, string> {
  c.set('hasDefaultHeaders', true);
  return { ...c.get('defaultHeaders'), ...headers };
}
