import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { uuidOfId } from '../base/ids.ts';
import { formatCredits } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { BY_CALLER, BY_SESSION } from '../calls/usage.ts';
import { listOpenHolds } from '../ledger/open-holds.ts';
import { BY_AGENT, BY_DAY, BY_KEY, listUsage, type Grouping, type Usage } from '../ledger/usage.ts';
import { admitted } from './admission.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, newRoutes, refusals, signedIn } from './route.ts';
import {
  amountOut,
  assertInOrder,
  badCursor,
  cursorIn,
  moment,
  pageOf,
  timesIn,
  toPage,
  wholeNumber,
} from './words.ts';

const GROUPINGS = {
  key: BY_KEY,
  agent: BY_AGENT,
  day: BY_DAY,
  session: BY_SESSION,
  caller: BY_CALLER,
} satisfies Record<string, Grouping>;
const GROUP_NAMES = ['key', 'agent', 'day', 'session', 'caller'] as const;

const usageOut = z.object({
  calls: z.number().int().openapi({ description: 'Calls that had credits on hold, and ended.' }),
  refunded_calls: z.number().int().openapi({ description: 'Those of them that cost nothing.' }),
  charged: amountOut,
  fee: amountOut.openapi({ description: "The platform's part of what was charged." }),
});

const usagePage = pageOf(
  usageOut.extend({
    group: z.string().nullable().openapi({ description: 'Null: the calls that name none.' }),
  }),
)
  .extend({
    group_by: z.enum(GROUP_NAMES),
    currency: z.enum(['live', 'test']),
    from: moment,
    to: moment.nullable(),
    total: usageOut.openapi({ description: 'Of every group, on this page or not.' }),
  })
  .openapi('Usage');

const holdOut = z
  .object({
    call_id: z.string(),
    agent_id: z.string(),
    key_id: z.string(),
    credits: amountOut,
    since: moment,
    expires_at: moment.openapi({ description: 'What is not settled by then is given back.' }),
  })
  .openapi('Hold');

export type UsageBody = z.infer<typeof usagePage>;
export type HoldBody = z.infer<typeof holdOut>;

/** What was spent on what, and what is set aside right now. Of the key's own currency. */
export function billingUsageRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;

  const usage = createRoute({
    method: 'get',
    path: '/v1/billing/usage',
    tags: ['billing'],
    summary: 'What calls cost, by key, agent, day, session or caller',
    description:
      'From the journal: the total is exactly what calls were charged in that time. Days are UTC; without `from` it is this UTC month. Money that came back after a call was settled is in the transactions, not here.',
    ...admitted(deps, 'billing:read'),
    request: {
      query: z.strictObject({
        group_by: z.enum(GROUP_NAMES).default('agent'),
        ...timesIn,
        limit: wholeNumber(1, 1_000, 100),
        cursor: cursorIn,
      }),
    },
    responses: { 200: json(usagePage, 'A page of groups, in alphabetical order.'), ...refusals },
  });
  const holds = createRoute({
    method: 'get',
    path: '/v1/billing/holds',
    tags: ['billing'],
    summary: 'Credits set aside for calls that are under way, newest first',
    ...signedIn(deps, 'billing:read'),
    request: { query: z.strictObject({ limit: wholeNumber(1, 1_000, 100), cursor: cursorIn }) },
    responses: { 200: json(pageOf(holdOut), 'A page of open holds.'), ...refusals },
  });

  return newRoutes()
    .openapi(usage, async (c) => {
      const { group_by: groupBy, from: asked, to, limit, cursor } = c.req.valid('query');
      const { accountId, currency } = c.get('caller');
      const from = asked ?? monthOf(deps.clock.now(), to);
      assertInOrder(from, to);
      // Records are written behind the answer; only they know the session and the caller.
      await deps.calls.recorder.flushed();
      const { groups, total } = await listUsage(db, GROUPINGS[groupBy], {
        accountId,
        from,
        to,
        after: cursor,
        limit: limit + 1,
      });
      const page = toPage(
        groups,
        limit,
        (row) => ({ group: row.group ?? null, ...formatUsage(row) }),
        // The group without a name is the last of all, so no page continues after it.
        (row) => row.group ?? '',
      );
      return c.json(
        {
          group_by: groupBy,
          currency,
          from: from.toISOString(),
          to: to?.toISOString() ?? null,
          total: formatUsage(total),
          ...page,
        },
        200,
      );
    })
    .openapi(holds, async (c) => {
      const { limit, cursor } = c.req.valid('query');
      if (cursor !== undefined && uuidOfId('call', cursor) === undefined) throw badCursor();
      const { accountId } = c.get('caller');
      const rows = await listOpenHolds(db, { accountId, before: cursor, limit: limit + 1 });
      return c.json(
        toPage(
          rows,
          limit,
          (row) => ({
            call_id: row.callId,
            agent_id: row.agentId,
            key_id: row.keyId,
            credits: formatCredits(row.amountMicros),
            since: row.since.toISOString(),
            expires_at: row.expiresAt.toISOString(),
          }),
          (row) => row.callId,
        ),
        200,
      );
    });
}

function formatUsage(usage: Usage): z.infer<typeof usageOut> {
  return {
    calls: Number(usage.calls),
    refunded_calls: Number(usage.refundedCalls),
    charged: formatCredits(usage.chargedMicros),
    fee: formatCredits(usage.feeMicros),
  };
}

/** The beginning of this UTC month. Which other one is meant by an end before it nobody can know. */
function monthOf(nowMs: number, to: Date | undefined): Date {
  const begin = new Date(`${new Date(nowMs).toISOString().slice(0, 7)}-01T00:00:00Z`);
  if (to === undefined || begin <= to) return begin;
  throw new Problem(
    'INVALID_INPUT',
    'Without `from` it is this UTC month, and `to` is before that. Give `from` as well.',
    {
      faults: [{ path: '/from', message: 'is required where `to` is before this month' }],
    },
  );
}
