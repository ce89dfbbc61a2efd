import { sql } from 'drizzle-orm';
import { newId, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import type { JsonObject } from '../base/json.ts';
import { databaseNow } from '../db/database-clock.ts';
import type { Tx } from '../db/db.ts';

/** One event for one endpoint. */
export type NewDelivery = {
  endpointUuid: string;
  /** What the receiver knows the event by: the same event is delivered to an endpoint once. */
  eventId: string;
  type: string;
  occurredAt: Date;
  data: JsonObject;
};

/**
 * Writes deliveries, due at once, and answers how many. One that was written before is passed over, so whoever
 * is unsure writes again.
 */
export async function insertDeliveries(tx: Tx, deliveries: readonly NewDelivery[]): Promise<string[]> {
  if (deliveries.length === 0) return [];
  const ids = deliveries.map(() => {
    const id = uuidOfId('whd', newId('whd'));
    invariant(id !== undefined, 'a new id is one of its kind');
    return id;
  });
  const { rows } = await tx.execute<{ id: string }>(sql`
    INSERT INTO webhook_deliveries (id, endpoint_id, event_id, event_type, payload, next_attempt_at)
    SELECT id, endpoint_id, event_id, event_type, payload::json, ${databaseNow}
    FROM unnest(
      ${sql.param(ids)}::uuid[],
      ${sql.param(deliveries.map((each) => each.endpointUuid))}::uuid[],
      ${sql.param(deliveries.map((each) => each.eventId))}::text[],
      ${sql.param(deliveries.map((each) => each.type))}::text[],
      ${sql.param(deliveries.map(payloadOf))}::text[]
    ) AS new (id, endpoint_id, event_id, event_type, payload)
    ON CONFLICT (endpoint_id, event_id) DO NOTHING
    RETURNING id`);
  return rows.map(({ id }) => id);
}

/** The body of every attempt, in the form of Standard Webhooks. It is signed byte for byte as it is kept. */
function payloadOf({ type, occurredAt, data }: NewDelivery): string {
  return JSON.stringify({ type, timestamp: occurredAt.toISOString(), data });
}
