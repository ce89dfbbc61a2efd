import { and, asc, inArray, isNull, sql } from 'drizzle-orm';
import { events } from '../audit/tables.ts';
import { idOfUuid } from '../base/ids.ts';
import type { JsonObject } from '../base/json.ts';
import type { Db } from '../db/db.ts';
import type { WebhookDeps } from './deps.ts';
import { followJournal } from './follow-journal.ts';
import { insertDeliveries } from './insert-deliveries.ts';
import { webhookEndpoints } from './tables.ts';

const BATCH = 500;
/** One round trip more than this of work, and the next run goes on: what is due must be sent as well. */
const MOST_BATCHES = 20;

/**
 * Makes deliveries of what happened, for every endpoint that wants to hear of it: of the events that were
 * written with what they tell of, and of the calls in the journal. Answers how many it made. Each batch is
 * one transaction that also notes how far it came, so whatever stops it, nothing is lost or told twice.
 */
export async function fanOut(deps: WebhookDeps): Promise<number> {
  let made = 0;
  for (const tell of [tellEvents, followJournal]) {
    for (let batch = 0; batch < MOST_BATCHES; batch += 1) {
      const told = await tell(deps.db, deps.clock.now());
      made += told.deliveries;
      if (!told.isMore) break;
    }
  }
  return made;
}

async function tellEvents(db: Db, now: number): Promise<{ deliveries: number; isMore: boolean }> {
  return db.transaction(async (tx) => {
    const batch = await tx
      .select()
      .from(events)
      .where(isNull(events.fannedOutAt))
      .orderBy(asc(events.id))
      .limit(BATCH)
      // Another process has those that are locked.
      .for('update', { skipLocked: true });
    if (batch.length === 0) return { deliveries: 0, isMore: false };

    const organizations = [...new Set(batch.map((event) => event.organizationId))];
    const endpoints = await tx
      .select()
      .from(webhookEndpoints)
      .where(
        and(inArray(webhookEndpoints.organizationId, organizations), sql`not ${webhookEndpoints.isDisabled}`),
      );
    const wanted = batch.flatMap((event) =>
      endpoints
        .filter(
          (endpoint) =>
            endpoint.organizationId === event.organizationId &&
            endpoint.currency === event.currency &&
            (endpoint.eventTypes.length === 0 || endpoint.eventTypes.includes(event.type)) &&
            endpoint.createdAt < event.occurredAt,
        )
        .map((endpoint) => ({
          endpointUuid: endpoint.id,
          eventId: idOfUuid('evt', event.id),
          type: event.type,
          occurredAt: event.occurredAt,
          data: event.data as JsonObject,
        })),
    );
    const inserted = await insertDeliveries(tx, wanted, now);
    await tx
      .update(events)
      .set({ fannedOutAt: new Date(now) })
      .where(
        inArray(
          events.id,
          batch.map(({ id }) => id),
        ),
      );
    return { deliveries: inserted.length, isMore: batch.length === BATCH };
  });
}
