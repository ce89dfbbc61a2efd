import { sql } from 'drizzle-orm';
import {
  bigint,
  bigserial,
  boolean,
  check,
  index,
  integer,
  json,
  pgTable,
  text,
  timestamp,
  unique,
  uuid,
} from 'drizzle-orm/pg-core';
import { organizations } from '../identity/tables.ts';

/** An address of an organization that is told what happened to it. */
export const webhookEndpoints = pgTable(
  'webhook_endpoints',
  {
    /** `whe_…` without the prefix. */
    id: uuid().primaryKey(),
    organizationId: text()
      .notNull()
      .references(() => organizations.id),
    currency: text({ enum: ['live', 'test'] }).notNull(),
    url: text().notNull(),
    description: text().notNull().default(''),
    /** Empty means all of them. */
    eventTypes: text().array().notNull(),
    /** Standard Webhooks secret, `whsec_` and base64. */
    secret: text().notNull(),
    /** Signed with as well until then, so that a receiver can change over. */
    previousSecret: text(),
    previousSecretExpiresAt: timestamp({ withTimezone: true }),
    isDisabled: boolean().notNull().default(false),
    /** Why we stopped sending, when it was not asked for. */
    disabledReason: text(),
    createdAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
    /** Nobody sees it any more; its deliveries are removed little by little, and then the row. */
    deletedAt: timestamp({ withTimezone: true }),
  },
  (table) => [
    index('webhook_endpoints_by_organization').on(table.organizationId),
    check(
      'webhook_endpoints_old_secret_expires',
      sql`(${table.previousSecret} is null) = (${table.previousSecretExpiresAt} is null)`,
    ),
    check('webhook_endpoints_deleted_are_disabled', sql`${table.deletedAt} is null or ${table.isDisabled}`),
  ],
);

/** One event on its way to one endpoint. */
export const webhookDeliveries = pgTable(
  'webhook_deliveries',
  {
    /** `whd_…` without the prefix. */
    id: uuid().primaryKey(),
    endpointId: uuid()
      .notNull()
      .references(() => webhookEndpoints.id, { onDelete: 'cascade' }),
    /** The event's id as the receiver sees it in `webhook-id`: the same for every attempt, and for a replay. */
    eventId: text().notNull(),
    eventType: text().notNull(),
    payload: json().$type<object>().notNull(),
    status: text({ enum: ['pending', 'delivered', 'failed'] })
      .notNull()
      .default('pending'),
    /** Since it was made, or replayed: what the wait for the next one goes by. */
    attempts: integer().notNull().default(0),
    nextAttemptAt: timestamp({ withTimezone: true }),
    /** Some process is sending it. When it dies, another may from then on. */
    leasedUntil: timestamp({ withTimezone: true }),
    lastStatus: integer(),
    lastError: text(),
    createdAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
    deliveredAt: timestamp({ withTimezone: true }),
  },
  (table) => [
    unique('webhook_deliveries_are_made_once').on(table.endpointId, table.eventId),
    // By endpoint first, so that those due are found for each of them, however many wait for another.
    index('webhook_deliveries_due')
      .on(table.endpointId, table.nextAttemptAt)
      .where(sql`${table.status} = 'pending'`),
    index('webhook_deliveries_by_endpoint').on(table.endpointId, table.id),
    index('webhook_deliveries_failed')
      .on(table.endpointId, table.id)
      .where(sql`${table.status} = 'failed'`),
    check(
      'webhook_deliveries_pending_have_a_time',
      sql`(${table.status} = 'pending') = (${table.nextAttemptAt} is not null)`,
    ),
    check(
      'webhook_deliveries_only_pending_are_leased',
      sql`${table.leasedUntil} is null or ${table.status} = 'pending'`,
    ),
  ],
);

/** One attempt to deliver: the delivery log. */
export const webhookAttempts = pgTable(
  'webhook_attempts',
  {
    id: bigserial({ mode: 'bigint' }).primaryKey(),
    deliveryId: uuid()
      .notNull()
      .references(() => webhookDeliveries.id, { onDelete: 'cascade' }),
    at: timestamp({ withTimezone: true }).notNull(),
    durationMs: integer().notNull(),
    /** The HTTP status, unless there was no answer. */
    status: integer(),
    error: text(),
    /** The first characters of what the receiver answered. */
    answer: text(),
  },
  (table) => [index('webhook_attempts_by_delivery').on(table.deliveryId, table.id)],
);

/**
 * How far a reader has followed the journal to tell of calls. There is one row. Rows are numbered in the order
 * they are made and not in the order they are committed, so it goes by marks: a number, and who was writing
 * to the journal after it was given. Once none of those is still at it, every row up to the number is there to
 * be read, or never will be.
 */
export const webhookCursor = pgTable(
  'webhook_cursor',
  {
    id: integer().primaryKey(),
    /** The journal rows up to this number were told. */
    seq: bigint({ mode: 'bigint' }).notNull(),
    markSeq: bigint({ mode: 'bigint' }).notNull(),
    /** Their virtual transactions, as `pg_locks` names them. */
    markWriters: text().array().notNull(),
  },
  (table) => [check('webhook_cursor_is_one_row', sql`${table.id} = 1`)],
);
