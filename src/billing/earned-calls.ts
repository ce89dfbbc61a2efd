import { sql } from 'drizzle-orm';
import type { Currency } from '../base/money.ts';
import type { Db } from '../db/db.ts';
import { findAccount } from '../ledger/accounts.ts';
import { ledgerJournal } from '../ledger/tables.ts';
import { disputableUntil } from './dispute-window.ts';
import { disputes, earningReleases } from './tables.ts';

export const EARNED_STATES = ['pending', 'available', 'disputed', 'reversed'] as const;
/**
 * Where the proceeds of one call are, less what is in dispute or went back: `pending` while its buyer may dispute
 * it, else `available` (or paid out since). `disputed` or `reversed` where that is all of them.
 */
export type EarnedState = (typeof EARNED_STATES)[number];

/** One settled call as its seller sees it. Price = fee + proceeds. */
export type EarnedCall = {
  /** The journal's order; what a page continues after. */
  seq: bigint;
  callUuid: string;
  agentId: string;
  settledAt: Date;
  priceMicros: bigint;
  feeMicros: bigint;
  proceedsMicros: bigint;
  /** Of the proceeds, what went back to the buyer. */
  reversedMicros: bigint;
  /** Of the proceeds, what is set aside until a dispute is decided. */
  inDisputeMicros: bigint;
  state: EarnedState;
  /** When the rest becomes or became available; undefined where there is none. */
  releaseAt: Date | undefined;
};

export type EarnedPage = {
  organizationId: string;
  currency: Currency;
  /** From this moment on. */
  from: Date | undefined;
  /** Up to and without this one. */
  to: Date | undefined;
  /** Only calls settled before this one. */
  beforeSeq: bigint | undefined;
  limit: number;
};

/** The calls of a seller's agents that were settled, newest first. */
export async function listEarnedCalls(db: Db, page: EarnedPage): Promise<EarnedCall[]> {
  const account = await findAccount(db, page.organizationId, page.currency, 'earnings');
  if (account === undefined) return [];
  const { rows } = await db.execute<Row>(sql`
    SELECT j.seq, j.id, j.agent_id, j.created_at, j.amount, j.fee, coalesce(r.amount, 0)::bigint AS reversed,
      CASE WHEN d.status = 'open' THEN d.claimed_micros - d.claimed_fee_micros ELSE 0 END::bigint AS in_dispute,
      coalesce(j.created_at <= e.released_through, false) AS is_released
    FROM ${ledgerJournal} j
    LEFT JOIN ${earningReleases} e ON e.account_id = j.credit
    LEFT JOIN ${disputes} d ON d.call_id = j.id
    LEFT JOIN ${ledgerJournal} r ON r.id = d.reversal_txn
    WHERE j.credit = ${account} AND j.kind = 'settle' AND j.seq < ${page.beforeSeq ?? LAST_SEQ}
      AND (${page.from?.toISOString() ?? null}::timestamptz IS NULL OR j.created_at >= ${page.from?.toISOString() ?? null})
      AND (${page.to?.toISOString() ?? null}::timestamptz IS NULL OR j.created_at < ${page.to?.toISOString() ?? null})
    ORDER BY j.seq DESC LIMIT ${page.limit}`);
  return rows.map((row) => {
    const settledAt = new Date(row.created_at);
    const [priceMicros, feeMicros] = [BigInt(row.amount), BigInt(row.fee)];
    const amounts = {
      proceedsMicros: priceMicros - feeMicros,
      reversedMicros: BigInt(row.reversed),
      inDisputeMicros: BigInt(row.in_dispute),
    };
    const state = stateOf(amounts, row.is_released);
    return {
      seq: BigInt(row.seq),
      callUuid: row.id,
      agentId: row.agent_id,
      settledAt,
      priceMicros,
      feeMicros,
      ...amounts,
      state,
      releaseAt: state === 'disputed' || state === 'reversed' ? undefined : disputableUntil(settledAt),
    };
  });
}

function stateOf(
  of: Pick<EarnedCall, 'proceedsMicros' | 'reversedMicros' | 'inDisputeMicros'>,
  isReleased: boolean,
): EarnedState {
  const hasRest = of.reversedMicros + of.inDisputeMicros < of.proceedsMicros;
  if (!hasRest && of.inDisputeMicros > 0n) return 'disputed';
  if (!hasRest && of.reversedMicros > 0n) return 'reversed';
  return isReleased ? 'available' : 'pending';
}

const LAST_SEQ = 9_223_372_036_854_775_807n;

type Row = {
  seq: string;
  id: string;
  agent_id: string;
  created_at: string;
  amount: string;
  fee: string;
  reversed: string;
  in_dispute: string;
  is_released: boolean;
};
