import { z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { EventType } from '../audit/events.ts';
import { TEST_TYPE } from '../webhooks/deliveries.ts';
import type { HttpEnv } from './env.ts';
import { disputeOut } from './disputes.ts';
import { usdOut } from './usd.ts';
import { amountOut, moment } from './words.ts';

const currency = z.enum(['live', 'test']);
const ofCall = { call_id: z.string(), agent_id: z.string().nullable(), currency };

const toBuyer = z.object({
  role: z.literal('buyer'),
  ...ofCall,
  key_id: z.string().nullable(),
  held: amountOut,
  charged: amountOut,
});
const toSeller = z.object({
  role: z.literal('seller'),
  ...ofCall,
  charged: amountOut,
  fee: amountOut,
  proceeds: amountOut.openapi({ description: 'Charged less fee.' }),
});
const ofPayout = { payout_id: z.string(), amount: amountOut, currency };

/** What is sent to a webhook: when, and the `data` of its body. */
export const WEBHOOK_EVENTS = {
  'call.settled': {
    summary: 'A call was paid; its buyer and its seller are told, each what concerns it',
    data: z.union([toBuyer, toSeller]),
  },
  'call.refunded': { summary: 'A call cost nothing, and its hold was given back', data: toBuyer },
  'credits.loaded': {
    summary: 'A card payment became credits',
    data: z.object({
      load_id: z.string(),
      credits: amountOut,
      amount_usd: usdOut,
      is_automatic: z.boolean(),
      balance: amountOut.openapi({ description: 'What can be spent since.' }),
      currency,
    }),
  },
  'card_refund.failed': {
    summary: 'A refund to a card did not get there, so the credits it had taken are yours again',
    data: z.object({
      load_id: z.string(),
      amount_usd: usdOut,
      state: z.enum(['failed', 'canceled']),
      credits_returned: amountOut.openapi({
        description: 'What came back; the rest had not been taken yet.',
      }),
      owed_credits: amountOut.openapi({ description: 'What is still owed for this load.' }),
      balance: amountOut.openapi({ description: 'What can be spent since.' }),
      currency,
    }),
  },
  'card_fraud.warned': {
    summary: "A card's bank reports the payment of a load as fraud; no credits were taken",
    description:
      'Sent when Stripe passes the warning on, and again when nothing can be done about it any more.',
    data: z.object({
      load_id: z.string(),
      amount_usd: usdOut,
      warning_id: z.string().openapi({ description: "Stripe's name for it." }),
      fraud_type: z.string().openapi({ description: 'In the words of the card network.' }),
      actionable: z.boolean().openapi({ description: 'Nothing was refunded or disputed yet.' }),
      meaning: z.string(),
      next_step: z.string().nullable(),
      currency,
    }),
  },
  'balance.low': {
    summary: 'The balance fell below what PUT /v1/billing/alerts names',
    data: z.object({ balance: amountOut, balance_below: amountOut, currency }),
  },
  'budget.threshold': {
    summary: '50, 80 or 100 % of a cap is used',
    data: z.object({
      of: z.enum(['organization', 'key']),
      key_id: z.string().nullable(),
      window: z.enum(['day', 'month', 'total']),
      starts_on: z.string().nullable().openapi({ description: 'The UTC day the window began.' }),
      percent: z.number().int(),
      cap: amountOut,
      used: amountOut,
      currency,
    }),
  },
  'dispute.opened': {
    summary: 'A claim waits for its seller; both sides are told',
    data: disputeOut,
  },
  'dispute.resolved': {
    summary: 'A dispute was decided, for good; both sides are told',
    description: 'Of a dispute that the ledger decides at once, this is all that is sent.',
    data: disputeOut,
  },
  'payout.paid': { summary: 'A payout is with your Stripe account', data: z.object(ofPayout) },
  'payout.failed': {
    summary: 'A payout, or a part of it, came back and is available again',
    data: z.object({ ...ofPayout, returned: amountOut, reason: z.string() }),
  },
  'payout_account.changed': {
    summary: 'Stripe pays your account, or does not any more, or for another reason',
    description: 'While it is not `ready`, payouts are paused and your credits stay available.',
    data: z.object({
      ready: z.boolean(),
      status: z.enum(['unconnected', 'ready', 'onboarding', 'pending', 'restricted', 'rejected', 'gone']),
      reason: z.string().nullable(),
      meaning: z.string(),
      next_step: z.string().nullable(),
      requirements: z.array(z.string()),
      currency,
    }),
  },
  [TEST_TYPE]: {
    summary: 'What POST /v1/webhooks/{id}/test sends',
    data: z.object({ webhook_id: z.string(), currency }),
  },
} satisfies Record<EventType | typeof TEST_TYPE, Described>;

type Described = { summary: string; description?: string; data: z.ZodType };

const headers = z.object({
  'webhook-id': z.string().openapi({ description: 'The same for every attempt: remember it.' }),
  'webhook-timestamp': z.string().openapi({ description: 'When it was sent, in seconds since 1970.' }),
  'webhook-signature': z.string().openapi({ description: 'As Standard Webhooks says.' }),
});

/** What we send, in the description of the API. */
export function describeWebhooks(app: OpenAPIHono<HttpEnv>): void {
  for (const [type, { data, ...words }] of Object.entries<Described>(WEBHOOK_EVENTS)) {
    const body = z.object({
      type: z.literal(type),
      timestamp: moment.openapi({ description: 'When it happened.' }),
      data,
    });
    app.openAPIRegistry.registerWebhook({
      method: 'post',
      path: type,
      tags: ['webhooks'],
      ...words,
      request: { headers, body: { content: { 'application/json': { schema: body } } } },
      responses: { '2XX': { description: 'Accepted. After anything else it is sent again.' } },
    });
  }
}
