import { sql } from 'drizzle-orm';
import type { WebhookDeps } from './deps.ts';

/** How long a delivery, its attempts and its payload are kept. */
export const KEEP_MS = 30 * 24 * 3_600_000;
const BATCH = 2_000;
/** In one run; the next one goes on. */
const MOST_BATCHES = 500;

/**
 * Removes deliveries older than 30 days with their logs, then endpoints that were deleted with all of theirs.
 * In small transactions, so that nobody waits for it. Answers how many deliveries it removed.
 */
export async function forgetDeliveries({ db, clock }: Pick<WebhookDeps, 'db' | 'clock'>): Promise<number> {
  // Ids begin with the milliseconds they were made at (RFC 9562 section 5.7), so age needs no index of its own.
  const bound = (clock.now() - KEEP_MS).toString(16).padStart(12, '0').padEnd(32, '0');
  const isOld = sql`id < ${bound}::uuid`;
  const isOrphan = sql`endpoint_id IN (SELECT id FROM webhook_endpoints WHERE deleted_at IS NOT NULL)`;
  // What is being sent has an end still to be recorded.
  const isIdle = sql`(leased_until IS NULL OR leased_until <= ${new Date(clock.now())})`;
  let removed = 0;
  for (const condition of [isOld, isOrphan]) {
    for (let batch = 0; batch < MOST_BATCHES; batch += 1) {
      const { rowCount } = await db.execute(sql`
        DELETE FROM webhook_deliveries
        WHERE ${isIdle} AND id IN (SELECT id FROM webhook_deliveries WHERE ${condition} AND ${isIdle} LIMIT ${BATCH})`);
      removed += rowCount ?? 0;
      if ((rowCount ?? 0) < BATCH) break;
    }
  }
  await db.execute(sql`
    DELETE FROM webhook_endpoints e
    WHERE e.deleted_at IS NOT NULL AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.endpoint_id = e.id)`);
  return removed;
}
