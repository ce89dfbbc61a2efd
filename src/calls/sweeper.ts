import { sql } from 'drizzle-orm';
import { invariant } from '../base/invariant.ts';
import type { Log } from '../base/log.ts';
import type { Db } from '../db/db.ts';
import { removeExpiredIdempotencyKeys } from '../ledger/idempotency.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { removeOldFreeCalls } from './free-calls.ts';
import { removeListingsOfRevokedKeys } from './price-listings.ts';
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
  let recordedUntil: string | undefined;
  return {
    sweep: async () => {
      const refunded = await refundExpired(deps);
      recordedUntil = await recordUnrecorded(deps.db, recordedUntil);
      return refunded;
    },
  };
}

async function refundExpired(deps: { ledger: Ledger; results: CallResults; log: Log }): Promise<number> {
  let refunded = 0;
  for (;;) {
    const expired = await deps.ledger.expireHolds(HOLDS_AT_ONCE);
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
  await removeOldFreeCalls(deps.db);
  await removeListingsOfRevokedKeys(deps.db);
}

/**
 * Writes a record for every hold the journal shows as resolved and the calls do not know: its process died
 * between the two. Answers until when it did, by the database's clock: the next time may begin there, and looks
 * back a little further, for movements that took their time to be committed. The first time looks back ten
 * minutes before the newest record there is; ids are in time order.
 */
export async function recordUnrecorded(db: Db, recordedUntil?: string): Promise<string> {
  const newest = sql`(SELECT max(ended_at) FROM (SELECT ended_at FROM calls ORDER BY id DESC LIMIT 1000) newest)`;
  const since =
    recordedUntil === undefined
      ? sql`coalesce(${newest}, '-infinity') - interval '10 minutes'`
      : // Should that clock have been set back, not the time it showed.
        sql`least(${recordedUntil}::timestamptz, now()) - interval '20 seconds'`;
  // By itself, so that the server knows how little it is about to read.
  const { rows } = await db.execute<{ since: string; until: string }>(
    sql`SELECT (${since})::text AS since, (now() - interval '10 seconds')::text AS until`,
  );
  const [time] = rows;
  invariant(time, 'a SELECT without FROM has one row');
  await db.execute(sql`
    INSERT INTO calls (id, organization_id, key_id, agent_id, currency, wire, outcome, code,
      held_micros, charged_micros, fee_micros, request_id, is_delivered, started_at, ended_at)
    SELECT j.id, a.organization_id, j.key_id, j.agent_id, a.currency, 'sweeper',
      CASE j.kind WHEN 'settle' THEN 'settled' ELSE 'refunded' END,
      CASE j.kind WHEN 'settle' THEN NULL ELSE 'INTERNAL' END,
      j.held, j.amount, j.fee, '', false, j.created_at, j.created_at
    FROM ledger_journal j JOIN ledger_accounts a ON a.id = j.debit
    WHERE j.kind IN ('settle', 'refund', 'expire') AND j.created_at > ${time.since}::timestamptz
      -- Its own process may still be about to write it, but for one that expired.
      AND (j.kind = 'expire' OR j.created_at < ${time.until}::timestamptz)
      AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.id = j.id)
    ON CONFLICT (id) DO NOTHING`);
  return time.until;
}
