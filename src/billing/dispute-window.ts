import { eq, sql } from 'drizzle-orm';
import type { Tx } from '../db/db.ts';
import { ledgerAccounts } from '../ledger/tables.ts';
import { earningReleases } from './tables.ts';

/**
 * How long after a call was settled its buyer may dispute it. Until then its proceeds are the seller's and
 * cannot be paid out.
 */
export const DISPUTE_WINDOW_MS = 7 * 24 * 60 * 60 * 1_000;

/** When the proceeds of a call that was settled then are the seller's for good. */
export function disputableUntil(settledAt: Date): Date {
  return new Date(settledAt.getTime() + DISPUTE_WINDOW_MS);
}

/**
 * Locks a seller's earnings and tells whether what was settled at that time is still among them. A dispute is
 * opened and earnings are released under this one lock: two clocks that disagree, or a transaction that takes
 * long, cannot set aside what was released a moment ago.
 */
export async function lockPendingEarnings(
  tx: Tx,
  earningsAccountId: bigint,
  settledAt: Date,
): Promise<boolean> {
  await lockEarnings(tx, earningsAccountId);
  // A later statement than the lock, so it sees what whoever held it committed.
  const [release] = await tx
    .select()
    .from(earningReleases)
    .where(eq(earningReleases.accountId, earningsAccountId));
  return release === undefined || settledAt > release.releasedThrough;
}

/** Settling calls of this seller waits while this is held, so little is done under it. */
async function lockEarnings(tx: Tx, earningsAccountId: bigint): Promise<void> {
  await tx.execute(
    sql`SELECT 1 FROM ${ledgerAccounts} WHERE ${ledgerAccounts.id} = ${earningsAccountId} FOR NO KEY UPDATE`,
  );
}
