import { invariant } from '../base/invariant.ts';
import type { Db } from '../db/db.ts';
import { lockAccounts } from '../ledger/accounts.ts';
import { countOpenHolds, giveBackEnded, sumSpentBefore, sumSpentNow } from '../ledger/meter-in-use.ts';
import {
  findBudgetMeter,
  getMeter,
  setBudgetCaps,
  setMeterCaps,
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
 * this month's cap is about the whole month, and with what calls under way hold at that moment.
 */
export async function setBudget(db: Db, accountId: bigint, caps: MeterCaps, now: Date): Promise<void> {
  const known = await findBudgetMeter(db, accountId);
  if (known !== undefined) return db.transaction((tx) => setMeterCaps(tx, known, caps));
  const before = await sumSpentBefore(db, { accountId }, now);
  const ending = await db.transaction(async (tx) => {
    await lockAccounts(tx, [accountId]);
    const isFirst = (await findBudgetMeter(tx, accountId)) === undefined;
    const spent = await sumSpentNow(tx, { accountId }, now, before);
    await setBudgetCaps(tx, accountId, caps, spent, now);
    const meterId = await findBudgetMeter(tx, accountId);
    invariant(meterId !== undefined, 'a balance with a budget has a meter');
    return isFirst ? countOpenHolds(tx, { accountId }, meterId) : undefined;
  });
  if (ending) await giveBackEnded(db, ending);
}
