import { sql } from 'drizzle-orm';
import {
  bigint,
  check,
  customType,
  date,
  index,
  integer,
  json,
  pgTable,
  primaryKey,
  text,
  timestamp,
  unique,
  uuid,
} from 'drizzle-orm/pg-core';
import { organizations } from '../identity/tables.ts';

const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' });
const count = () => bigint({ mode: 'bigint' });

/**
 * What one call that had credits on hold cost and how it ended: the exact bytes that are signed. Written in
 * the statement that resolves the hold, and never changed.
 */
export const receipts = pgTable(
  'receipts',
  {
    callId: uuid().primaryKey(),
    /** The buyer's balance. An organization has one chain for each currency. */
    accountId: count().notNull(),
    /** 1, 2, 3 … along the chain. */
    seq: count().notNull(),
    /** The JWS payload; its SHA-256 is the next receipt's `prev`. */
    payload: text().notNull(),
  },
  (table) => [
    unique('receipts_have_one_place_in_their_chain').on(table.accountId, table.seq),
    check('receipts_are_counted_from_one', sql`${table.seq} >= 1`),
  ],
);

/** The end of one chain of receipts. */
export const receiptChains = pgTable('receipt_chains', {
  accountId: count().primaryKey(),
  seq: count().notNull(),
  /** SHA-256 of the last receipt's payload. */
  head: bytea().notNull(),
});

/** Every public key receipts and proofs were ever signed with, so that old ones can still be checked. */
export const signingKeys = pgTable('signing_keys', {
  /** RFC 7638 thumbprint; the `kid` of the JWKS. */
  keyId: text().primaryKey(),
  publicJwk: json().$type<object>().notNull(),
  firstUsedAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
});

/** The signed statement of one day: the ledger sums to zero, and where every chain of receipts stood. */
export const proofs = pgTable('proofs', {
  day: date().primaryKey(),
  jws: text().notNull(),
  /** Every node of the hash tree over the chains, the leaves first: 32 bytes each. */
  tree: bytea().notNull(),
  createdAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
});

/** Where one chain stood in the proof of one day, so that its owner can be shown the way to the tree's root. */
export const proofChains = pgTable(
  'proof_chains',
  {
    day: date()
      .notNull()
      .references(() => proofs.day),
    accountId: count().notNull(),
    /** The place of its leaf in the tree, from 0. */
    leaf: integer().notNull(),
    seq: count().notNull(),
    head: bytea().notNull(),
  },
  (table) => [
    primaryKey({ name: 'proof_chains_are_one_per_day', columns: [table.day, table.accountId] }),
    unique('proof_chains_have_a_leaf_each').on(table.day, table.leaf),
  ],
);

/**
 * Something an organization may want to hear of, written in the transaction that made it true. The events of
 * single calls are not here: the journal already tells them in order.
 */
export const events = pgTable(
  'events',
  {
    /** `evt_…` without the prefix. */
    id: uuid().primaryKey(),
    organizationId: text()
      .notNull()
      .references(() => organizations.id),
    currency: text({ enum: ['live', 'test'] }).notNull(),
    type: text().notNull(),
    data: json().$type<object>().notNull(),
    occurredAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
    /** When deliveries were made of it, for the endpoints there were. */
    fannedOutAt: timestamp({ withTimezone: true }),
  },
  (table) => [
    index('events_to_fan_out')
      .on(table.id)
      .where(sql`${table.fannedOutAt} is null`),
    index('events_by_organization').on(table.organizationId, table.id),
  ],
);
