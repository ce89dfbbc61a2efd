import { sql } from 'drizzle-orm';
import { createBatcher } from '../base/batcher.ts';
import { databaseNow } from '../db/database-clock.ts';
import type { Db } from '../db/db.ts';
import type { Attempt } from './sender.ts';

/** One attempt that is over, and what becomes of its delivery. */
export type EndedAttempt = Attempt & {
  deliveryUuid: string;
  /** The lease it was sent under: when another process holds it by now, the delivery is that one's to end. */
  leasedUntil: Date;
  at: Date;
  durationMs: number;
  outcome: { kind: 'delivered' } | { kind: 'retry'; afterMs: number } | { kind: 'failed' };
};

/** Writes down how attempts ended, many in one statement. */
export type AttemptRecorder = {
  /** Resolves when it is durable. */
  record(ended: EndedAttempt): Promise<void>;
};

const MAX_BATCH = 200;

export function createAttemptRecorder(db: Db): AttemptRecorder {
  const batcher = createBatcher<EndedAttempt, void>(
    async (batch) => {
      await insertAttempts(db, batch);
      return batch.map(() => undefined);
    },
    { maxBatch: MAX_BATCH },
  );
  return { record: (ended) => batcher.add(ended) };
}

async function insertAttempts(db: Db, batch: readonly EndedAttempt[]): Promise<void> {
  const column = (value: (ended: EndedAttempt) => unknown) => sql.param(batch.map(value));
  await db.execute(sql`
    WITH ended AS (
      SELECT * FROM unnest(
        ${column(({ deliveryUuid }) => deliveryUuid)}::uuid[],
        ${column(({ leasedUntil }) => leasedUntil)}::timestamptz[],
        ${column(({ at }) => at)}::timestamptz[],
        ${column(({ durationMs }) => durationMs)}::int[],
        ${column(({ status }) => status)}::int[],
        ${column(({ error }) => error)}::text[],
        ${column(({ answer }) => answer)}::text[],
        ${column(({ outcome }) => (outcome.kind === 'retry' ? 'pending' : outcome.kind))}::text[],
        ${column(({ outcome }) => (outcome.kind === 'retry' ? outcome.afterMs : null))}::int[]
      ) AS e (id, leased_until, at, duration_ms, http_status, error, answer, status, retry_after_ms)
    ), logged AS (
      INSERT INTO webhook_attempts (delivery_id, at, duration_ms, status, error, answer)
      SELECT e.id, e.at, e.duration_ms, e.http_status, e.error, e.answer FROM ended e
      -- One that was removed meanwhile has no log any more.
      JOIN webhook_deliveries known USING (id)
    )
    UPDATE webhook_deliveries d SET
      status = e.status, attempts = d.attempts + 1,
      next_attempt_at = ${databaseNow} + e.retry_after_ms * interval '1 millisecond', leased_until = NULL,
      last_status = e.http_status, last_error = e.error,
      delivered_at = CASE WHEN e.status = 'delivered' THEN e.at END
    FROM ended e
    WHERE d.id = e.id AND d.leased_until = e.leased_until`);
}
