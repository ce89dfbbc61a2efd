import { and, arrayContains, asc, eq, inArray, isNull, lt, not, or, sql } from 'drizzle-orm';
import { events } from '../audit/tables.ts';
import { idOfUuid } from '../base/ids.ts';
import type { JsonObject } from '../base/json.ts';
import { databaseNow } from '../db/database-clock.ts';
import type { Db, Tx } from '../db/db.ts';
import type { WebhookDeps } from './deps.ts';
import { followJournal } from './follow-journal.ts';
import { insertDeliveries, type NewDelivery } from './insert-deliveries.ts';
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
      const told = await tell(deps.db);
      made += told.deliveries;
      if (!told.isMore) break;
    }
  }
  return made;
}

async function tellEvents(db: Db): Promise<{ deliveries: number; isMore: boolean }> {
  return db.transaction(async (tx) => {
    const batch = await tx
      .select({ id: events.id })
      .from(events)
      .where(isNull(events.fannedOutAt))
      .orderBy(asc(events.id))
      .limit(BATCH)
      // Another process has those that are locked.
      .for('update', { skipLocked: true });
    if (batch.length === 0) return { deliveries: 0, isMore: false };

    const ids = batch.map(({ id }) => id);
    const inserted = await insertDeliveries(tx, await listWanted(tx, ids));
    await tx.update(events).set({ fannedOutAt: databaseNow }).where(inArray(events.id, ids));
    return { deliveries: inserted.length, isMore: batch.length === BATCH };
  });
}

/** Each of these events, for every endpoint that was there when it happened and wants to hear of it. */
async function listWanted(tx: Tx, ids: readonly string[]): Promise<NewDelivery[]> {
  const wanted = await tx
    .select({ event: events, endpointUuid: webhookEndpoints.id })
    .from(events)
    .innerJoin(
      webhookEndpoints,
      and(
        eq(webhookEndpoints.organizationId, events.organizationId),
        eq(webhookEndpoints.currency, events.currency),
        not(webhookEndpoints.isDisabled),
        // Compared here: a Date has only milliseconds, and an endpoint's first event may follow within one.
        lt(webhookEndpoints.createdAt, events.occurredAt),
        or(
          eq(webhookEndpoints.eventTypes, []),
          arrayContains(webhookEndpoints.eventTypes, sql`array[${events.type}]`),
        ),
      ),
    )
    .where(inArray(events.id, ids))
    .orderBy(asc(events.id));
  return wanted.map(({ event, endpointUuid }) => ({
    endpointUuid,
    eventId: idOfUuid('evt', event.id),
    type: event.type,
    occurredAt: event.occurredAt,
    data: event.data as JsonObject,
  }));
}
