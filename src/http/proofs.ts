import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { findProof } from '../audit/proofs.ts';
import { Problem } from '../base/problem.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, newRoutes, refusals, signedIn } from './route.ts';
import { amountOut, dayIn, moment } from './words.ts';

const currencyOut = z.enum(['live', 'test']);

const proofOut = z
  .object({
    proof: z
      .object({
        accounts: z.array(
          z.object({
            accounts: z.number().int(),
            currency: currencyOut,
            held: amountOut,
            journal: amountOut.openapi({ description: 'What these accounts must hold by the journal.' }),
            kind: z.string(),
            posted: amountOut.openapi({ description: 'What these accounts hold.' }),
          }),
        ),
        chains: z.object({ count: z.number().int(), root: z.string() }),
        day: z.iso.date(),
        iss: z.string(),
        journal_rows: z.number().int(),
        sums: z.object({ live: amountOut, test: amountOut }),
        taken_at: moment,
        v: z.literal(1),
      })
      .openapi({ description: 'All accounts of a currency sum to zero, and where every chain ended.' }),
    jws: z
      .string()
      .openapi({ description: 'RFC 7515 compact JWS, EdDSA, over exactly the members of `proof`.' }),
    chain: z
      .object({
        organization_id: z.string(),
        currency: currencyOut,
        seq: z.number().int(),
        head: z.string(),
        leaf: z.number().int(),
        path: z.array(z.string()),
      })
      .nullable()
      .openapi({
        description:
          'Where your own chain ended, and the way to the root (RFC 9162). The leaf is `organization_id|currency|seq|head`. Null where you had no receipt yet.',
      }),
  })
  .openapi('Proof');

export type ProofBody = z.infer<typeof proofOut>;

/** The daily statement that the books are right, for whoever does not want to believe it. */
export function proofRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const show = createRoute({
    method: 'get',
    path: '/v1/billing/proof',
    tags: ['billing'],
    summary: 'The signed proof of one day, by default of the newest there is',
    ...signedIn(deps, 'billing:read'),
    request: {
      query: z.strictObject({
        day: dayIn.optional(),
      }),
    },
    responses: { 200: json(proofOut, 'The proof.'), ...refusals },
  });

  return newRoutes().openapi(show, async (c) => {
    const found = await findProof(deps.database.db, c.get('caller').accountId, c.req.valid('query').day);
    if (found) return c.json(found, 200);
    throw new Problem(
      'NOT_FOUND',
      'There is no proof of that day. One is made once a day, after midnight UTC, of the day before.',
    );
  });
}
