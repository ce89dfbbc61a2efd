import { sql } from 'drizzle-orm';
import type { Currency } from '../base/money.ts';
import type { Tx } from '../db/db.ts';
import type { AccountKind } from './accounts.ts';

/** All accounts of one kind and currency together. */
export type KindTotal = {
  currency: Currency;
  kind: AccountKind;
  accounts: number;
  postedMicros: bigint;
  heldMicros: bigint;
  /** What they must hold by the journal. */
  journalMicros: bigint;
};

export type LedgerTotals = { journalRows: number; kinds: KindTotal[] };

// The journal is read from its first row: seconds for millions of them.
const LONGEST_SCAN = '15min';

/**
 * What the accounts hold and what the journal says they must. Inside a transaction of one snapshot: every
 * movement writes its journal row and both balances in one transaction, so any snapshot has the whole of a
 * movement or nothing of it, and the sums must be right at any moment, also while calls run.
 */
export async function sumLedger(tx: Tx): Promise<LedgerTotals> {
  await tx.execute(sql`SELECT set_config('statement_timeout', ${LONGEST_SCAN}, true)`);
  const { rows } = await tx.execute<TotalRow>(sql`
    WITH moved AS (
      SELECT account, sum(change) AS change FROM ledger_journal,
        LATERAL (VALUES (debit, -amount), (credit, amount - fee), (fee_account, fee)) AS legs (account, change)
      WHERE change <> 0 GROUP BY account
    )
    SELECT a.currency, a.kind, count(*)::int AS accounts, sum(a.posted)::text AS posted,
      sum(a.held)::text AS held, sum(coalesce(m.change, 0))::text AS journal
    FROM ledger_accounts a LEFT JOIN moved m ON m.account = a.id
    GROUP BY a.currency, a.kind ORDER BY a.currency, a.kind`);
  const counted = await tx.execute<{ rows: string }>(sql`SELECT count(*) AS rows FROM ledger_journal`);
  return {
    journalRows: Number(counted.rows[0]?.rows ?? 0),
    kinds: rows.map((row) => ({
      currency: row.currency,
      kind: row.kind,
      accounts: row.accounts,
      postedMicros: BigInt(row.posted),
      heldMicros: BigInt(row.held),
      journalMicros: BigInt(row.journal),
    })),
  };
}

type TotalRow = {
  currency: Currency;
  kind: AccountKind;
  accounts: number;
  posted: string;
  held: string;
  journal: string;
};
