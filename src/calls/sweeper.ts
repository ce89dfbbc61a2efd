import { EXPIRED_RECEIPT } from '../audit/receipts.ts';
import type { Log } from '../base/log.ts';
import type { Db } from '../db/db.ts';
import { removeExpiredIdempotencyKeys } from '../ledger/idempotency.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { removeOldFreeCalls } from './free-calls.ts';
import { removeOldListings } from './price-listings.ts';
import { recordUnrecorded, type Progress } from './record-unrecorded.ts';
import { removeExpiredLinks } from './linked-resources.ts';
import type { CallResults } from './results.ts';

const HOLDS_AT_ONCE = 500;

/** What a process does for calls that others left behind. Every process does; they do not get in each other's way. */
export type Sweeper = {
  /**
   * Refunds the holds nobody resolved in time, because their process crashed or lost its way, and writes the
   * records those calls never got. Answers how many it refunded.
   */
  sweep(): Promise<number>;
};

export function createSweeper(deps: { db: Db; ledger: Ledger; results: CallResults; log: Log }): Sweeper {
  let progress: Progress | undefined;
  return {
    sweep: async () => {
      const refunded = await refundExpired(deps);
      progress = await recordUnrecorded(deps.db, progress);
      return refunded;
    },
  };
}

async function refundExpired(deps: { ledger: Ledger; results: CallResults; log: Log }): Promise<number> {
  let refunded = 0;
  for (;;) {
    const expired = await deps.ledger.expireHolds(HOLDS_AT_ONCE, EXPIRED_RECEIPT);
    refunded += expired.length;
    // Nobody waits for a call that will not end any more, and nobody may fetch an answer that was not paid.
    for (const { callId } of expired) await deps.results.drop(callId);
    if (expired.length < HOLDS_AT_ONCE) break;
  }
  if (refunded > 0) {
    deps.log('warn', 'holds expired without an answer and were refunded', { count: refunded });
  }
  return refunded;
}

/** Forgets what is kept for a limited time only. */
export async function removeExpired(deps: { db: Db; results: CallResults }): Promise<void> {
  await removeExpiredIdempotencyKeys(deps.db);
  await deps.results.removeExpired();
  await removeExpiredLinks(deps.db);
  await removeOldFreeCalls(deps.db);
  await removeOldListings(deps.db);
}
