import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { unreachable } from '../base/invariant.ts';
import { formatCredits } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { readStatement, type KindTotal, type StatementPart } from '../billing/statement.ts';
import { BALANCE_KINDS } from '../ledger/transactions.ts';
import type { Caller } from '../identity/caller.ts';
import { formatCsv, formatCsvRows } from './csv.ts';
import { admitted } from './admission.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { newRoutes, refusals } from './route.ts';
import { streamText } from './text-stream.ts';
import { formatTransaction, transactionOut } from './transaction.ts';
import { amountOut, moment } from './words.ts';

const statementOut = z
  .object({
    organization_id: z.string(),
    currency: z.enum(['live', 'test']),
    month: z.string().openapi({ example: '2026-10' }),
    from: moment,
    to: moment,
    opening_balance: amountOut.openapi({ description: 'Credits, those on hold included, when it began.' }),
    movements: z.array(
      transactionOut.extend({ balance: amountOut.openapi({ description: 'After this movement.' }) }),
    ),
    totals: z.array(z.object({ type: z.enum(BALANCE_KINDS), count: z.number().int(), credits: amountOut })),
    closing_balance: amountOut,
    final: z.boolean().openapi({ description: 'False while the month may still get movements.' }),
  })
  .openapi('Statement');

export type StatementBody = z.infer<typeof statementOut>;

const MONTH_WORDS = 'must be a month, such as 2026-10';

/** Everything that happened to the key's balance in one month, as long as that may be. */
export function billingStatementRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const show = createRoute({
    method: 'get',
    path: '/v1/billing/statement',
    tags: ['billing'],
    summary: 'The statement of a month: opening, every movement, totals by type, closing',
    description:
      'Months are UTC. Opening plus totals is the closing, and both agree with the journal to the micro-credit. Of any length: it is sent while it is read, and an answer that breaks off is not complete (JSON that does not end, CSV without its closing row). ' +
      'In CSV the column `row` says what a row is: `opening_balance`, `movement`, `total` (of one type: how many, and their sum) or `closing_balance`. The column `credits` has the movements alone, so it adds up to the change of the month.',
    ...admitted(deps, 'billing:read'),
    request: {
      query: z.strictObject({
        month: z
          .string({ error: (issue) => (issue.input === undefined ? 'is required' : MONTH_WORDS) })
          .regex(/^20[0-9]{2}-(0[1-9]|1[0-2])$/, MONTH_WORDS)
          .openapi({ example: '2026-10' }),
        format: z.enum(['json', 'csv']).default('json'),
      }),
    },
    responses: {
      200: {
        description: 'The statement.',
        content: { 'application/json': { schema: statementOut }, 'text/csv': { schema: z.string() } },
      },
      ...refusals,
    },
  });

  return newRoutes().openapi(show, async (c) => {
    const { month, format } = c.req.valid('query');
    const caller = c.get('caller');
    const now = new Date(deps.clock.now());
    const begin = new Date(`${month}-01T00:00:00Z`);
    if (begin > now) throw notBegun(month, now);
    const parts = readStatement(deps.database.db, { accountId: caller.accountId, month: begin, now });
    const text = format === 'json' ? writeJson(parts, caller, month) : writeCsv(parts);
    // While nothing is sent, a database that is away is still a problem with a status of its own.
    const head = await text.next();
    c.header('content-type', format === 'json' ? 'application/json' : 'text/csv; charset=utf-8');
    c.header('content-disposition', `attachment; filename="statement-${caller.currency}-${month}.${format}"`);
    return c.body(streamText(head.value ?? '', text, { log: deps.log, what: 'a statement' }), 200) as never;
  });
}

function notBegun(month: string, now: Date): Problem {
  const newest = now.toISOString().slice(0, 7);
  return new Problem(
    'INVALID_INPUT',
    `${month} has not begun. The newest statement is of ${newest}, which is not over.`,
    { faults: [{ path: '/month', message: `must not be after ${newest}, this UTC month` }] },
  );
}

async function* writeJson(
  parts: AsyncGenerator<StatementPart>,
  { organizationId, currency }: Caller,
  month: string,
): AsyncGenerator<string> {
  let separator = '';
  for await (const part of parts) {
    switch (part.kind) {
      case 'opening': {
        const head = {
          organization_id: organizationId,
          currency,
          month,
          from: part.from.toISOString(),
          to: part.to.toISOString(),
          opening_balance: formatCredits(part.balanceMicros),
        };
        yield `${JSON.stringify(head).slice(0, -1)},"movements":[`;
        break;
      }
      case 'lines': {
        const lines = part.lines.map((line) =>
          JSON.stringify({ ...formatTransaction(line), balance: formatCredits(line.balanceMicros) }),
        );
        yield `${separator}\n${lines.join(',\n')}`;
        separator = ',';
        break;
      }
      case 'closing': {
        const tail = {
          totals: part.totals.map(formatTotal),
          closing_balance: formatCredits(part.balanceMicros),
          final: part.isFinal,
        };
        yield `],${JSON.stringify(tail).slice(1)}`;
        break;
      }
      default:
        unreachable(part);
    }
  }
}

const CSV_COLUMNS = [
  'row',
  'created_at',
  'type',
  'id',
  'subject',
  'agent_id',
  'key_id',
  'description',
  'credits',
  'balance',
  'count',
  'total',
  'final',
] as const;

/**
 * Every row says what it is, and every figure has a column of its own: nothing is to be read out of words. Only
 * movements have something in the column `credits`, so that its sum is the change of the month.
 */
async function* writeCsv(parts: AsyncGenerator<StatementPart>): AsyncGenerator<string> {
  const row = (cells: Partial<Record<(typeof CSV_COLUMNS)[number], string | null>>): string[] =>
    CSV_COLUMNS.map((column) => cells[column] ?? '');
  let to = '';
  for await (const part of parts) {
    switch (part.kind) {
      case 'opening':
        to = part.to.toISOString();
        yield formatCsv(CSV_COLUMNS, [
          row({
            row: 'opening_balance',
            created_at: part.from.toISOString(),
            balance: formatCredits(part.balanceMicros),
          }),
        ]);
        break;
      case 'lines':
        yield formatCsvRows(
          part.lines.map((line) =>
            row({ row: 'movement', ...formatTransaction(line), balance: formatCredits(line.balanceMicros) }),
          ),
        );
        break;
      case 'closing':
        yield formatCsvRows([
          ...part.totals.map((total) =>
            row({
              row: 'total',
              created_at: to,
              type: total.kind,
              count: String(total.count),
              total: formatCredits(total.changeMicros),
            }),
          ),
          row({
            row: 'closing_balance',
            created_at: to,
            balance: formatCredits(part.balanceMicros),
            final: String(part.isFinal),
          }),
        ]);
        break;
      default:
        unreachable(part);
    }
  }
}

function formatTotal(total: KindTotal): { type: string; count: number; credits: string } {
  return { type: total.kind, count: Number(total.count), credits: formatCredits(total.changeMicros) };
}
