import type { Context, MiddlewareHandler, Next } from 'hono';
import { newId } from '../base/ids.ts';
import { Problem } from '../base/problem.ts';
import { refuseKeys } from '../catalog/filters.ts';
import { createAllowedCallers, type AllowedCallers } from './allowed-callers.ts';
import type { HttpEnv } from './env.ts';
import { problemResponse } from './problem-response.ts';

// A list and not `*`, which does not cover Authorization.
const ALLOWED_HEADERS = [
  'Content-Type',
  'Authorization',
  'Accept',
  'X-API-Key',
  'Idempotency-Key',
  'X-Sentinel-Session',
  'X-Sentinel-Caller',
  'X-Request-Id',
  'MCP-Protocol-Version',
  'Mcp-Method',
  'Mcp-Name',
  'Mcp-Session-Id',
  'Last-Event-ID',
];
const EXPOSED_HEADERS = 'Mcp-Session-Id, WWW-Authenticate, X-Request-Id, Retry-After, Link';
const ALLOWED_METHODS = 'GET, POST, PUT, PATCH, DELETE, OPTIONS';
const PLAIN_HEADERS = { 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' };
const PREFLIGHT_SECONDS = '600';

/** What happens to every request before anything looks at it, and to every answer on its way out. */
export type FrontDoor = {
  /** One middleware: three stacked ones that set headers were measured to triple the cost of an answer. */
  middleware: MiddlewareHandler<HttpEnv>;
  /**
   * The same for a server that answers without the app: the request's id, and what its answer has to carry.
   * Undefined for what is refused; the app knows how to say so.
   */
  letIn(asked: Asked): LetIn | undefined;
};

/** What a request is judged by; each but the target is a header. */
export type Asked = {
  host: string | undefined;
  origin: string | undefined;
  requestId: string | undefined;
  /** Its URL, or path and query. */
  target: string;
};

export type LetIn = { requestId: string; headers: Record<string, string> };

export function createFrontDoor(rules: Parameters<typeof createAllowedCallers>[0]): FrontDoor {
  const allowed = createAllowedCallers(rules);
  return {
    middleware: (c, next) => passThrough(c, next, allowed),
    letIn: (asked) => {
      if (refusalOf(asked, allowed)) return undefined;
      const requestId = requestIdOf(asked.requestId);
      return { requestId, headers: defaultHeaders(requestId, asked.origin) };
    },
  };
}

async function passThrough(c: Context<HttpEnv>, next: Next, allowed: AllowedCallers): Promise<void> {
  const requestId = requestIdOf(c.req.header('x-request-id'));
  c.set('requestId', requestId);
  const origin = c.req.header('origin');

  const refused = refusalOf({ host: c.req.header('host'), origin, target: c.req.url }, allowed);
  if (refused) c.res = problemResponse(c, refused);
  else if (isPreflight(c, origin)) c.res = answerPreflight(c);
  else {
    // The busiest answers are made with these headers from the start, because adding them to an answer
    // that is there already costs several times as much.
    c.set('defaultHeaders', defaultHeaders(requestId, origin));
    await next();
  }

  if (c.get('hasDefaultHeaders') === true) return;
  const { headers } = c.res;
  // What a key may see is for that key alone; whoever may be cached says so.
  for (const [name, value] of Object.entries(PLAIN_HEADERS)) {
    if (!headers.has(name)) headers.set(name, value);
  }
  headers.set('x-request-id', requestId);
  if (origin === undefined) return;
  headers.append('vary', 'Origin');
  if (refused?.code === 'HOST_NOT_ALLOWED') return;
  for (const [name, value] of Object.entries(pageHeaders(origin))) headers.set(name, value);
}

function defaultHeaders(requestId: string, origin: string | undefined): Record<string, string> {
  const plain = { ...PLAIN_HEADERS, 'x-request-id': requestId };
  return origin === undefined ? plain : { ...plain, vary: 'Origin', ...pageHeaders(origin) };
}

/** What lets a page read its answer. */
function pageHeaders(origin: string): Record<string, string> {
  return { 'access-control-allow-origin': origin, 'access-control-expose-headers': EXPOSED_HEADERS };
}

/** A client's own id is kept where it is harmless to log, so that both sides speak of the same request. */
function requestIdOf(given: string | undefined): string {
  return given !== undefined && /^[A-Za-z0-9._-]{1,128}$/.test(given) ? given : newId('req');
}

function refusalOf(
  { host, origin, target }: Omit<Asked, 'requestId'>,
  allowed: AllowedCallers,
): Problem | undefined {
  if (!allowed.allowsHost(host)) {
    return new Problem(
      'HOST_NOT_ALLOWED',
      'This gateway does not serve that host name. The operator can allow it with SENTINEL_ALLOWED_HOSTS.',
    );
  }
  if (origin !== undefined && !allowed.allowsOrigin(origin)) {
    return new Problem(
      'HOST_NOT_ALLOWED',
      'Pages of that origin may not call this gateway. The operator can allow it with SENTINEL_ALLOWED_ORIGINS.',
    );
  }
  const question = target.indexOf('?');
  return question === -1 ? undefined : refusalOfQuery(target.slice(question));
}

/** Here and not in each route: also a page that is not there would otherwise log the key's way to it. */
function refusalOfQuery(query: string): Problem | undefined {
  try {
    refuseKeys(new URLSearchParams(query));
    return undefined;
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
}

function isPreflight(c: Context<HttpEnv>, origin: string | undefined): boolean {
  return (
    c.req.method === 'OPTIONS' &&
    origin !== undefined &&
    c.req.header('access-control-request-method') !== undefined
  );
}

function answerPreflight(c: Context<HttpEnv>): Response {
  return new Response(null, {
    status: 204,
    headers: {
      'access-control-allow-methods': ALLOWED_METHODS,
      'access-control-allow-headers': [...ALLOWED_HEADERS, ...mcpParameters(c)].join(', '),
      'access-control-max-age': PREFLIGHT_SECONDS,
      vary: 'Access-Control-Request-Headers',
    },
  });
}

/** Tools may name headers of their own, all of which begin alike. */
function mcpParameters(c: Context<HttpEnv>): string[] {
  const asked = c.req.header('access-control-request-headers')?.split(',') ?? [];
  return asked.map((name) => name.trim()).filter((name) => /^mcp-param-[a-z0-9-]{1,64}$/i.test(name));
}
