import { and, asc, eq, isNull, sql } from 'drizzle-orm';
import { EVENT_TYPES, type EventType } from '../audit/events.ts';
import { idOfUuid, newId, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import type { Currency } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { databaseNow, databaseNowPlus } from '../db/database-clock.ts';
import type { Db, Tx } from '../db/db.ts';
import { newWebhookSecret } from './signature.ts';
import { webhookEndpoints } from './tables.ts';

/** Whose webhooks: an organization has its own for live and for test credits, and neither sees the other's. */
export type WebhookOwner = { organizationId: string; currency: Currency };

/** An endpoint as its owner sees it. The secret is shown by what made it, and never again. */
export type WebhookEndpoint = {
  id: string;
  url: string;
  description: string;
  /** Every type, when none was chosen. */
  eventTypes: EventType[];
  isDisabled: boolean;
  disabledReason: string | undefined;
  /** Until then what is sent is signed with the secret before this one too. */
  previousSecretExpiresAt: Date | undefined;
  createdAt: Date;
};

export type EndpointWish = { url: string; description: string; eventTypes: readonly EventType[] };

export const MAX_ENDPOINTS = 20;
/** How long after a rotation the old secret signs as well. */
export const ROTATION_MS = 24 * 3_600_000;

/** Makes an endpoint. It hears of what happens from now on. */
export async function insertEndpoint(
  tx: Tx,
  owner: WebhookOwner,
  wish: EndpointWish,
): Promise<{ endpoint: WebhookEndpoint; secret: string }> {
  // Those who make one at the same moment are counted one after the other.
  await tx.execute(
    sql`SELECT pg_advisory_xact_lock(hashtextextended(${`webhooks ${owner.organizationId} ${owner.currency}`}, 0))`,
  );
  if ((await listEndpoints(tx, owner)).length >= MAX_ENDPOINTS) {
    throw new Problem(
      'CONFLICT',
      `An organization has at most ${MAX_ENDPOINTS} webhooks. Delete one, or send to a URL that passes on.`,
    );
  }
  const id = uuidOfId('whe', newId('whe'));
  invariant(id !== undefined, 'a new id is one of its kind');
  const secret = newWebhookSecret();
  const [row] = await tx
    .insert(webhookEndpoints)
    .values({ id, ...owner, ...wish, eventTypes: [...wish.eventTypes], secret })
    .returning();
  invariant(row, 'an inserted row is returned');
  return { endpoint: endpointOf(row), secret };
}

/** Oldest first. */
export async function listEndpoints(db: Db | Tx, owner: WebhookOwner): Promise<WebhookEndpoint[]> {
  const rows = await db
    .select()
    .from(webhookEndpoints)
    .where(ownedBy(owner))
    .orderBy(asc(webhookEndpoints.id));
  return rows.map(endpointOf);
}

export async function getEndpoint(db: Db | Tx, owner: WebhookOwner, id: string): Promise<WebhookEndpoint> {
  const uuid = uuidOfId('whe', id);
  const [row] =
    uuid === undefined
      ? []
      : await db
          .select()
          .from(webhookEndpoints)
          .where(and(eq(webhookEndpoints.id, uuid), ownedBy(owner)));
  if (!row) throw noEndpoint();
  return endpointOf(row);
}

/**
 * Changes what is given. A disabled endpoint is told nothing: what is on its way waits, and what happens
 * meanwhile is not kept for it.
 */
export async function updateEndpoint(
  tx: Tx,
  owner: WebhookOwner,
  id: string,
  changes: Partial<EndpointWish> & { isDisabled?: boolean },
): Promise<WebhookEndpoint> {
  const { eventTypes, isDisabled, ...rest } = changes;
  return change(tx, owner, id, {
    ...rest,
    ...(eventTypes === undefined ? {} : { eventTypes: [...eventTypes] }),
    ...(isDisabled === undefined ? {} : { isDisabled, disabledReason: null }),
  });
}

/** A new secret; the one it replaces signs as well for a day, and one before that no longer. */
export async function rotateSecret(
  tx: Tx,
  owner: WebhookOwner,
  id: string,
): Promise<{ endpoint: WebhookEndpoint; secret: string }> {
  const secret = newWebhookSecret();
  const endpoint = await change(tx, owner, id, {
    previousSecret: sql`${webhookEndpoints.secret}`,
    previousSecretExpiresAt: databaseNowPlus(ROTATION_MS),
    secret,
  });
  return { endpoint, secret };
}

/** Nobody sees it any more and nothing is sent; `forgetDeliveries` removes what belongs to it. */
export async function markDeleted(tx: Tx, owner: WebhookOwner, id: string): Promise<WebhookEndpoint> {
  return change(tx, owner, id, { isDisabled: true, deletedAt: databaseNow });
}

/** The receiver said that it is gone for good. */
export async function markGone(db: Db, endpointUuid: string, url: string): Promise<void> {
  await db
    .update(webhookEndpoints)
    .set({ isDisabled: true, disabledReason: 'The receiver answered 410 Gone.' })
    // Of another URL, that was put in its place meanwhile, nothing was said.
    .where(and(eq(webhookEndpoints.id, endpointUuid), eq(webhookEndpoints.url, url)));
}

type Changes = Parameters<ReturnType<Tx['update']>['set']>[0];

async function change(tx: Tx, owner: WebhookOwner, id: string, changes: Changes): Promise<WebhookEndpoint> {
  // Also refuses what is not theirs, before anything is changed.
  const known = await getEndpoint(tx, owner, id);
  if (Object.keys(changes).length === 0) return known;
  const [row] = await tx
    .update(webhookEndpoints)
    .set(changes)
    .where(and(eq(webhookEndpoints.id, uuidOfId('whe', id) ?? ''), ownedBy(owner)))
    .returning();
  if (!row) throw noEndpoint();
  return endpointOf(row);
}

export function ownedBy({ organizationId, currency }: WebhookOwner) {
  return and(
    eq(webhookEndpoints.organizationId, organizationId),
    eq(webhookEndpoints.currency, currency),
    isNull(webhookEndpoints.deletedAt),
  );
}

function noEndpoint(): Problem {
  return new Problem('NOT_FOUND', 'There is no such webhook.');
}

function endpointOf(row: typeof webhookEndpoints.$inferSelect): WebhookEndpoint {
  return {
    id: idOfUuid('whe', row.id),
    url: row.url,
    description: row.description,
    eventTypes: row.eventTypes.length === 0 ? [...EVENT_TYPES] : (row.eventTypes as EventType[]),
    isDisabled: row.isDisabled,
    disabledReason: row.disabledReason ?? undefined,
    previousSecretExpiresAt: row.previousSecretExpiresAt ?? undefined,
    createdAt: row.createdAt,
  };
}
