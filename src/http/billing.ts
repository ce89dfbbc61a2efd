import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { accepts } from 'hono/accepts';
import { unreachable } from '../base/invariant.ts';
import { idOfUuid } from '../base/ids.ts';
import { formatCredits, formatUsd } from '../base/money.ts';
import { getBalance } from '../ledger/accounts.ts';
import { listTransactions, type Transaction } from '../ledger/transactions.ts';
import { formatCsv } from './csv.ts';
import type { HttpDeps, HttpEnv } from './deps.ts';
import { newRoutes, noQuery, json, refusals, signedIn } from './route.ts';
import { amountOut, badCursor, cursorIn, moment, pageOf, toPage, wholeNumber } from './words.ts';

const TYPES = ['settle', 'refund', 'expire', 'grant'] as const;

const balanceOut = z
  .object({
    credits: amountOut,
    escrow_credits: amountOut,
    usd_equivalent: z.string(),
    currency: z.enum(['live', 'test']),
    updated_at: moment,
  })
  .openapi('Balance');

const transactionOut = z
  .object({
    id: z.string(),
    type: z.enum(TYPES),
    credits: amountOut.openapi({ description: 'Signed. All of them sum to credits + escrow_credits.' }),
    agent_id: z.string().nullable(),
    key_id: z.string().nullable(),
    description: z.string(),
    created_at: moment,
  })
  .openapi('Transaction');

export type BalanceBody = z.infer<typeof balanceOut>;
export type TransactionBody = z.infer<typeof transactionOut>;

const CSV_COLUMNS = ['id', 'type', 'credits', 'agent_id', 'key_id', 'description', 'created_at'] as const;

const time = z
  .union([z.iso.datetime({ offset: true }), z.iso.date()], { error: 'must be a date or an ISO 8601 time' })
  .transform((text) => new Date(text))
  .optional()
  .openapi({ type: 'string', format: 'date-time' });

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
    description: 'As CSV with `format=csv` or `Accept: text/csv`; the next page is then in the Link header.',
    ...signedIn(deps, 'billing:read'),
    request: {
      query: z.strictObject({
        type: z.enum(TYPES).optional(),
        from: time,
        to: time,
        format: z.enum(['json', 'csv']).optional(),
        limit: wholeNumber(1, 1_000, 100),
        cursor: cursorIn,
      }),
    },
    responses: {
      200: {
        description: 'A page of movements.',
        content: {
          'application/json': { schema: pageOf(transactionOut) },
          'text/csv': { schema: z.string() },
        },
      },
      ...refusals,
    },
  });

  return newRoutes()
    .openapi(balance, async (c) => {
      const caller = c.get('caller');
      const { availableMicros, heldMicros } = await getBalance(db, caller.accountId);
      return c.json(
        {
          credits: formatCredits(availableMicros),
          escrow_credits: formatCredits(heldMicros),
          usd_equivalent: formatUsd(availableMicros),
          currency: caller.currency,
          updated_at: new Date(deps.clock.now()).toISOString(),
        },
        200,
      );
    })
    .openapi(transactions, async (c) => {
      const { type, from, to, format, limit, cursor } = c.req.valid('query');
      if (cursor !== undefined && !/^[0-9]{1,18}$/.test(cursor)) throw badCursor();
      const rows = await listTransactions(db, {
        accountId: c.get('caller').accountId,
        kind: type,
        from,
        to,
        beforeSeq: cursor === undefined ? undefined : BigInt(cursor),
        limit: limit + 1,
      });
      const page = toPage(rows, limit, formatTransaction, (row) => String(row.seq));
      const supports = ['application/json', 'text/csv'];
      const wanted = accepts(c, { header: 'Accept', supports, default: 'application/json' });
      if ((format ?? (wanted === 'text/csv' ? 'csv' : 'json')) === 'json') return c.json(page, 200);

      if (page.next_cursor !== null) {
        const next = new URL(c.req.url).searchParams;
        next.set('cursor', page.next_cursor);
        c.header('link', `<${deps.publicUrl}/v1/billing/transactions?${next.toString()}>; rel="next"`);
      }
      c.header('content-type', 'text/csv; charset=utf-8');
      c.header('content-disposition', 'attachment; filename="transactions.csv"');
      return c.body(
        formatCsv(
          CSV_COLUMNS,
          page.items.map((item) => CSV_COLUMNS.map((column) => item[column] ?? '')),
        ),
        200,
      ) as never;
    });
}

function formatTransaction(row: Transaction): TransactionBody {
  return {
    id: idOfUuid(row.kind === 'grant' ? 'txn' : 'call', row.uuid),
    type: row.kind,
    credits: formatCredits(row.changeMicros),
    agent_id: row.agentId ?? null,
    key_id: row.keyId ?? null,
    description: describe(row),
    created_at: row.createdAt.toISOString(),
  };
}

function describe({ kind, agentId, heldMicros }: Transaction): string {
  switch (kind) {
    case 'settle':
      return `Call of ${agentId}`;
    case 'refund':
      return `Call of ${agentId} failed: ${formatCredits(heldMicros)} held credits were given back`;
    case 'expire':
      return `Call of ${agentId} never ended: ${formatCredits(heldMicros)} held credits were given back`;
    case 'grant':
      return 'Credits granted by the operator';
    default:
      return unreachable(kind);
  }
}
