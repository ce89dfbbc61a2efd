import { sql } from 'drizzle-orm';
import type { Db, Tx } from '../../src/db/db.ts';

/**
 * How many rows and index entries of these relations the work reads. It runs in a transaction of its own, as the
 * server keeps count of what a session has read since it last told the others.
 */
export async function countReads(
  db: Db,
  relations: readonly string[],
  work: (tx: Tx) => Promise<unknown>,
): Promise<number> {
  return db.transaction(async (tx) => {
    const before = await readSoFar(tx, relations);
    await work(tx);
    return (await readSoFar(tx, relations)) - before;
  });
}

async function readSoFar(tx: Tx, relations: readonly string[]): Promise<number> {
  const { rows } = await tx.execute<{ read: number }>(
    sql`SELECT sum(pg_stat_get_xact_tuples_returned(name::regclass))::int AS read FROM unnest(${sql.param([...relations])}::text[]) name`,
  );
  return rows[0]?.read ?? 0;
}
