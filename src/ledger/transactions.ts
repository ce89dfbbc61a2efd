import { sql, type SQL } from 'drizzle-orm';
import type { Db } from '../db/db.ts';
import { findSeqRange } from './seq-range.ts';
import { ledgerJournal, type JournalKind } from './tables.ts';

/** What can happen to a buyer's balance; the journal's other kinds are between accounts of sellers. */
export const BALANCE_KINDS = [
  'settle',
  'refund',
  'expire',
  'grant',
  'top_up',
  'freeze',
  'unfreeze',
  'top_up_reversal',
  'top_up_restored',
  'reversal',
  'fee_reversal',
] as const satisfies readonly JournalKind[];

export type TransactionKind = JournalKind;

/** One journal row as the owner of one account sees it. */
export type Transaction = {
  /** The journal's order; what a page continues after. */
  seq: bigint;
  /** The call's UUID for a resolved hold, else the movement's own. */
  uuid: string;
  kind: TransactionKind;
  /** What the account gained, or lost when negative. All of an account's sum up to what it has. */
  changeMicros: bigint;
  heldMicros: bigint;
  agentId: string | undefined;
  keyId: string | undefined;
  /** The UUID of what a movement outside a call is about. */
  subject: string | undefined;
  createdAt: Date;
};

export type TransactionFilter = {
  accountId: bigint;
  /** Empty means every kind. */
  kinds?: readonly TransactionKind[] | undefined;
  /** From this moment on. */
  from?: Date | undefined;
  /** Up to and without this one. */
  to?: Date | undefined;
  agentId?: string | undefined;
  keyId?: string | undefined;
};

export type TransactionPage = TransactionFilter & {
  /** Only rows older than this one. */
  beforeSeq: bigint | undefined;
  limit: number;
};

/** What happened to one account, newest first. */
export async function listTransactions(db: Db, page: TransactionPage): Promise<Transaction[]> {
  const { first, end } = await findSeqRange(db, page);
  const before = page.beforeSeq === undefined || page.beforeSeq > end ? end : page.beforeSeq;
  return readPage(db, page, sql`seq >= ${first} AND seq < ${before}`, sql`DESC`, page.limit);
}

const PAGE = 2_000;

/**
 * The same, oldest first and page by page, for as long as somebody takes them: no connection is kept in between,
 * so a slow reader holds up nobody. What is written after the first page was asked for is not in it.
 */
export async function* readTransactions(db: Db, filter: TransactionFilter): AsyncGenerator<Transaction[]> {
  const { first, end } = await findSeqRange(db, filter);
  let from = first;
  for (;;) {
    const page = await readPage(db, filter, sql`seq >= ${from} AND seq < ${end}`, sql`ASC`, PAGE);
    if (page.length > 0) yield page;
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return;
    from = last.seq + 1n;
  }
}

/** What all of them gained or lost together. */
export async function sumTransactions(db: Db, filter: TransactionFilter): Promise<bigint> {
  const { first, end } = await findSeqRange(db, filter);
  const { rows } = await db.execute<{ sum: string }>(
    sql`SELECT coalesce(sum(change), 0) AS sum FROM (${legs(filter, sql`seq >= ${first} AND seq < ${end}`)}) legs`,
  );
  return BigInt(rows[0]?.sum ?? 0);
}

/**
 * An account is on one side of a row or on the other, and each side has an index in this order, so a page
 * reads no more rows than it shows.
 */
async function readPage(
  db: Db,
  filter: TransactionFilter,
  range: SQL,
  order: SQL,
  limit: number,
): Promise<Transaction[]> {
  const { rows } = await db.execute<Row>(
    sql`${legs(filter, range, sql`ORDER BY seq ${order} LIMIT ${limit}`)} ORDER BY seq ${order} LIMIT ${limit}`,
  );
  return rows.map((row) => ({
    seq: BigInt(row.seq),
    uuid: row.id,
    kind: row.kind,
    changeMicros: BigInt(row.change),
    heldMicros: BigInt(row.held),
    agentId: row.agent_id ?? undefined,
    keyId: row.key_id ?? undefined,
    subject: row.subject ?? undefined,
    createdAt: new Date(row.created_at),
  }));
}

/** Both sides of the account. `tail` orders and limits each of them on its own. */
function legs(filter: TransactionFilter, range: SQL, tail = sql``): SQL {
  const conditions = conditionsOf(filter);
  const side = (column: 'debit' | 'credit') => sql`
    (SELECT seq, id, kind, held, agent_id, key_id, subject, created_at,
      ${column === 'debit' ? sql`-amount` : sql`amount - fee`} AS change
    FROM ${ledgerJournal}
    WHERE ${sql.identifier(column)} = ${filter.accountId} AND ${range}${conditions} ${tail})`;
  return sql`${side('debit')} UNION ALL ${side('credit')}`;
}

function conditionsOf({ kinds, from, to, agentId, keyId }: TransactionFilter): SQL {
  const conditions = [
    kinds && kinds.length > 0 ? sql`kind IN ${kinds}` : undefined,
    from && sql`created_at >= ${from.toISOString()}`,
    to && sql`created_at < ${to.toISOString()}`,
    agentId === undefined ? undefined : sql`agent_id = ${agentId}`,
    keyId === undefined ? undefined : sql`key_id = ${keyId}`,
  ];
  return sql.join(conditions.filter((each) => each !== undefined).map((each) => sql` AND ${each}`));
}

type Row = {
  seq: string;
  id: string;
  kind: TransactionKind;
  change: string;
  held: string;
  agent_id: string | null;
  key_id: string | null;
  subject: string | null;
  created_at: string;
};

/** How many holds are open, and what they hold together, in both currencies. */
export async function countOpenHolds(db: Db): Promise<{ count: number; heldMicros: bigint }> {
  const { rows } = await db.execute<{ count: number; held: string }>(
    sql`SELECT count(*)::int AS count, coalesce(sum(amount), 0)::bigint AS held FROM ledger_holds`,
  );
  return { count: rows[0]?.count ?? 0, heldMicros: BigInt(rows[0]?.held ?? 0) };
}
