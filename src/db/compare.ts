import { sql, type SQL } from 'drizzle-orm';
import type { Difference } from '../base/difference.ts';
import type { Db, Tx } from './db.ts';

/** Two things in the database that should agree, and a query that finds where they do not. */
export type Comparison = {
  what: string;
  /** Rows of `id`, `expected` and `found`, all text. Whatever is later than `now` minus its grace is left out. */
  differences(now: Date): SQL;
};

export type Compared = {
  what: string;
  /** How many there are. */
  count: number;
  /** The first of them by id. */
  differences: Difference[];
};

// Reading all of a large journal takes its time; a gateway's own statements are far below their limit.
const LONGEST_STATEMENT = '10min';

/**
 * Makes every comparison on one snapshot: what other processes write meanwhile is in all of them or in none,
 * so books that are being written agree.
 */
export async function compareOnSnapshot(
  db: Db,
  comparisons: readonly Comparison[],
  options: { now: Date; limit: number },
): Promise<Compared[]> {
  return db.transaction(
    async (tx) => {
      await tx.execute(sql.raw(`SET LOCAL statement_timeout = '${LONGEST_STATEMENT}'`));
      const compared: Compared[] = [];
      for (const comparison of comparisons) compared.push(await compare(tx, comparison, options));
      return compared;
    },
    { isolationLevel: 'repeatable read', accessMode: 'read only' },
  );
}

async function compare(
  tx: Tx,
  { what, differences }: Comparison,
  { now, limit }: { now: Date; limit: number },
): Promise<Compared> {
  const { rows } = await tx.execute<{ id: string; expected: string; found: string; total: number }>(
    // Materialized, or PostgreSQL would sort all that is compared to have the first differences first.
    sql`WITH d (id, expected, found) AS MATERIALIZED (${differences(now)})
        SELECT id, expected, found, (count(*) OVER ())::int AS total FROM d ORDER BY id LIMIT ${limit}`,
  );
  return {
    what,
    count: rows[0]?.total ?? 0,
    differences: rows.map(({ id, expected, found }) => ({ what, id, expected, found })),
  };
}
