import type { Db } from '../db/db.ts';
import {
  findBudgetMeter,
  getMeter,
  setBudgetCaps,
  sumSpent,
  type Meter,
  type MeterCaps,
} from '../ledger/meters.ts';

/** The limit on everything spent from a balance, whichever key spends it; undefined before there was one. */
export async function findBudget(db: Db, accountId: bigint, now: Date): Promise<Meter | undefined> {
  const meterId = await findBudgetMeter(db, accountId);
  return meterId === undefined ? undefined : getMeter(db, meterId, now);
}

/**
 * Puts these caps in place of the balance's own. The first budget begins with what was spent so far, so that
 * this month's cap is about the whole month; only calls under way at that moment are not counted.
 */
export async function setBudget(db: Db, accountId: bigint, caps: MeterCaps, now: Date): Promise<void> {
  // Before the transaction: it reads the whole history, and a lock meanwhile would hold up every call.
  const spent = await sumSpent(db, { accountId }, now);
  await db.transaction((tx) => setBudgetCaps(tx, accountId, caps, spent, now));
}
