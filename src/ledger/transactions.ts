import { sql } from 'drizzle-orm';
import type { Db } from '../db/db.ts';
import { ledgerJournal } from './tables.ts';

export type TransactionKind = (typeof ledgerJournal.$inferSelect)['kind'];

/** One journal row as the owner of one account sees it. */
export type Transaction = {
  /** The journal's order; what a page continues after. */
  seq: bigint;
  /** The call's UUID for a resolved hold, else the grant's. */
  uuid: string;
  kind: TransactionKind;
  /** What the account gained, or lost when negative. All of an account's sum up to what it has. */
  changeMicros: bigint;
  heldMicros: bigint;
  agentId: string | undefined;
  keyId: string | undefined;
  createdAt: Date;
};

export type TransactionPage = {
  accountId: bigint;
  kind: TransactionKind | undefined;
  /** From this moment on. */
  from: Date | undefined;
  /** Up to and without this one. */
  to: Date | undefined;
  /** Only rows older than this one. */
  beforeSeq: bigint | undefined;
  limit: number;
};

/**
 * What happened to one account, newest first. An account is on one side of a row or on the other, and each
 * side has an index in this order, so a page reads no more rows than it shows.
 */
export async function listTransactions(db: Db, page: TransactionPage): Promise<Transaction[]> {
  const side = (column: 'debit' | 'credit') => sql`
    (SELECT seq, id, kind, amount, fee, held, agent_id, key_id, created_at,
      ${column === 'debit' ? sql`-amount` : sql`amount - fee`} AS change
    FROM ${ledgerJournal}
    WHERE ${sql.identifier(column)} = ${page.accountId}
      AND (${page.kind ?? null}::text IS NULL OR kind = ${page.kind ?? null})
      AND (${iso(page.from)}::timestamptz IS NULL OR created_at >= ${iso(page.from)})
      AND (${iso(page.to)}::timestamptz IS NULL OR created_at < ${iso(page.to)})
      AND seq < ${page.beforeSeq ?? LAST_SEQ}
    ORDER BY seq DESC LIMIT ${page.limit})`;
  const { rows } = await db.execute<Row>(
    sql`${side('debit')} UNION ALL ${side('credit')} ORDER BY seq DESC LIMIT ${page.limit}`,
  );
  return rows.map((row) => ({
    seq: BigInt(row.seq),
    uuid: row.id,
    kind: row.kind,
    changeMicros: BigInt(row.change),
    heldMicros: BigInt(row.held),
    agentId: row.agent_id ?? undefined,
    keyId: row.key_id ?? undefined,
    createdAt: new Date(row.created_at),
  }));
}

const LAST_SEQ = 9_223_372_036_854_775_807n;

type Row = {
  seq: string;
  id: string;
  kind: TransactionKind;
  change: string;
  held: string;
  agent_id: string | null;
  key_id: string | null;
  created_at: string;
};

function iso(moment: Date | undefined): string | null {
  return moment?.toISOString() ?? null;
}

/** How many holds are open, and what they hold together, in both currencies. */
export async function countOpenHolds(db: Db): Promise<{ count: number; heldMicros: bigint }> {
  const { rows } = await db.execute<{ count: number; held: string }>(
    sql`SELECT count(*)::int AS count, coalesce(sum(amount), 0)::bigint AS held FROM ledger_holds`,
  );
  return { count: rows[0]?.count ?? 0, heldMicros: BigInt(rows[0]?.held ?? 0) };
}
