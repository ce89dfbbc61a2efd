import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import { MANIFEST_SCHEMA } from '../catalog/manifest-schema.ts';
import { ping } from '../db/db.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, newRoutes, noQuery, refusals, signedIn } from './route.ts';

// A balancer that asks must be answered before it gives up on us.
const PING_MS = 2_000;
// Every waiting item is a call that waits; a queue this long will not be worked off while anyone is there.
const FULL_QUEUE = 10_000;

const health = z.object({ status: z.literal('ok') });
const readiness = z
  .object({
    status: z.enum(['ready', 'unready']),
    database: z.enum(['ok', 'away']),
    ledger: z.enum(['ok', 'overloaded']),
    queue_depth: z.number().int(),
    changes: z.enum(['live', 'lost']),
    limits: z.enum(['local', 'shared', 'degraded']),
    clock: z.enum(['ok', 'off']).openapi({
      description:
        "Off: it differs from the database's by more than 5 seconds, and the process runs no jobs.",
    }),
    clock_ahead_ms: z.number().int(),
  })
  .openapi('Readiness');

export type HealthBody = z.infer<typeof health>;
export type ReadinessBody = z.infer<typeof readiness>;

/** What machines ask of the process itself. No key, except for the metrics of a public gateway. */
export function systemRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { calls, metrics } = deps;

  const alive = createRoute({
    method: 'get',
    path: '/health',
    tags: ['system'],
    summary: 'The process runs',
    request: { query: noQuery },
    responses: { 200: json(health, 'It does.') },
  });
  const ready = createRoute({
    method: 'get',
    path: '/ready',
    tags: ['system'],
    summary: 'The process can serve paid calls',
    description:
      'Limits that fell back to this process (Redis is away) do not make it unready, and no more does a clock that is off: then other processes run the jobs.',
    request: { query: noQuery },
    responses: { 200: json(readiness, 'It can.'), 503: json(readiness, 'It cannot, and why.') },
  });
  const measure = createRoute({
    method: 'get',
    path: '/metrics',
    tags: ['system'],
    summary: "The process's figures in Prometheus' text format",
    description: "Open where the gateway's own address is loopback; otherwise for the operator.",
    ...metricsGuard(deps),
    request: { query: noQuery },
    responses: {
      200: { description: 'The figures.', content: { 'text/plain': { schema: z.string() } } },
      ...refusals,
    },
  });
  const manifestSchema = createRoute({
    method: 'get',
    path: '/schemas/manifest.json',
    tags: ['publishing'],
    summary: 'The JSON Schema of a manifest',
    request: { query: noQuery },
    responses: { 200: json(z.record(z.string(), z.unknown()), 'The schema.') },
  });
  const keySet = createRoute({
    method: 'get',
    path: '/.well-known/jwks.json',
    tags: ['publishing'],
    summary: 'The keys our requests to agents, receipts and proofs are signed with',
    request: { query: noQuery },
    responses: { 200: json(z.object({ keys: z.array(z.unknown()) }), 'A JWK set.') },
  });

  return newRoutes()
    .openapi(alive, (c) => c.json({ status: 'ok' as const }, 200))
    .openapi(ready, async (c) => {
      const queueDepth = calls.ledger.depth();
      const readiness = {
        database: (await answersInTime(deps)) ? ('ok' as const) : ('away' as const),
        ledger: queueDepth < FULL_QUEUE ? ('ok' as const) : ('overloaded' as const),
        queue_depth: queueDepth,
        // Without the feed this process may still sell what another one has just suspended.
        changes: deps.isFeedLive() ? ('live' as const) : ('lost' as const),
        limits: calls.gate.state(),
        // Calls are served all the same: what they write of times is the database's.
        clock: deps.clock.wasRight() ? ('ok' as const) : ('off' as const),
        clock_ahead_ms: deps.clock.aheadMs(),
      };
      const { database, ledger, changes } = readiness;
      return database === 'ok' && ledger === 'ok' && changes === 'live'
        ? c.json({ status: 'ready' as const, ...readiness }, 200)
        : c.json({ status: 'unready' as const, ...readiness }, 503);
    })
    .openapi(measure, async (c) => {
      c.header('content-type', metrics.contentType);
      return c.body(await metrics.text(), 200) as never;
    })
    .openapi(manifestSchema, (c) => {
      c.header('cache-control', 'public, max-age=3600');
      return c.json(MANIFEST_SCHEMA, 200);
    })
    .openapi(keySet, async (c) => {
      c.header('cache-control', 'public, max-age=300');
      return c.json((await deps.jwks()) as { keys: unknown[] }, 200);
    });
}

async function answersInTime({ database, log }: HttpDeps): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  const timer = setTimeout(() => late.resolve(false), PING_MS);
  const answer = ping(database).then(
    () => true,
    (error: unknown) => {
      log('warn', 'the database does not answer', { error: String(error) });
      return false;
    },
  );
  return Promise.race([answer, late.promise]).finally(() => clearTimeout(timer));
}

/**
 * Decided by our own address and not by the request's Host or peer, either of which a reverse proxy or a
 * client can make look local.
 */
function metricsGuard(deps: HttpDeps): {
  security?: { apiKey: string[] }[];
  middleware: MiddlewareHandler<HttpEnv>;
} {
  const { hostname } = new URL(deps.publicUrl);
  const isLocal = deps.isBoundLocally && ['localhost', '127.0.0.1', '[::1]'].includes(hostname);
  return isLocal ? { middleware: (_, next) => next() } : signedIn(deps, 'operator');
}
