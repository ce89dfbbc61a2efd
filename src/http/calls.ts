import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { uuidOfId } from '../base/ids.ts';
import { Problem } from '../base/problem.ts';
import { DISPUTE_STATUSES, findDisputeOfCall, formatDispute } from '../billing/disputes.ts';
import { formatAnswer } from '../calls/call.ts';
import { handOver, type CallFound } from '../calls/hand-over.ts';
import { listCalls } from '../calls/records.ts';
import type { Caller } from '../identity/caller.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { receiptOut } from './call-answer.ts';
import { json, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import {
  agentIdIn,
  amountOut,
  badCursor,
  cursorIn,
  idIn,
  moment,
  pageOf,
  toPage,
  wholeNumber,
} from './words.ts';
import { readReceipt } from '../audit/receipts.ts';

const OUTCOMES = ['settled', 'refunded', 'refused', 'replayed'] as const;

const callOut = z
  .object({
    call_id: z.string(),
    agent_id: z.string(),
    agent_version: z.string().nullable(),
    key_id: z.string(),
    currency: z.enum(['live', 'test']),
    wire: z.string(),
    outcome: z.enum(OUTCOMES),
    replay_of: z.string().nullable(),
    code: z.string().nullable(),
    held: amountOut,
    charged: amountOut,
    fee: amountOut,
    over_reported: z.boolean().openapi({
      description: 'The agent reported more use than its most can pay for; the charge was cut to that.',
    }),
    delivered: z.boolean(),
    session: z.string().nullable(),
    caller: z.string().nullable(),
    request_id: z.string(),
    latency_ms: z.number().int(),
    upstream_ms: z.number().int().nullable(),
    started_at: moment,
    ended_at: moment,
  })
  .openapi('Call');

const callWithResult = callOut
  .extend({
    result: z
      .object({
        output: z.unknown(),
        content: z.array(z.unknown()).optional(),
        _meta: z.record(z.string(), z.unknown()).optional(),
        receipt: receiptOut,
      })
      .nullable()
      .openapi({
        description:
          'The answer, where it is kept: for 24 hours when its buyer had gone, or used a key of its own.',
      }),
    dispute: z
      .object({
        dispute_id: z.string(),
        status: z.enum(DISPUTE_STATUSES),
        claimed: amountOut,
        refunded: amountOut.nullable(),
      })
      .nullable()
      .openapi({ description: 'What its buyer claims or has got back. The receipt stays as it was.' }),
  })
  .openapi('CallWithResult');

export type CallBody = z.infer<typeof callOut>;
export type CallWithResultBody = z.infer<typeof callWithResult>;

/** What became of calls. */
export function callRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;
  const { recorder } = deps.calls;

  const show = createRoute({
    method: 'get',
    path: '/v1/calls/{id}',
    tags: ['calls'],
    summary: 'One call, and its answer if it is kept',
    ...signedIn(deps, 'calls:read'),
    request: { params: z.object({ id: idIn }), query: noQuery },
    responses: { 200: json(callWithResult, 'The call.'), ...refusals },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/calls',
    tags: ['calls'],
    summary: "Your organization's calls, newest first; the operator's are everyone's",
    ...signedIn(deps, 'calls:read'),
    request: {
      query: z.strictObject({
        agent_id: agentIdIn.optional(),
        outcome: z.enum(OUTCOMES).optional(),
        limit: wholeNumber(1, 100, 20),
        cursor: cursorIn,
      }),
    },
    responses: { 200: json(pageOf(callOut), 'A page of calls.'), ...refusals },
  });

  return newRoutes()
    .openapi(show, async (c) => {
      const { id } = c.req.valid('param');
      const found = await handOver(id, c.get('caller'), deps.calls);
      if (!found) throw new Problem('NOT_FOUND', 'There is no such call here.');
      return c.json({ ...found.call, result: resultOf(found), dispute: await disputeOf(id) }, 200);
    })
    .openapi(list, async (c) => {
      const { agent_id: agentId, outcome, limit, cursor } = c.req.valid('query');
      if (cursor !== undefined && uuidOfId('call', cursor) === undefined) throw badCursor();
      await recorder.flushed();
      const rows = await listCalls(db, {
        organizationId: organizationSeen(c.get('caller')),
        agentId,
        outcome,
        before: cursor,
        limit: limit + 1,
      });
      return c.json(
        toPage(
          rows,
          limit,
          (row) => row,
          (row) => row.call_id,
        ),
        200,
      );
    });

  async function disputeOf(callId: string): Promise<CallWithResultBody['dispute']> {
    const uuid = uuidOfId('call', callId);
    const found = uuid === undefined ? undefined : await findDisputeOfCall(db, uuid);
    if (!found) return null;
    const { dispute_id, status, claimed, refunded } = formatDispute(found);
    return { dispute_id, status, claimed, refunded };
  }
}

function resultOf({ handedOver }: CallFound): CallWithResultBody['result'] {
  return handedOver ? { ...formatAnswer(handedOver.answer), receipt: readReceipt(handedOver.receipt) } : null;
}

function organizationSeen(caller: Caller): string | undefined {
  return caller.scopes.has('operator') ? undefined : caller.organizationId;
}
