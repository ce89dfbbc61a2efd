import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { uuidOfId } from '../base/ids.ts';
import { Problem } from '../base/problem.ts';
import { answerDispute, ruleOnDispute } from '../billing/answer-dispute.ts';
import {
  DISPUTE_DECIDERS,
  DISPUTE_REASONS,
  DISPUTE_STATUSES,
  formatDispute,
  getDispute,
  listDisputes,
  type Onlooker,
} from '../billing/disputes.ts';
import { openDispute } from '../billing/open-dispute.ts';
import { findCall } from '../calls/records.ts';
import { findPublishedPrice } from '../catalog/published-price.ts';
import { assertScope } from '../identity/authenticate.ts';
import type { Caller } from '../identity/caller.ts';
import { admitted } from './admission.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, jsonBody, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import {
  amountIn,
  amountOut,
  badCursor,
  cursorIn,
  idIn,
  isText,
  moment,
  pageOf,
  toPage,
  wholeNumber,
} from './words.ts';

const LONGEST_WORDS = 2_000;

const words = z
  .string()
  .trim()
  .min(1, 'must say something')
  .max(LONGEST_WORDS, `must be at most ${LONGEST_WORDS} characters`)
  .refine(isText, 'must be text');

export const disputeOut = z
  .object({
    dispute_id: z.string(),
    call_id: z.string(),
    agent_id: z.string(),
    currency: z.enum(['live', 'test']),
    reason: z.enum(DISPUTE_REASONS),
    description: z.string(),
    status: z.enum(DISPUTE_STATUSES),
    charged: amountOut,
    claimed: amountOut,
    refunded: amountOut.nullable().openapi({ description: 'What the buyer got back; null while open.' }),
    refunded_by_seller: amountOut.nullable(),
    refunded_fee: amountOut.nullable(),
    decided_by: z.enum(DISPUTE_DECIDERS).nullable(),
    duplicate_of: z.string().nullable().openapi({
      description: 'The earlier call that proved this one to be a duplicate. One call does so for one other.',
    }),
    explanation: z.string().nullable(),
    opened_at: moment,
    answer_by: moment.openapi({ description: 'A claim its seller has not answered by then is refunded.' }),
    decided_at: moment.nullable(),
  })
  .openapi('Dispute');

export type DisputeBody = z.infer<typeof disputeOut>;

const answerIn = z.strictObject({
  decision: z.enum(['refund', 'partial', 'reject'], 'must be "refund", "partial" or "reject"'),
  amount: amountIn.optional().openapi({ description: 'With "partial": what the buyer gets back.' }),
  explanation: words,
});

const named = z.object({ id: idIn });

/** Money back after a call was settled: its buyer claims it, and ledger, seller, silence or operator decide. */
export function disputeRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { billing } = deps;
  const { db } = deps.database;

  const open = createRoute({
    method: 'post',
    path: '/v1/billing/disputes',
    tags: ['billing'],
    summary: 'Dispute a call that was charged, within 7 days',
    description:
      '`duplicate` and `overcharge` are decided from the ledger at once. Anything else goes to the seller, whose ' +
      'silence for 72 hours refunds it, unless the call is what proved another to be a duplicate. A call is disputed once; the same request sent again answers the same dispute.',
    ...signedIn(deps, 'billing:write'),
    request: {
      query: noQuery,
      body: jsonBody(
        z.strictObject({
          call_id: idIn,
          reason: z.enum(DISPUTE_REASONS, `must be one of ${DISPUTE_REASONS.join(', ')}`),
          description: words,
          amount: amountIn
            .optional()
            .openapi({ description: 'Credits; all that was charged when left out.' }),
        }),
      ),
    },
    responses: {
      201: json(disputeOut, 'Opened.'),
      200: json(disputeOut, 'It was opened before by the same request.'),
      ...refusals,
    },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/billing/disputes',
    tags: ['billing'],
    summary: 'Disputes, newest first',
    ...admitted(deps, 'billing:read'),
    request: {
      query: z.strictObject({
        role: z.enum(['buyer', 'seller', 'operator'], 'must be buyer, seller or operator').default('buyer'),
        status: z.enum(DISPUTE_STATUSES, `must be one of ${DISPUTE_STATUSES.join(', ')}`).optional(),
        limit: wholeNumber(1, 100, 20),
        cursor: cursorIn,
      }),
    },
    responses: { 200: json(pageOf(disputeOut), 'A page of disputes.'), ...refusals },
  });
  const show = createRoute({
    method: 'get',
    path: '/v1/billing/disputes/{id}',
    tags: ['billing'],
    summary: 'One dispute, for both its sides',
    ...signedIn(deps, 'billing:read'),
    request: { params: named, query: noQuery },
    responses: { 200: json(disputeOut, 'The dispute.'), ...refusals },
  });
  const answer = createRoute({
    method: 'post',
    path: '/v1/billing/disputes/{id}/answer',
    tags: ['billing'],
    summary: 'Answer a claim, as the seller of the call',
    ...signedIn(deps, 'billing:write'),
    request: { params: named, query: noQuery, body: jsonBody(answerIn) },
    responses: { 200: json(disputeOut, 'Decided.'), ...refusals },
  });
  const decision = createRoute({
    method: 'post',
    path: '/v1/billing/disputes/{id}/decision',
    tags: ['operator'],
    summary: 'Decide an open dispute in place of its seller',
    ...signedIn(deps, 'operator'),
    request: { params: named, query: noQuery, body: jsonBody(answerIn) },
    responses: { 200: json(disputeOut, 'Decided.'), ...refusals },
  });

  return newRoutes()
    .openapi(open, async (c) => {
      const { call_id: callId, reason, description, amount: amountMicros } = c.req.valid('json');
      const caller = c.get('caller');
      await refuseFreeCall(callId, caller);
      const { organizationId, currency, accountId: balanceId } = caller;
      const { dispute, isNew } = await openDispute(
        billing,
        { organizationId, currency, balanceId },
        { callId, reason, description, amountMicros },
        (agentId, version) => findPublishedPrice(db, agentId, version),
      );
      return c.json(formatDispute(dispute), isNew ? 201 : 200);
    })
    .openapi(list, async (c) => {
      const { role, status, limit, cursor } = c.req.valid('query');
      if (cursor !== undefined && uuidOfId('dsp', cursor) === undefined) throw badCursor();
      const caller = c.get('caller');
      if (role === 'operator') assertScope(caller, 'operator');
      const onlooker = onlookerOf(caller);
      const rows = await listDisputes(db, { onlooker, side: role, status, before: cursor, limit: limit + 1 });
      return c.json(
        toPage(
          rows.map(formatDispute),
          limit,
          (row) => row,
          (row) => row.dispute_id,
        ),
        200,
      );
    })
    .openapi(show, async (c) => {
      const { id } = c.req.valid('param');
      return c.json(formatDispute(await getDispute(db, id, onlookerOf(c.get('caller')))), 200);
    })
    .openapi(answer, async (c) => {
      const { id } = c.req.valid('param');
      const decided = await answerDispute(
        billing,
        onlookerOf(c.get('caller')),
        id,
        answerOf(c.req.valid('json')),
      );
      return c.json(formatDispute(decided), 200);
    })
    .openapi(decision, async (c) => {
      const { id } = c.req.valid('param');
      const decided = await ruleOnDispute(
        billing,
        onlookerOf(c.get('caller')),
        id,
        answerOf(c.req.valid('json')),
      );
      return c.json(formatDispute(decided), 200);
    });

  /** A call that never reached a hold is in no ledger, but its buyer can see it and is told why it cannot be disputed. */
  async function refuseFreeCall(callId: string, caller: Caller): Promise<void> {
    await deps.calls.recorder.flushed();
    const call = await findCall(db, callId, caller.organizationId);
    if (call?.currency !== caller.currency) return;
    if (call.outcome === 'replayed') {
      throw new Problem(
        'CONFLICT',
        `${callId} was given an earlier answer again, free. Dispute ${call.replay_of}.`,
      );
    }
    if (call.outcome === 'refused') {
      throw new Problem('CONFLICT', `Nothing was charged for ${callId}, so there is nothing to give back.`);
    }
  }
}

function onlookerOf({ organizationId, currency, scopes }: Caller): Onlooker {
  return { organizationId, currency, isOperator: scopes.has('operator') };
}

function answerOf({ decision, amount: amountMicros, explanation }: z.infer<typeof answerIn>) {
  return { decision, amountMicros, explanation };
}
