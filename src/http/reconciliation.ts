import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, newRoutes, refusals, signedIn } from './route.ts';
import { moment, wholeNumber } from './words.ts';

const differenceOut = z
  .object({
    what: z.string().openapi({ description: 'What was compared.', example: 'account balance' }),
    id: z.string().openapi({ description: 'Of the row the difference is in.' }),
    expected: z.string(),
    found: z.string(),
  })
  .openapi('Difference');

const reconciliationOut = z
  .object({
    checked_at: moment,
    difference_count: z.number().int().openapi({ description: 'All of them, named below or not.' }),
    comparisons: z.array(z.object({ what: z.string(), difference_count: z.number().int() })),
    not_compared: z.array(z.object({ what: z.string(), why: z.enum(['not configured', 'failed']) })),
    differences: z.array(differenceOut),
  })
  .openapi('Reconciliation');

export type ReconciliationBody = z.infer<typeof reconciliationOut>;

/** Whether the books agree, for the operator. */
export function reconciliationRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const compare = createRoute({
    method: 'get',
    path: '/v1/reconciliation',
    tags: ['operator'],
    summary: 'Compares all books with each other, and names each difference',
    description:
      'Reads the whole ledger on one snapshot while the gateway works, so it takes time where the ledger is large. `limit` bounds the differences named for each comparison; all are counted.',
    ...signedIn(deps, 'operator'),
    request: { query: z.strictObject({ limit: wholeNumber(1, 10_000, 1_000) }) },
    responses: { 200: json(reconciliationOut, 'What was compared and what was found.'), ...refusals },
  });

  return newRoutes().openapi(compare, async (c) => {
    const found = await deps.reconcile(c.req.valid('query').limit);
    return c.json(
      {
        checked_at: found.checkedAt.toISOString(),
        difference_count: found.count,
        comparisons: found.comparisons.map(({ what, count }) => ({ what, difference_count: count })),
        not_compared: found.notCompared,
        differences: found.differences,
      },
      200,
    );
  });
}
