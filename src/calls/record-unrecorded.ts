import { desc, lte, max, sql } from 'drizzle-orm';
import { invariant } from '../base/invariant.ts';
import type { Db } from '../db/db.ts';
import { listWriters } from '../ledger/journal-writers.ts';
import { calls } from './tables.ts';

/** A process that lives writes the record of a call sooner than this after its end. */
const RECORDED_WITHIN_MS = 10_000;
/** Steps of the database's clock. */
const MARGIN_MS = 20_000;
const FIRST_LOOK_BACK_MS = 10 * 60_000;

/**
 * Until when every call has its record, and the mark that is waited for: who was writing to the journal at a time
 * may have begun before it. Once none of those is still at it, there is nothing more to come of that time. All by
 * the database's clock.
 */
export type Progress = { recordedUntil: Date | undefined; mark: { until: Date; writers: string[] } };

/**
 * Writes a record for every hold the journal shows as resolved and the calls do not know: its process died
 * between the two. The first time, it looks back ten minutes before the newest record there is; ids are in time
 * order. Then it goes on where it came to.
 */
export async function recordUnrecorded(db: Db, before?: Progress): Promise<Progress> {
  const now = await readClock(db);
  const writers = await listWriters(db);
  // A clock that was set back begins anew.
  const known = before && before.mark.until <= now ? before : undefined;
  const since = known?.recordedUntil
    ? new Date(known.recordedUntil.getTime() - MARGIN_MS)
    : await findFirstTime(db);
  const until = new Date(now.getTime() - RECORDED_WITHIN_MS);
  await insertMissing(db, since, until);
  if (known?.mark.writers.some((writer) => writers.includes(writer))) return known;
  return { recordedUntil: known?.mark.until, mark: { until, writers } };
}

async function readClock(db: Db): Promise<Date> {
  const { rows } = await db.execute<{ now: number }>(
    sql`SELECT (extract(epoch FROM now()) * 1000)::float8 AS now`,
  );
  const [row] = rows;
  invariant(row, 'a SELECT without FROM has one row');
  return new Date(row.now);
}

/** Undefined where there is no record yet. One that is still to come was written by a process whose clock was ahead. */
async function findFirstTime(db: Db): Promise<Date | undefined> {
  const newest = db
    .select({ endedAt: calls.endedAt })
    .from(calls)
    .where(lte(calls.endedAt, sql`now()`))
    .orderBy(desc(calls.id))
    .limit(1_000)
    .as('newest');
  const [row] = await db.select({ at: max(newest.endedAt) }).from(newest);
  return row?.at ? new Date(row.at.getTime() - FIRST_LOOK_BACK_MS) : undefined;
}

/** Its times are given, so that the server knows how little it is about to read. */
async function insertMissing(db: Db, since: Date | undefined, until: Date): Promise<void> {
  await db.execute(sql`
    INSERT INTO calls (id, organization_id, key_id, agent_id, currency, wire, outcome, code,
      held_micros, charged_micros, fee_micros, request_id, is_delivered, started_at, ended_at)
    SELECT j.id, a.organization_id, j.key_id, j.agent_id, a.currency, 'sweeper',
      CASE j.kind WHEN 'settle' THEN 'settled' ELSE 'refunded' END,
      CASE j.kind WHEN 'settle' THEN NULL ELSE 'INTERNAL' END,
      j.held, j.amount, j.fee, '', false, j.created_at, j.created_at
    FROM ledger_journal j JOIN ledger_accounts a ON a.id = j.debit
    WHERE j.kind IN ('settle', 'refund', 'expire') AND j.created_at > ${since?.toISOString() ?? '-infinity'}::timestamptz
      -- Its own process may still be about to write it, but for one that expired.
      AND (j.kind = 'expire' OR j.created_at < ${until.toISOString()}::timestamptz)
      AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.id = j.id)
    ON CONFLICT (id) DO NOTHING`);
}
