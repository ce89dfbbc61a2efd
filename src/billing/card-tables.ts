import { sql } from 'drizzle-orm';
import { bigint, boolean, check, index, pgTable, text, timestamp, uuid } from 'drizzle-orm/pg-core';
import { topUps } from './tables.ts';

const cents = () => bigint({ mode: 'bigint' });

/**
 * A refund of a payment to its card, which may have several. How far it is only rises: pending, succeeded, and
 * then, up to weeks later, canceled or failed when the money came back.
 */
export const cardRefunds = pgTable(
  'card_refunds',
  {
    /** Stripe's name of it, `re_…`. */
    refundId: text().primaryKey(),
    topUpId: uuid()
      .notNull()
      .references(() => topUps.id),
    state: text({ enum: ['pending', 'succeeded', 'canceled', 'failed'] }).notNull(),
    /** Stripe's own word for that state; none for a refund from before it was kept. */
    stripeStatus: text(),
    cents: cents().notNull(),
  },
  (table) => [
    index('card_refunds_by_top_up').on(table.topUpId),
    check(
      'card_refunds_state_is_known',
      sql`${table.state} in ('pending', 'succeeded', 'canceled', 'failed')`,
    ),
    check('card_refunds_cents_are_positive', sql`${table.cents} > 0`),
  ],
);

/**
 * A card dispute (chargeback) of a payment, which may have several. It moves only forward: an inquiry, which takes
 * no money and may stay one, then open, then won or lost.
 */
export const cardDisputes = pgTable(
  'card_disputes',
  {
    /** Stripe's name of it, `du_…`. */
    disputeId: text().primaryKey(),
    topUpId: uuid()
      .notNull()
      .references(() => topUps.id),
    state: text({ enum: ['inquiry', 'open', 'won', 'lost'] }).notNull(),
    /** Stripe's own word for that state; none for a dispute from before it was kept. */
    stripeStatus: text(),
    cents: cents().notNull(),
  },
  (table) => [
    index('card_disputes_by_top_up').on(table.topUpId),
    check('card_disputes_state_is_known', sql`${table.state} in ('inquiry', 'open', 'won', 'lost')`),
    check('card_disputes_cents_are_not_negative', sql`${table.cents} >= 0`),
  ],
);

/** The card's bank has told Stripe that a payment looks like fraud: often a dispute follows, unless it is refunded. */
export const earlyFraudWarnings = pgTable(
  'early_fraud_warnings',
  {
    /** Stripe's name of it, `issfr_…`. */
    warningId: text().primaryKey(),
    topUpId: uuid()
      .notNull()
      .references(() => topUps.id),
    /** In the words of the card network, also ones we do not know. */
    fraudType: text().notNull(),
    /** Nothing was refunded or disputed yet. Only ever becomes false. */
    isActionable: boolean().notNull(),
    warnedAt: timestamp({ withTimezone: true }).notNull(),
  },
  (table) => [index('early_fraud_warnings_by_top_up').on(table.topUpId)],
);
