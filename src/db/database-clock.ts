import { sql, type SQL } from 'drizzle-orm';
import { invariant } from '../base/invariant.ts';
import type { Db, Tx } from './db.ts';

/** What time it is for all that is due, in a statement: the database's clock as its transaction began. */
export const databaseNow: SQL<Date> = sql<Date>`database_now()`;

/** So many milliseconds after that, or before; in whole ones, so that a Date that was read is equal to it. */
export function databaseNowPlus(ms: number): SQL<Date> {
  return sql<Date>`(date_trunc('milliseconds', database_now()) + ${ms}::float8 * interval '1 millisecond')`;
}

/** The same for what is decided outside a statement, to the millisecond begun last. */
export async function readDatabaseClock(db: Db | Tx): Promise<Date> {
  const { rows } = await db.execute<{ now: number }>(
    sql`SELECT floor(extract(epoch FROM database_now()) * 1000)::float8 AS now`,
  );
  const [row] = rows;
  invariant(row, 'a SELECT without FROM has one row');
  return new Date(row.now);
}
