import { sql } from 'drizzle-orm';
import {
  bigint,
  boolean,
  check,
  index,
  integer,
  json,
  pgTable,
  text,
  timestamp,
  uuid,
} from 'drizzle-orm/pg-core';
import type { CallAnswer, Receipt } from './call.ts';

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
    receipt: json().$type<Receipt>(),
    /** Until when the next identical call gets it free; null once somebody has received it. */
    handoverUntil: timestamp({ withTimezone: true }),
    expiresAt: timestamp({ withTimezone: true }).notNull(),
  },
  (table) => [
    index('call_results_to_hand_over')
      .on(table.keyId, table.requestHash)
      .where(sql`${table.handoverUntil} is not null`),
    index('call_results_by_expiry').on(table.expiresAt),
    check('call_results_answer_has_a_receipt', sql`(${table.answer} is null) = (${table.receipt} is null)`),
  ],
);
