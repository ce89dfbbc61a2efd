import { sql } from 'drizzle-orm';
import {
  bigint,
  boolean,
  check,
  date,
  index,
  integer,
  json,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uuid,
} from 'drizzle-orm/pg-core';
import type { CallAnswer } from './call.ts';

const micros = () => bigint({ mode: 'bigint' });

/**
 * One attempt to make a paid call, refusals included: who asked, for what, how it ended and what it cost.
 * Written when the call has ended; arguments and answers are not here.
 */
export const calls = pgTable(
  'calls',
  {
    id: uuid().primaryKey(),
    organizationId: text().notNull(),
    keyId: text().notNull(),
    /** As asked for: it may name no agent there is. */
    agentId: text().notNull(),
    agentVersion: text(),
    currency: text({ enum: ['live', 'test'] }).notNull(),
    wire: text({ enum: ['mcp', 'rest', 'sweeper'] }).notNull(),
    outcome: text({ enum: ['settled', 'refunded', 'refused', 'replayed'] }).notNull(),
    /** The call whose answer was given again, free, when this one was `replayed`. */
    replayOf: uuid(),
    /** The problem code, unless the call was settled. */
    code: text(),
    heldMicros: micros().notNull(),
    chargedMicros: micros().notNull(),
    feeMicros: micros().notNull(),
    requestId: text().notNull(),
    /** The run or MCP connection the call belongs to, as the client named it. */
    session: text(),
    /** On whose behalf the key called: a person or another agent, as the client named it. */
    actingFor: text(),
    /** The agent reported more than the hold could pay; the charge was cut to the hold. */
    isOverReported: boolean().notNull().default(false),
    /** False when the buyer had gone before the answer was ready. */
    isDelivered: boolean().notNull(),
    upstreamMs: integer(),
    startedAt: timestamp({ withTimezone: true }).notNull(),
    endedAt: timestamp({ withTimezone: true }).notNull(),
  },
  (table) => [
    index('calls_by_organization').on(table.organizationId, table.id),
    check('calls_outcome_is_known', sql`${table.outcome} in ('settled', 'refunded', 'refused', 'replayed')`),
    check('calls_charge_at_most_the_hold', sql`${table.chargedMicros} between 0 and ${table.heldMicros}`),
    check('calls_fee_is_part_of_charge', sql`${table.feeMicros} between 0 and ${table.chargedMicros}`),
    check('calls_charge_only_when_settled', sql`${table.outcome} = 'settled' or ${table.chargedMicros} = 0`),
    check(
      'calls_hold_only_when_settled_or_refunded',
      sql`${table.outcome} in ('settled', 'refunded') or ${table.heldMicros} = 0`,
    ),
    check(
      'calls_replay_names_the_call',
      sql`(${table.outcome} = 'replayed') = (${table.replayOf} is not null)`,
    ),
    check(
      'calls_code_says_why_there_is_no_answer',
      sql`(${table.outcome} in ('settled', 'replayed')) = (${table.code} is null)`,
    ),
  ],
);

/**
 * An answer kept for 24 hours: because an idempotency key may ask for it again, or because the buyer had
 * gone and never saw it. Without an answer, the call is still running after its buyer hung up.
 */
export const callResults = pgTable(
  'call_results',
  {
    callId: uuid().primaryKey(),
    keyId: text().notNull(),
    /** SHA-256 over agent, version and canonical arguments: what makes two calls the same purchase. */
    requestHash: text().notNull(),
    /** `json` and not `jsonb`: given again as it was given first, member order and all, and a NUL in a text is kept. */
    answer: json().$type<CallAnswer>(),
    /** Until when the next identical call gets it free; null once somebody has received it. */
    handoverUntil: timestamp({ withTimezone: true }),
    expiresAt: timestamp({ withTimezone: true }).notNull(),
  },
  (table) => [
    index('call_results_to_hand_over')
      .on(table.keyId, table.requestHash)
      .where(sql`${table.handoverUntil} is not null`),
    index('call_results_by_expiry').on(table.expiresAt),
  ],
);

/**
 * A resource that an answer links to and that only the agent's server has: the key that bought the answer may read it
 * there. Of two answers that name the same one, the later counts.
 */
export const linkedResources = pgTable(
  'linked_resources',
  {
    keyId: text().notNull(),
    /** SHA-256 of the URI, which may be longer than an index takes. */
    uriHash: text().notNull(),
    callId: uuid().notNull(),
    agentId: text().notNull(),
    expiresAt: timestamp({ withTimezone: true }).notNull(),
  },
  (table) => [
    primaryKey({ name: 'linked_resources_are_one_per_key_and_uri', columns: [table.keyId, table.uriHash] }),
    index('linked_resources_by_expiry').on(table.expiresAt),
  ],
);

/**
 * One call that took a place of a buyer's free calls of an agent in a month. It counts while the call is
 * under way or settled; a refunded one no longer does. Once it has ended the next one to take a place counts
 * it in the month's row and removes it here.
 */
export const freeCalls = pgTable(
  'free_calls',
  {
    callId: uuid().primaryKey(),
    /** The buyer's balance: free calls with test credits are counted apart. */
    accountId: bigint({ mode: 'bigint' }).notNull(),
    agentId: text().notNull(),
    /** The first day of the UTC month. */
    month: date().notNull(),
    takenAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [index('free_calls_of_a_month').on(table.accountId, table.agentId, table.month)],
);

/** How many free calls of an agent a buyer has had in a month, but for those still in `free_calls`. */
export const freeCallMonths = pgTable(
  'free_call_months',
  {
    accountId: bigint({ mode: 'bigint' }).notNull(),
    agentId: text().notNull(),
    month: date().notNull(),
    settledCalls: integer().notNull().default(0),
  },
  (table) => [
    primaryKey({
      name: 'free_call_months_are_counted_once',
      columns: [table.accountId, table.agentId, table.month],
    }),
    check('free_call_months_count_up', sql`${table.settledCalls} >= 0`),
  ],
);

/**
 * The price of an agent a key was last shown, by its number among the prices the agent has had. For a day after it
 * was last shown it is the most the key pays, until it is shown another one.
 */
export const priceListings = pgTable(
  'price_listings',
  {
    keyId: text().notNull(),
    agentId: text().notNull(),
    priceNumber: integer().notNull(),
    shownAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [
    primaryKey({
      name: 'price_listings_are_one_per_key_and_agent',
      columns: [table.keyId, table.agentId],
    }),
    check('price_listings_number_is_positive', sql`${table.priceNumber} >= 1`),
  ],
);
