import { and, asc, desc, eq, lt, sql } from 'drizzle-orm';
import { idOfUuid, newId, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import type { JsonObject } from '../base/json.ts';
import { Problem } from '../base/problem.ts';
import { databaseNow, readDatabaseClock } from '../db/database-clock.ts';
import type { Db, Tx } from '../db/db.ts';
import { getEndpoint, ownedBy, type WebhookOwner } from './endpoints.ts';
import { insertDeliveries } from './insert-deliveries.ts';
import { webhookAttempts, webhookDeliveries, webhookEndpoints } from './tables.ts';

export const DELIVERY_STATUSES = ['pending', 'delivered', 'failed'] as const;
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number];

/** One event on its way to one endpoint, as the endpoint's owner sees it. */
export type Delivery = {
  id: string;
  endpointId: string;
  eventId: string;
  type: string;
  status: DeliveryStatus;
  attempts: number;
  nextAttemptAt: Date | undefined;
  lastStatus: number | undefined;
  lastError: string | undefined;
  createdAt: Date;
  deliveredAt: Date | undefined;
};

export type DeliveryDetail = Delivery & {
  payload: JsonObject;
  /** Oldest first. */
  log: { at: Date; durationMs: number; status: number | null; error: string | null; answer: string | null }[];
};

/** What says that a receiver works; it is none of the events that can be chosen, and sent to whoever asks. */
export const TEST_TYPE = 'webhook.test';
const MOST_PENDING_TESTS = 5;

/** Newest first. `before` is the last delivery id of the page before. */
export async function listDeliveries(
  db: Db,
  owner: WebhookOwner,
  endpointId: string,
  page: { status: DeliveryStatus | undefined; before: string | undefined; limit: number },
): Promise<Delivery[]> {
  const { id } = await getEndpoint(db, owner, endpointId);
  const rows = await db
    .select()
    .from(webhookDeliveries)
    .where(
      and(
        eq(webhookDeliveries.endpointId, uuidOfId('whe', id) ?? ''),
        page.status === undefined ? undefined : eq(webhookDeliveries.status, page.status),
        page.before === undefined ? undefined : lt(webhookDeliveries.id, page.before),
      ),
    )
    .orderBy(desc(webhookDeliveries.id))
    .limit(page.limit);
  return rows.map(deliveryOf);
}

export async function getDelivery(db: Db | Tx, owner: WebhookOwner, id: string): Promise<DeliveryDetail> {
  const uuid = uuidOfId('whd', id);
  if (uuid === undefined) throw noDelivery();
  const [row] = await db
    .select({ delivery: webhookDeliveries })
    .from(webhookDeliveries)
    .innerJoin(webhookEndpoints, eq(webhookEndpoints.id, webhookDeliveries.endpointId))
    .where(and(eq(webhookDeliveries.id, uuid), ownedBy(owner)));
  if (!row) throw noDelivery();
  const log = await db
    .select()
    .from(webhookAttempts)
    .where(eq(webhookAttempts.deliveryId, uuid))
    .orderBy(asc(webhookAttempts.id));
  return {
    ...deliveryOf(row.delivery),
    payload: row.delivery.payload as JsonObject,
    log: log.map(({ at, durationMs, status, error, answer }) => ({ at, durationMs, status, error, answer })),
  };
}

/**
 * Makes a delivery due now, whatever became of it, with all its attempts before it; its event keeps its id, so
 * a receiver that had it knows. One that is being sent at this moment is left to that.
 */
export async function replayDelivery(tx: Tx, owner: WebhookOwner, id: string): Promise<DeliveryDetail> {
  const { endpointId } = await getDelivery(tx, owner, id);
  await refuseDisabled(tx, owner, endpointId);
  await tx
    .update(webhookDeliveries)
    .set({ status: 'pending', attempts: 0, nextAttemptAt: databaseNow, leasedUntil: null, deliveredAt: null })
    .where(
      and(
        eq(webhookDeliveries.id, uuidOfId('whd', id) ?? ''),
        sql`(${webhookDeliveries.leasedUntil} is null or ${webhookDeliveries.leasedUntil} <= ${databaseNow})`,
      ),
    );
  return getDelivery(tx, owner, id);
}

/** Sends the endpoint something of no meaning, through all that a real event goes through. */
export async function insertTestDelivery(
  tx: Tx,
  owner: WebhookOwner,
  endpointId: string,
): Promise<DeliveryDetail> {
  await refuseDisabled(tx, owner, endpointId);
  await refuseManyTests(tx, endpointId);
  const [uuid] = await insertDeliveries(tx, [
    {
      endpointUuid: uuidOfId('whe', endpointId) ?? '',
      eventId: newId('evt'),
      type: TEST_TYPE,
      occurredAt: await readDatabaseClock(tx),
      data: { webhook_id: endpointId, currency: owner.currency },
    },
  ]);
  invariant(uuid !== undefined, 'a new event is delivered');
  return getDelivery(tx, owner, idOfUuid('whd', uuid));
}

async function refuseDisabled(tx: Tx, owner: WebhookOwner, endpointId: string): Promise<void> {
  const endpoint = await getEndpoint(tx, owner, endpointId);
  if (!endpoint.isDisabled) return;
  throw new Problem('CONFLICT', 'The webhook is disabled, so nothing is sent to it. Enable it first.');
}

/** Every test is a request to somebody's server, and stands before what others are to be told. */
async function refuseManyTests(tx: Tx, endpointId: string): Promise<void> {
  // Those who test at the same moment are counted one after the other.
  await tx.execute(sql`SELECT pg_advisory_xact_lock(hashtextextended(${`webhook tests ${endpointId}`}, 0))`);
  const pending = await tx
    .select({ id: webhookDeliveries.id })
    .from(webhookDeliveries)
    .where(
      and(
        eq(webhookDeliveries.endpointId, uuidOfId('whe', endpointId) ?? ''),
        eq(webhookDeliveries.status, 'pending'),
        eq(webhookDeliveries.eventType, TEST_TYPE),
      ),
    )
    .limit(MOST_PENDING_TESTS);
  if (pending.length < MOST_PENDING_TESTS) return;
  throw new Problem(
    'RATE_LIMITED',
    `${MOST_PENDING_TESTS} tests of this webhook are still on their way. Look at its deliveries, and test again when one has ended.`,
    { retry_after_seconds: 60 },
  );
}

function noDelivery(): Problem {
  return new Problem('NOT_FOUND', 'There is no such delivery.');
}

function deliveryOf(row: typeof webhookDeliveries.$inferSelect): Delivery {
  return {
    id: idOfUuid('whd', row.id),
    endpointId: idOfUuid('whe', row.endpointId),
    eventId: row.eventId,
    type: row.eventType,
    status: row.status,
    attempts: row.attempts,
    nextAttemptAt: row.nextAttemptAt ?? undefined,
    lastStatus: row.lastStatus ?? undefined,
    lastError: row.lastError ?? undefined,
    createdAt: row.createdAt,
    deliveredAt: row.deliveredAt ?? undefined,
  };
}
