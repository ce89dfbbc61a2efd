import { sql } from 'drizzle-orm';
import { databaseNow, readDatabaseClock } from '../db/database-clock.ts';
import { removeInBatches } from '../db/remove-in-batches.ts';
import type { WebhookDeps } from './deps.ts';
import { webhookDeliveries } from './tables.ts';

/** How long a delivery, its attempts and its payload are kept. */
export const KEEP_MS = 30 * 24 * 3_600_000;

/**
 * Removes deliveries older than 30 days with their logs, then endpoints that were deleted with all of theirs.
 * Answers how many deliveries it removed.
 */
export async function forgetDeliveries({ db }: Pick<WebhookDeps, 'db'>): Promise<number> {
  // Ids begin with the milliseconds they were made at (RFC 9562 section 5.7), so age needs no index of its own.
  const oldest = (await readDatabaseClock(db)).getTime() - KEEP_MS;
  const bound = oldest.toString(16).padStart(12, '0').padEnd(32, '0');
  const isOld = sql`id < ${bound}::uuid`;
  const isOrphan = sql`endpoint_id IN (SELECT id FROM webhook_endpoints WHERE deleted_at IS NOT NULL)`;
  // What is being sent has an end still to be recorded.
  const isIdle = sql`(leased_until IS NULL OR leased_until <= ${databaseNow})`;
  let removed = 0;
  for (const condition of [isOld, isOrphan]) {
    removed += await removeInBatches(db, webhookDeliveries, sql`${condition} AND ${isIdle}`);
  }
  await db.execute(sql`
    DELETE FROM webhook_endpoints e
    WHERE e.deleted_at IS NOT NULL AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.endpoint_id = e.id)`);
  return removed;
}
