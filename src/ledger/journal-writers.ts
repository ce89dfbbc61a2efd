import { sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/db.ts';

/**
 * Who is writing to the journal: an INSERT takes its lock on the table before it takes a number, and keeps it
 * until what it wrote is visible or undone (CREATE INDEX CONCURRENTLY relies on the same). Unlike the oldest
 * open transaction id, this is nobody in another database of the server, and nobody who only reads.
 */
export async function listWriters(db: Db | Tx): Promise<string[]> {
  const { rows } = await db.execute<{ writer: string }>(sql`
    SELECT virtualtransaction AS writer FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND relation = 'ledger_journal'::regclass
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`);
  return rows.map(({ writer }) => writer);
}
