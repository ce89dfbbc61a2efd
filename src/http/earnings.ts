import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { idOfUuid } from '../base/ids.ts';
import { formatCredits } from '../base/money.ts';
import { EARNED_STATES, listEarnedCalls, type EarnedCall } from '../billing/earned-calls.ts';
import { getEarnings } from '../billing/earnings.ts';
import { findOverReports } from '../calls/records.ts';
import { admitted } from './admission.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { answerPage, CSV_PAGES, formatIn, pageOrCsv } from './page-or-csv.ts';
import { json, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import {
  amountOut,
  assertInOrder,
  badCursor,
  cursorIn,
  moment,
  timesIn,
  toPage,
  wholeNumber,
} from './words.ts';

const earningsOut = z
  .object({
    currency: z.enum(['live', 'test']),
    available: amountOut.openapi({ description: 'May be paid out now.' }),
    pending: amountOut.openapi({ description: 'Buyers may still dispute it: 7 days after each call.' }),
    in_dispute: amountOut.openapi({ description: 'Set aside until a dispute is decided.' }),
    paid_out: amountOut.openapi({
      description: 'Left for your bank, what is on its way included and what came back not.',
    }),
    reversed: amountOut.openapi({ description: 'Went back to buyers.' }),
    lifetime: amountOut.openapi({
      description: 'All proceeds less what was reversed: available + pending + in_dispute + paid_out.',
    }),
    next_release_at: moment
      .nullable()
      .openapi({ description: 'When the oldest of what is pending becomes available.' }),
  })
  .openapi('Earnings');

const earnedCallOut = z
  .object({
    call_id: z.string(),
    agent_id: z.string(),
    settled_at: moment,
    price: amountOut,
    fee: amountOut,
    proceeds: amountOut.openapi({ description: 'Price less fee.' }),
    reversed: amountOut.openapi({ description: 'Of the proceeds, what went back to the buyer.' }),
    in_dispute: amountOut.openapi({
      description: 'Of the proceeds, what is set aside until a dispute is decided.',
    }),
    state: z.enum(EARNED_STATES).openapi({
      description:
        'Where the proceeds are, less `reversed` and `in_dispute`; `available` also when paid out since. `disputed` and `reversed`: that is all of them.',
    }),
    release_at: moment
      .nullable()
      .openapi({ description: 'When the rest becomes or became available; null where there is none.' }),
    over_reported: z.boolean().openapi({
      description: 'The agent reported more use than its most can pay for; the price was cut to that.',
    }),
  })
  .openapi('EarnedCall');

export type EarningsBody = z.infer<typeof earningsOut>;
export type EarnedCallBody = z.infer<typeof earnedCallOut>;

const CSV_COLUMNS = [
  'call_id',
  'agent_id',
  'settled_at',
  'price',
  'fee',
  'proceeds',
  'reversed',
  'in_dispute',
  'state',
  'release_at',
  'over_reported',
] as const;

/** What the key's organization made by selling. Of the key's own currency. */
export function earningsRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;

  const earnings = createRoute({
    method: 'get',
    path: '/v1/billing/earnings',
    tags: ['earnings'],
    summary: 'What this organization earned, and where it is',
    ...signedIn(deps, 'billing:read'),
    request: { query: noQuery },
    responses: { 200: json(earningsOut, 'The earnings.'), ...refusals },
  });
  const calls = createRoute({
    method: 'get',
    path: '/v1/billing/earnings/calls',
    tags: ['earnings'],
    summary: 'Every call this organization was paid for, newest first',
    description: CSV_PAGES,
    ...admitted(deps, 'billing:read'),
    request: {
      query: z.strictObject({
        ...timesIn,
        format: formatIn,
        limit: wholeNumber(1, 1_000, 100),
        cursor: cursorIn,
      }),
    },
    responses: { 200: pageOrCsv(earnedCallOut, 'A page of calls.'), ...refusals },
  });

  return newRoutes()
    .openapi(earnings, async (c) => {
      const { organizationId, currency } = c.get('caller');
      const found = await getEarnings(db, organizationId, currency);
      return c.json(
        {
          currency,
          available: formatCredits(found.availableMicros),
          pending: formatCredits(found.pendingMicros),
          in_dispute: formatCredits(found.inDisputeMicros),
          paid_out: formatCredits(found.paidOutMicros),
          reversed: formatCredits(found.reversedMicros),
          lifetime: formatCredits(found.lifetimeMicros),
          next_release_at: found.nextReleaseAt?.toISOString() ?? null,
        },
        200,
      );
    })
    .openapi(calls, async (c) => {
      const { from, to, format, limit, cursor } = c.req.valid('query');
      assertInOrder(from, to);
      if (cursor !== undefined && !/^[0-9]{1,18}$/.test(cursor)) throw badCursor();
      const { organizationId, currency } = c.get('caller');
      const rows = await listEarnedCalls(db, {
        organizationId,
        currency,
        from,
        to,
        beforeSeq: cursor === undefined ? undefined : BigInt(cursor),
        limit: limit + 1,
      });
      await deps.calls.recorder.flushed();
      const overReports = await findOverReports(
        db,
        rows.map((row) => row.callUuid),
      );
      const page = toPage(
        rows,
        limit,
        (row) => formatEarnedCall(row, overReports.has(row.callUuid)),
        (row) => String(row.seq),
      );
      const { publicUrl } = deps;
      return answerPage(c, page, {
        format,
        columns: CSV_COLUMNS,
        fileName: 'earnings.csv',
        publicUrl,
      }) as never;
    });
}

function formatEarnedCall(row: EarnedCall, isOverReported: boolean): EarnedCallBody {
  return {
    call_id: idOfUuid('call', row.callUuid),
    agent_id: row.agentId,
    settled_at: row.settledAt.toISOString(),
    price: formatCredits(row.priceMicros),
    fee: formatCredits(row.feeMicros),
    proceeds: formatCredits(row.proceedsMicros),
    reversed: formatCredits(row.reversedMicros),
    in_dispute: formatCredits(row.inDisputeMicros),
    state: row.state,
    release_at: row.releaseAt?.toISOString() ?? null,
    over_reported: isOverReported,
  };
}
