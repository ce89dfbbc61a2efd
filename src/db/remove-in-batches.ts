import { sql, type SQL } from 'drizzle-orm';
import type { PgTable } from 'drizzle-orm/pg-core';
import type { Db } from './db.ts';

const BATCH = 2_000;
/** In one run, which then takes up to a minute; the next one goes on. */
const MOST_BATCHES = 2_500;

/**
 * Removes the rows of a table for which the condition holds, and answers how many. In small transactions, so that
 * nobody waits for it and what piled up while nothing was removed does not run into the limit of a statement. A
 * row somebody else has locked is left for the next time.
 */
export async function removeInBatches(db: Db, table: PgTable, condition: SQL): Promise<number> {
  let removed = 0;
  for (let batch = 0; batch < MOST_BATCHES; batch += 1) {
    const { rowCount } = await db.execute(sql`
      DELETE FROM ${table} WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM ${table} WHERE ${condition} LIMIT ${BATCH} FOR UPDATE SKIP LOCKED))`);
    removed += rowCount ?? 0;
    if ((rowCount ?? 0) < BATCH) break;
  }
  return removed;
}
