import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { formatCredits } from '../base/money.ts';
import { ping } from '../db/db.ts';
import { countOpenHolds } from '../ledger/transactions.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import { amountOut } from './words.ts';

const statusOut = z
  .object({
    version: z.string(),
    uptime_s: z.number().int(),
    agents: z.number().int().openapi({ description: 'For sale.' }),
    open_calls: z.number().int().openapi({ description: 'Of this process.' }),
    open_holds: z.number().int().openapi({ description: 'Of all processes.' }),
    held: amountOut,
    queue_depth: z.number().int(),
    limits: z.enum(['local', 'shared', 'degraded']),
    database_ms: z.number(),
    time: z.string().openapi({ description: "By the database's clock." }),
    clock_ahead_ms: z.number().int().openapi({
      description:
        "How far the clock of this process is ahead of the database's; negative where it is behind.",
    }),
  })
  .openapi('Status');

export type StatusBody = z.infer<typeof statusOut>;

/** How the gateway is doing, for the operator. */
export function statusRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { database, calls, catalog, clock } = deps;
  const startedElapsed = clock.elapsed();

  const status = createRoute({
    method: 'get',
    path: '/v1/status',
    tags: ['operator'],
    summary: 'How the gateway is doing',
    ...signedIn(deps, 'operator'),
    request: { query: noQuery },
    responses: { 200: json(statusOut, 'The state of this process and its database.'), ...refusals },
  });

  return newRoutes().openapi(status, async (c) => {
    const databaseMs = await ping(database);
    const holds = await countOpenHolds(database.db);
    return c.json(
      {
        version: deps.version,
        uptime_s: Math.floor((clock.elapsed() - startedElapsed) / 1_000),
        agents: catalog.list({ minTrustScore: 0 }).length,
        open_calls: calls.running.count(),
        open_holds: holds.count,
        held: formatCredits(holds.heldMicros),
        queue_depth: calls.ledger.depth(),
        limits: calls.gate.state(),
        database_ms: Math.round(databaseMs * 10) / 10,
        time: new Date(clock.now()).toISOString(),
        clock_ahead_ms: clock.aheadMs(),
      },
      200,
    );
  });
}
