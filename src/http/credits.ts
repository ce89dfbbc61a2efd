import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { newId, uuidOfId } from '../base/ids.ts';
import { formatCredits } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { hasCode } from '../db/error-code.ts';
import { findOrganization } from '../identity/organizations.ts';
import { getBalance, grantCredits, openAccount } from '../ledger/accounts.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, jsonBody, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import { amountIn, amountOut, organizationIdIn } from './words.ts';

const granted = z.object({ grant_id: z.string(), balance: amountOut });

export type GrantedBody = z.infer<typeof granted>;

/** Credits out of nothing, for the operator. */
export function creditRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;

  const grant = createRoute({
    method: 'post',
    path: '/v1/credits/grants',
    tags: ['operator'],
    summary: 'Give credits to an organization',
    ...signedIn(deps, 'operator'),
    request: {
      query: noQuery,
      body: jsonBody(
        z.strictObject({
          organization_id: organizationIdIn,
          amount: amountIn.refine((micros) => micros > 0n, 'must be more than 0'),
          test: z.boolean().optional(),
          grant_id: z
            .string()
            .refine((id) => uuidOfId('txn', id) !== undefined, 'must be txn_ and 32 hexadecimal digits')
            .optional()
            .openapi({ description: 'The same grant sent twice with the same id happens once.' }),
        }),
      ),
    },
    responses: { 201: json(granted, 'Granted.'), ...refusals },
  });

  return newRoutes().openapi(grant, async (c) => {
    const { organization_id: organizationId, amount, test, grant_id: asked } = c.req.valid('json');
    const id = asked ?? newId('txn');
    const currency = test === true ? 'test' : 'live';
    try {
      const balance = await db.transaction(async (tx) => {
        if (!(await findOrganization(tx, organizationId))) {
          throw new Problem('NOT_FOUND', `There is no organization ${organizationId}.`);
        }
        await grantCredits(tx, { id, organizationId, currency, amountMicros: amount });
        return getBalance(tx, await openAccount(tx, organizationId, currency, 'balance'));
      });
      return c.json({ grant_id: id, balance: formatCredits(balance.availableMicros) }, 201);
    } catch (error) {
      if (isAnotherMovement(error)) {
        throw new Problem('CONFLICT', `The grant id ${id} was used for another amount or organization.`);
      }
      throw error;
    }
  });
}

/** `ledger_transfer` says so when the id stands for a movement that was not this one. */
function isAnotherMovement(error: unknown): boolean {
  return hasCode(error, /^23505$/);
}
