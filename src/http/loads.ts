import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { uuidOfId } from '../base/ids.ts';
import { formatCredits } from '../base/money.ts';
import { listAffectedCalls } from '../billing/affected-calls.ts';
import {
  disputeStateOf,
  listCardPayments,
  paymentStateOf,
  refundStateOf,
  warningStateOf,
  type CardPayment,
} from '../billing/card-payments.ts';
import { startTopUp } from '../billing/start-top-up.ts';
import type { StripeState } from '../billing/stripe-states.ts';
import {
  cardRefundCents,
  getOwnTopUp,
  listTopUps,
  lotMicros,
  topUpId,
  type TopUp,
} from '../billing/top-ups.ts';
import { IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_WORDS } from '../calls/call.ts';
import { admitted } from './admission.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, jsonBody, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import { askStripeFor, withStripe } from './stripe-asked.ts';
import { usdIn, usdOf, usdOut } from './usd.ts';
import { amountOut, badCursor, cursorIn, idIn, moment, pageOf, toPage, wholeNumber } from './words.ts';

const LEAST_CENTS = 500n;
const MOST_CENTS = 1_000_000n;
/** Of the calls a payment that was taken back had paid for. */
const MOST_CALLS = 1_000;
const STATUSES = ['open', 'paid', 'failed', 'abandoned'] as const;

const wish = z.strictObject({
  amount_usd: usdIn(LEAST_CENTS, MOST_CENTS),
  save_card: z
    .boolean()
    .optional()
    .openapi({ description: 'Keep the card for automatic top-ups; the page at Stripe says so.' }),
});

const standing = {
  stripe_status: z.string().nullable().openapi({
    description:
      "Stripe's own word, also one that this gateway does not know yet. Null where it was not kept.",
  }),
  meaning: z.string(),
  next_step: z.string().nullable().openapi({ description: 'What you can do; null: nothing is needed.' }),
};

const cardRefund = z.object({
  refund_id: z.string(),
  amount_usd: usdOut,
  state: z.enum(['pending', 'succeeded', 'canceled', 'failed']),
  ...standing,
});

const cardDispute = z.object({
  dispute_id: z.string(),
  amount_usd: usdOut,
  state: z
    .enum(['inquiry', 'open', 'won', 'lost'])
    .openapi({ description: '`inquiry`: the bank asks; no money was taken and no credits are frozen.' }),
  ...standing,
});

const fraudWarning = z.object({
  warning_id: z.string(),
  fraud_type: z.string().openapi({ description: 'In the words of the card network.' }),
  actionable: z.boolean().openapi({ description: 'Nothing was refunded or disputed yet.' }),
  meaning: z.string(),
  next_step: z.string().nullable(),
  warned_at: moment,
});

const loadOut = z
  .object({
    load_id: z.string().openapi({ example: 'top_0199f2…' }),
    amount_usd: usdOut,
    credits: amountOut,
    status: z.enum(STATUSES).openapi({
      description: 'Credits are there when it is `paid`, which only Stripe can say.',
    }),
    payment_url: z
      .string()
      .nullable()
      .openapi({ description: 'Where a person pays; while the load is open.' }),
    expires_at: moment,
    is_automatic: z.boolean(),
    created_at: moment,
    paid_at: moment.nullable(),
    failure: z.string().nullable(),
    payment: z.object(standing).nullable().openapi({
      description: 'How far Stripe says the payment is; null before there is one.',
    }),
    receipt_url: z.string().nullable(),
    invoice_url: z.string().nullable(),
    refunded_usd: usdOut.openapi({
      description: 'What went back to the card, or is on its way there. Refunds that failed are not in it.',
    }),
    failed_refund_usd: usdOut.openapi({
      description:
        'What was refunded and never reached the card: the refund failed, or was canceled. The credits it had taken were given back.',
    }),
    card_refunds: z.array(cardRefund),
    card_dispute: z.enum(['none', 'open', 'won', 'lost']).openapi({
      description: 'Of all its card disputes; inquiries are none.',
    }),
    card_disputes: z.array(cardDispute),
    fraud_warnings: z.array(fraudWarning).openapi({
      description: "What the card's bank reported as fraud. No credits are taken for that.",
    }),
    frozen_credits: amountOut.openapi({ description: 'Set aside while the payment is contested.' }),
    reversed_credits: amountOut.openapi({
      description: 'Taken back, as the payment was. Less again when a refund of it fails.',
    }),
    owed_credits: amountOut.openapi({
      description: 'To be taken back and already spent: taken from the next credits loaded.',
    }),
  })
  .openapi('Load');

const affectedCall = z.object({
  call_id: z.string(),
  credits: amountOut.openapi({ description: 'How much of the call this load paid for.' }),
});

const loadDetail = loadOut
  .extend({
    calls_affected: z.array(affectedCall).openapi({
      description: `Where the payment was contested or taken back: the calls it had paid for, at most ${MOST_CALLS}.`,
    }),
    calls_affected_count: z.number().int(),
  })
  .openapi('LoadDetail');

const invoiceOut = z
  .object({
    load_id: z.string(),
    amount_usd: usdOut,
    paid_at: moment.nullable(),
    invoice_url: z.string().nullable(),
    receipt_url: z.string().nullable(),
  })
  .openapi('Invoice');

export type LoadBody = z.infer<typeof loadOut>;
export type LoadDetailBody = z.infer<typeof loadDetail>;
export type InvoiceBody = z.infer<typeof invoiceOut>;

const pageQuery = { limit: wholeNumber(1, 100, 20), cursor: cursorIn };

/** Credits bought with a card at Stripe. */
export function loadRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;

  const load = createRoute({
    method: 'post',
    path: '/v1/billing/load',
    tags: ['billing'],
    summary: 'Buy credits: answers the address of a payment page',
    description:
      'One dollar buys 100 credits. They are there once Stripe has told us that the payment went through, usually within seconds. With an Idempotency-Key, asking again answers the same load.',
    ...withStripe(deps, 'billing:write'),
    request: {
      query: noQuery,
      headers: z.object({
        'idempotency-key': z.string().regex(IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_WORDS).optional(),
      }),
      body: jsonBody(wish),
    },
    responses: { 201: json(loadOut, 'The load, and where it is paid for.'), ...refusals },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/billing/loads',
    tags: ['billing'],
    summary: 'Every load, newest first',
    ...signedIn(deps, 'billing:read'),
    request: { query: z.strictObject({ ...pageQuery, status: z.enum(STATUSES).optional() }) },
    responses: { 200: json(pageOf(loadOut), 'A page of loads.'), ...refusals },
  });
  const show = createRoute({
    method: 'get',
    path: '/v1/billing/loads/{id}',
    tags: ['billing'],
    summary: 'One load: whether it is paid, and what became of it since',
    ...admitted(deps, 'billing:read'),
    request: { params: z.object({ id: idIn }), query: noQuery },
    responses: { 200: json(loadDetail, 'The load.'), ...refusals },
  });
  const invoices = createRoute({
    method: 'get',
    path: '/v1/billing/invoices',
    tags: ['billing'],
    summary: "Stripe's invoices and receipts of what was paid, newest first",
    ...signedIn(deps, 'billing:read'),
    request: { query: z.strictObject(pageQuery) },
    responses: { 200: json(pageOf(invoiceOut), 'A page of them.'), ...refusals },
  });

  return newRoutes()
    .openapi(load, async (c) => {
      const caller = c.get('caller');
      const { organizationId, currency, accountId, keyId } = caller;
      const { amount_usd: amountCents, save_card: savesCard = false } = c.req.valid('json');
      const idempotencyKey = c.req.valid('header')['idempotency-key'];
      const owner = { organizationId, currency, accountId, keyId };
      const wish = { ...owner, amountCents, savesCard, idempotencyKey };
      const topUp = await askStripeFor(deps, caller, () => startTopUp(deps.billing, wish));
      return c.json(formatLoad(topUp, (await listCardPayments(db, [topUp.id])).get(topUp.id)), 201);
    })
    .openapi(list, async (c) => {
      const { status, limit, cursor } = c.req.valid('query');
      const rows = await listTopUps(db, c.get('caller'), {
        status,
        before: beforeOf(cursor),
        limit: limit + 1,
      });
      const told = await listCardPayments(
        db,
        rows.map(({ id }) => id),
      );
      return c.json(
        toPage(rows, limit, (row) => formatLoad(row, told.get(row.id)), topUpId),
        200,
      );
    })
    .openapi(show, async (c) => {
      const topUp = await getOwnTopUp(db, c.get('caller'), c.req.valid('param').id);
      const isContested = topUp.cardDispute !== 'none' || topUp.refundedCents > 0n;
      const calls = isContested ? await listAffectedCalls(db, topUp) : [];
      const told = await listCardPayments(db, [topUp.id]);
      const named = calls.slice(0, MOST_CALLS);
      return c.json(
        {
          ...formatLoad(topUp, told.get(topUp.id)),
          calls_affected: named.map(({ callId, micros }) => ({
            call_id: callId,
            credits: formatCredits(micros),
          })),
          calls_affected_count: calls.length,
        },
        200,
      );
    })
    .openapi(invoices, async (c) => {
      const { limit, cursor } = c.req.valid('query');
      const page = { status: 'paid' as const, before: beforeOf(cursor), limit: limit + 1 };
      const rows = await listTopUps(db, c.get('caller'), page);
      return c.json(toPage(rows, limit, formatInvoice, topUpId), 200);
    });
}

function beforeOf(cursor: string | undefined): string | undefined {
  if (cursor === undefined) return undefined;
  const uuid = uuidOfId('top', cursor);
  if (uuid === undefined) throw badCursor();
  return uuid;
}

function formatLoad(topUp: TopUp, told: CardPayment | undefined): LoadBody {
  return {
    load_id: topUpId(topUp),
    amount_usd: usdOf(topUp.amountCents),
    credits: formatCredits(lotMicros(topUp)),
    status: topUp.status,
    payment_url: topUp.status === 'open' ? topUp.paymentUrl : null,
    expires_at: topUp.expiresAt.toISOString(),
    is_automatic: topUp.isAutomatic,
    created_at: topUp.createdAt.toISOString(),
    paid_at: topUp.paidAt?.toISOString() ?? null,
    failure: topUp.failure,
    payment:
      topUp.paymentState === null
        ? null
        : formatState(topUp.paymentState, paymentStateOf(topUp.paymentState)),
    receipt_url: topUp.receiptUrl,
    invoice_url: topUp.invoiceUrl,
    refunded_usd: usdOf(cardRefundCents(topUp)),
    failed_refund_usd: usdOf(topUp.failedRefundCents),
    card_refunds: (told?.refunds ?? []).map((row) => ({
      refund_id: row.refundId,
      amount_usd: usdOf(row.cents),
      state: row.state,
      ...formatState(row.stripeStatus, refundStateOf(row)),
    })),
    card_dispute: topUp.cardDispute,
    card_disputes: (told?.disputes ?? []).map((row) => ({
      dispute_id: row.disputeId,
      amount_usd: usdOf(row.cents),
      state: row.state,
      ...formatState(row.stripeStatus, disputeStateOf(row)),
    })),
    fraud_warnings: (told?.warnings ?? []).map((row) => {
      const { shown: meaning, next: next_step } = warningStateOf(row);
      return {
        warning_id: row.warningId,
        fraud_type: row.fraudType,
        actionable: row.isActionable,
        meaning,
        next_step,
        warned_at: row.warnedAt.toISOString(),
      };
    }),
    frozen_credits: formatCredits(topUp.frozenMicros),
    reversed_credits: formatCredits(topUp.reversedMicros),
    owed_credits: formatCredits(topUp.owedMicros),
  };
}

function formatState(stripeStatus: string | null, { shown, next }: StripeState<string>) {
  return { stripe_status: stripeStatus, meaning: shown, next_step: next };
}

function formatInvoice(topUp: TopUp): InvoiceBody {
  return {
    load_id: topUpId(topUp),
    amount_usd: usdOf(topUp.amountCents),
    paid_at: topUp.paidAt?.toISOString() ?? null,
    invoice_url: topUp.invoiceUrl,
    receipt_url: topUp.receiptUrl,
  };
}
