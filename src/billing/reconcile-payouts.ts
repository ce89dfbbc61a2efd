import { readDatabaseClock } from '../db/database-clock.ts';
import type { BillingDeps } from './deps.ts';
import { rereadPayoutAccounts } from './payout-accounts.ts';
import { applyTransfer } from './send-payout.ts';

/** How long after a transfer its reversal is still looked for; an older one is named by `comparePayouts`. */
const LOOKED_BACK_SECONDS = 90 * 24 * 60 * 60;

/** Finds transfers that were reversed and accounts that changed, and whose event never came. */
export async function reconcilePayouts(deps: BillingDeps): Promise<{ reversed: number }> {
  const { db, stripe } = deps;
  if (!stripe) return { reversed: 0 };
  let reversed = 0;
  const since = Math.trunc((await readDatabaseClock(db)).getTime() / 1_000) - LOOKED_BACK_SECONDS;
  for await (const transfer of stripe.client.transfers.list({ created: { gte: since }, limit: 100 })) {
    if (transfer.amount_reversed === 0) continue;
    if (await db.transaction((tx) => applyTransfer(tx, deps, transfer))) reversed += 1;
  }
  await rereadPayoutAccounts(deps);
  return { reversed };
}
