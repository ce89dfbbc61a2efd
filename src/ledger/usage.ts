import { sql, type SQL } from 'drizzle-orm';
import { invariant } from '../base/invariant.ts';
import type { Db } from '../db/db.ts';
import { findSeqRange } from './seq-range.ts';
import { ledgerJournal } from './tables.ts';

/** What some calls cost together. Only calls that had credits on hold are counted. */
export type Usage = { calls: bigint; refundedCalls: bigint; chargedMicros: bigint; feeMicros: bigint };

/** `group` undefined: the calls that name none. */
export type UsageGroup = Usage & { group: string | undefined };

/** What calls are grouped by, as SQL over the journal row `j`, and the join that takes, which keeps every row. */
export type Grouping = { by: SQL; join?: SQL };

export const BY_KEY: Grouping = { by: sql`j.key_id` };
export const BY_AGENT: Grouping = { by: sql`j.agent_id` };
export const BY_DAY: Grouping = { by: sql`to_char(j.created_at AT TIME ZONE 'utc', 'YYYY-MM-DD')` };

/**
 * What was spent from one balance, by group in alphabetical order, and altogether. Both come from the journal in
 * one statement, so they agree with it and with each other to the micro-credit.
 */
export async function listUsage(
  db: Db,
  grouping: Grouping,
  page: {
    accountId: bigint;
    from: Date;
    to: Date | undefined;
    /** Only groups after this one. */
    after: string | undefined;
    limit: number;
  },
): Promise<{ total: Usage; groups: UsageGroup[] }> {
  const { from, to, after, limit } = page;
  const { first, end } = await findSeqRange(db, page);
  const before = to === undefined ? sql`` : sql` AND j.created_at < ${to.toISOString()}`;
  const shown = after === undefined ? sql`true` : sql`coalesce("group" > ${after}, true)`;
  const { rows } = await db.execute<Row>(sql`
    WITH ended AS (
      SELECT (${grouping.by}) COLLATE "C" AS "group", j.kind, j.amount, j.fee
      FROM ${ledgerJournal} j ${grouping.join ?? sql``}
      WHERE j.debit = ${page.accountId} AND j.kind IN ('settle', 'refund', 'expire')
        AND j.seq >= ${first} AND j.seq < ${end} AND j.created_at >= ${from.toISOString()}${before}
    ), sums AS (
      SELECT grouping("group") = 1 AS is_total, "group", count(*) AS calls,
        count(*) FILTER (WHERE kind <> 'settle') AS refunded, coalesce(sum(amount), 0) AS charged, coalesce(sum(fee), 0) AS fee
      FROM ended GROUP BY GROUPING SETS (("group"), ())
    )
    SELECT * FROM sums WHERE is_total OR ${shown} ORDER BY is_total DESC, "group" NULLS LAST LIMIT ${limit + 1}`);
  const [total, ...groups] = rows;
  invariant(total?.is_total === true, 'the sum of everything comes first');
  return {
    total: usageOf(total),
    groups: groups.map((row) => ({ group: row.group ?? undefined, ...usageOf(row) })),
  };
}

type Row = {
  is_total: boolean;
  group: string | null;
  calls: string;
  refunded: string;
  charged: string;
  fee: string;
};

function usageOf(row: Row): Usage {
  return {
    calls: BigInt(row.calls),
    refundedCalls: BigInt(row.refunded),
    chargedMicros: BigInt(row.charged),
    feeMicros: BigInt(row.fee),
  };
}
