import { sql } from 'drizzle-orm';
import { bigint, check, index, integer, pgTable, text, timestamp, uniqueIndex } from 'drizzle-orm/pg-core';

/** A tenant: it owns API keys and balances, and may buy, sell, or both. */
export const organizations = pgTable(
  'organizations',
  {
    id: text().primaryKey(),
    name: text().notNull(),
    createdAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [check('organizations_name_is_not_blank', sql`length(btrim(${table.name})) > 0`)],
);

/** A credential of an organization. The key itself is not here: only its SHA-256, and enough to recognise it. */
export const apiKeys = pgTable(
  'api_keys',
  {
    id: text().primaryKey(),
    organizationId: text()
      .notNull()
      .references(() => organizations.id),
    name: text().notNull(),
    /** SHA-256 of the whole key, lower-case hex. A key has 160 random bits, so no slow hash is needed. */
    secretHash: text().notNull(),
    /** The last four characters, to tell keys apart in a list. */
    lastFour: text().notNull(),
    currency: text({ enum: ['live', 'test'] }).notNull(),
    scopes: text().array().notNull(),
    maxPerCallMicros: bigint({ mode: 'bigint' }),
    ratePerMinute: integer().notNull(),
    maxConcurrent: integer().notNull(),
    /** The ledger account this key spends from. */
    accountId: bigint({ mode: 'bigint' }).notNull(),
    /** The ledger's spend meter of this key, when it has a day, month or total cap. */
    meterId: bigint({ mode: 'bigint' }),
    createdAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
    revokedAt: timestamp({ withTimezone: true }),
  },
  (table) => [
    check('api_keys_currency_is_known', sql`${table.currency} in ('live', 'test')`),
    check('api_keys_max_per_call_is_not_negative', sql`${table.maxPerCallMicros} >= 0`),
    check('api_keys_rate_is_positive', sql`${table.ratePerMinute} > 0 and ${table.maxConcurrent} > 0`),
    uniqueIndex('api_keys_secret_is_unique').on(table.secretHash),
    index('api_keys_by_organization').on(table.organizationId),
  ],
);
