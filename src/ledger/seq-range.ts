import { sql } from 'drizzle-orm';
import { invariant } from '../base/invariant.ts';
import type { Db } from '../db/db.ts';

/** Of one account, from this moment on and before that one. */
export type Period = { accountId: bigint; from?: Date | undefined; to?: Date | undefined };

/**
 * Every number a movement of the account may have in that time, of those there are now: at least `first`, below
 * `end`. ledger_first_seq steps back an hour to be sure of a beginning; two hours on, it is as sure of an end.
 *
 * It is asked for by itself: where the function stands in a condition, PostgreSQL may call it for every row.
 */
export async function findSeqRange(
  db: Db,
  { accountId, from, to }: Period,
): Promise<{ first: bigint; end: bigint }> {
  const first = from === undefined ? sql`1` : sql`ledger_first_seq(${accountId}, ${from.toISOString()})`;
  const end =
    to === undefined
      ? sql`(SELECT last_value + 1 FROM ledger_journal_seq_seq)`
      : sql`ledger_first_seq(${accountId}, ${to.toISOString()}::timestamptz + interval '2 hours')`;
  const { rows } = await db.execute<{ first: string; end: string }>(
    sql`SELECT ${first} AS first, ${end} AS end`,
  );
  const [row] = rows;
  invariant(row, 'a row is answered');
  return { first: BigInt(row.first), end: BigInt(row.end) };
}
