import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { formatCredits, formatUsd } from '../base/money.ts';
import { listBalances, type OwnBalance } from '../billing/balances.ts';
import { BALANCE_KINDS, listTransactions } from '../ledger/transactions.ts';
import { admitted } from './admission.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { answerPage, CSV_PAGES, formatIn, pageOrCsv } from './page-or-csv.ts';
import { newRoutes, noQuery, json, refusals, signedIn } from './route.ts';
import { formatTransaction, transactionOut } from './transaction.ts';
import {
  agentIdIn,
  amountOut,
  assertInOrder,
  badCursor,
  cursorIn,
  idIn,
  listIn,
  moment,
  timesIn,
  toPage,
  wholeNumber,
} from './words.ts';

const amounts = z.object({
  credits: amountOut.openapi({ description: 'Can be spent now.' }),
  escrow_credits: amountOut.openapi({ description: 'Set aside for calls under way.' }),
  pending_credits: amountOut.openapi({ description: 'Bought, and not paid yet.' }),
  frozen_credits: amountOut.openapi({ description: 'Kept back while a card payment is contested.' }),
});

const balanceOut = amounts
  .extend({
    usd_equivalent: z.string(),
    currency: z.enum(['live', 'test']),
    by_currency: z
      .object({ live: amounts, test: amounts })
      .openapi({ description: "The organization's two currencies; they are never added up." }),
    updated_at: moment,
  })
  .openapi('Balance');

export type BalanceBody = z.infer<typeof balanceOut>;
export type { TransactionBody } from './transaction.ts';

const CSV_COLUMNS = [
  'id',
  'type',
  'credits',
  'agent_id',
  'key_id',
  'description',
  'created_at',
  'subject',
] as const;

/** What the key can spend, and what happened to it. Of the key's own currency. */
export function billingRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;

  const balance = createRoute({
    method: 'get',
    path: '/v1/billing/balance',
    tags: ['billing'],
    summary: 'What this key can spend now, and what is on hold',
    ...signedIn(deps, 'billing:read'),
    request: { query: noQuery },
    responses: { 200: json(balanceOut, 'The balance.'), ...refusals },
  });
  const transactions = createRoute({
    method: 'get',
    path: '/v1/billing/transactions',
    tags: ['billing'],
    summary: 'Every movement of that balance, newest first',
    description: CSV_PAGES,
    ...admitted(deps, 'billing:read'),
    request: {
      query: z.strictObject({
        type: listIn(BALANCE_KINDS),
        ...timesIn,
        agent: agentIdIn.optional(),
        key: idIn.optional().openapi({ example: 'key_0199f2…' }),
        format: formatIn,
        limit: wholeNumber(1, 1_000, 100),
        cursor: cursorIn,
      }),
    },
    responses: { 200: pageOrCsv(transactionOut, 'A page of movements.'), ...refusals },
  });

  return newRoutes()
    .openapi(balance, async (c) => {
      const { organizationId, currency } = c.get('caller');
      const { live, test } = await listBalances(db, organizationId);
      const own = currency === 'live' ? live : test;
      return c.json(
        {
          ...formatAmounts(own),
          usd_equivalent: formatUsd(own.availableMicros),
          currency,
          by_currency: { live: formatAmounts(live), test: formatAmounts(test) },
          updated_at: new Date(deps.clock.now()).toISOString(),
        },
        200,
      );
    })
    .openapi(transactions, async (c) => {
      const { type, from, to, agent, key, format, limit, cursor } = c.req.valid('query');
      assertInOrder(from, to);
      if (cursor !== undefined && !/^[0-9]{1,18}$/.test(cursor)) throw badCursor();
      const rows = await listTransactions(db, {
        accountId: c.get('caller').accountId,
        kinds: type,
        from,
        to,
        agentId: agent,
        keyId: key,
        beforeSeq: cursor === undefined ? undefined : BigInt(cursor),
        limit: limit + 1,
      });
      const page = toPage(rows, limit, formatTransaction, (row) => String(row.seq));
      const { publicUrl } = deps;
      return answerPage(c, page, {
        format,
        columns: CSV_COLUMNS,
        fileName: 'transactions.csv',
        publicUrl,
      }) as never;
    });
}

function formatAmounts(own: OwnBalance): z.infer<typeof amounts> {
  return {
    credits: formatCredits(own.availableMicros),
    escrow_credits: formatCredits(own.heldMicros),
    pending_credits: formatCredits(own.pendingMicros),
    frozen_credits: formatCredits(own.frozenMicros),
  };
}
