import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { idOfUuid, uuidOfId } from '../base/ids.ts';
import { formatCredits } from '../base/money.ts';
import { getPayout, listPayouts, noSuchPayout, requestPayout, transferStateOf } from '../billing/payouts.ts';
import type { Payout } from '../billing/send-payout.ts';
import { IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_WORDS } from '../calls/call.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import { askStripeFor, withStripe } from './stripe-asked.ts';
import {
  amountIn,
  amountOut,
  badCursor,
  cursorIn,
  idIn,
  moment,
  pageOf,
  toPage,
  wholeNumber,
} from './words.ts';

const KEY_WORDS = `${IDEMPOTENCY_KEY_WORDS}, and new for each payout you want`;

const idempotencyKey = z
  .string({ error: (issue) => (issue.input === undefined ? `is required: ${KEY_WORDS}` : KEY_WORDS) })
  .regex(IDEMPOTENCY_KEY, KEY_WORDS)
  .openapi({ description: 'The same key again answers the same payout: it is paid once.' });

const payoutOut = z
  .object({
    payout_id: z.string(),
    currency: z.enum(['live', 'test']),
    amount: amountOut.openapi({ description: 'Whole credits, which are whole cents.' }),
    returned: amountOut.openapi({ description: 'Came back and is available again.' }),
    status: z.enum(['requested', 'paid', 'failed']).openapi({
      description:
        '`requested`: on its way to Stripe. `paid`: with your Stripe account, which pays your bank.',
    }),
    failure: z.string().nullable(),
    meaning: z.string(),
    next_step: z.string().nullable().openapi({ description: 'What you can do; null: nothing is needed.' }),
    transfer_id: z.string().nullable().openapi({ description: "Stripe's name for it." }),
    created_at: moment,
    ended_at: moment.nullable(),
  })
  .openapi('Payout');

export type PayoutBody = z.infer<typeof payoutOut>;

/** Earnings on their way to a bank. Of the key's own currency. */
export function payoutRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;

  const create = createRoute({
    method: 'post',
    path: '/v1/billing/payouts',
    tags: ['earnings'],
    summary: 'Pay out what is available, or a part of it',
    description:
      'Needs an account that is ready, see `/v1/billing/payouts/account`. A payout that Stripe refuses is ' +
      '`failed` and its credits are available again; one that Stripe did not answer stays `requested` and is finished without you.',
    ...withStripe(deps, 'billing:write'),
    request: {
      query: noQuery,
      headers: z.object({ 'idempotency-key': idempotencyKey }),
      body: {
        required: false,
        content: {
          'application/json': {
            schema: z.strictObject({
              amount: amountIn
                .refine((micros) => micros > 0n, 'must be more than 0')
                .optional()
                .openapi({ description: 'Credits; a fraction of a credit stays. Left out: all there is.' }),
            }),
          },
        },
      },
    },
    responses: { 201: json(payoutOut, 'The payout as it stands.'), ...refusals },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/billing/payouts',
    tags: ['earnings'],
    summary: 'Payouts, newest first',
    ...signedIn(deps, 'billing:read'),
    request: { query: z.strictObject({ limit: wholeNumber(1, 100, 20), cursor: cursorIn }) },
    responses: { 200: json(pageOf(payoutOut), 'A page of payouts.'), ...refusals },
  });
  const show = createRoute({
    method: 'get',
    path: '/v1/billing/payouts/{id}',
    tags: ['earnings'],
    summary: 'One payout',
    ...signedIn(deps, 'billing:read'),
    request: {
      params: z.object({ id: idIn.openapi({ example: 'pay_0199f2…' }) }),
      query: noQuery,
    },
    responses: { 200: json(payoutOut, 'The payout.'), ...refusals },
  });

  return newRoutes()
    .openapi(create, async (c) => {
      const caller = c.get('caller');
      const wish = {
        organizationId: caller.organizationId,
        currency: caller.currency,
        askedMicros: c.req.valid('json')?.amount,
        idempotencyKey: c.req.valid('header')['idempotency-key'],
      };
      const payout = await askStripeFor(deps, caller, () => requestPayout(deps.billing, wish));
      return c.json(formatPayout(payout), 201);
    })
    .openapi(list, async (c) => {
      const { limit, cursor } = c.req.valid('query');
      const beforeUuid = cursor === undefined ? undefined : uuidOfId('pay', cursor);
      if (cursor !== undefined && beforeUuid === undefined) throw badCursor();
      const rows = await listPayouts(db, c.get('caller'), { beforeUuid, limit: limit + 1 });
      return c.json(
        toPage(rows, limit, formatPayout, (row) => idOfUuid('pay', row.id)),
        200,
      );
    })
    .openapi(show, async (c) => {
      const uuid = uuidOfId('pay', c.req.valid('param').id);
      if (uuid === undefined) throw noSuchPayout();
      return c.json(formatPayout(await getPayout(db, c.get('caller'), uuid)), 200);
    });
}

function formatPayout(row: Payout): PayoutBody {
  const { shown: meaning, next: next_step } = transferStateOf(row);
  return {
    payout_id: idOfUuid('pay', row.id),
    currency: row.currency,
    amount: formatCredits(row.amountMicros),
    returned: formatCredits(row.returnedMicros),
    status: row.status,
    failure: row.failure,
    meaning,
    next_step,
    transfer_id: row.transferId,
    created_at: row.createdAt.toISOString(),
    ended_at: row.endedAt?.toISOString() ?? null,
  };
}
