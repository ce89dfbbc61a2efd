import { sql } from 'drizzle-orm';
import {
  bigint,
  boolean,
  check,
  date,
  index,
  integer,
  pgTable,
  primaryKey,
  text,
  timestamp,
  unique,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core';
import { organizations } from '../identity/tables.ts';

const micros = () => bigint({ mode: 'bigint' });
const cents = () => bigint({ mode: 'bigint' });
const currency = () => text({ enum: ['live', 'test'] }).notNull();
const organizationId = () =>
  text()
    .notNull()
    .references(() => organizations.id);

/** Who an organization is to Stripe, and the card it lets us charge when it is not there. */
export const stripeCustomers = pgTable(
  'stripe_customers',
  {
    organizationId: organizationId(),
    currency: currency(),
    customerId: text().notNull(),
    /** Saved with the buyer's consent, for automatic top-ups. */
    paymentMethodId: text(),
    cardBrand: text(),
    cardLastFour: text(),
  },
  (table) => [
    primaryKey({
      name: 'stripe_customers_are_one_per_currency',
      columns: [table.organizationId, table.currency],
    }),
    unique('stripe_customers_belong_to_one').on(table.customerId),
  ],
);

/**
 * Credits an organization buys with a card: one payment, one lot of credits. What Stripe has told about the
 * payment only ever adds up, whatever order it came in; what the ledger did about it is beside it.
 */
export const topUps = pgTable(
  'top_ups',
  {
    /** `top_…` without the prefix; also the id of the journal row that loads the credits. */
    id: uuid().primaryKey(),
    organizationId: organizationId(),
    currency: currency(),
    accountId: bigint({ mode: 'bigint' }).notNull(),
    /** The key that asked; none for an automatic one. */
    keyId: text(),
    isAutomatic: boolean().notNull(),
    /** Chosen by the client, so that asking again makes no second payment. */
    idempotencyKey: text(),
    amountCents: cents().notNull(),
    status: text({ enum: ['open', 'paid', 'failed', 'abandoned'] }).notNull(),
    failure: text(),
    sessionId: text(),
    paymentUrl: text(),
    paymentIntentId: text(),
    chargeId: text(),
    receiptUrl: text(),
    /** Stripe's own word for how far the payment is, also one we have no rule for; see `stripe-states.ts`. */
    paymentState: text(),
    invoiceId: text(),
    invoiceUrl: text(),
    savesCard: boolean().notNull().default(false),
    /** What its card refunds ever came to, also those that failed: all known by id, or the greatest total told. */
    refundedCents: cents()
      .notNull()
      .default(sql`0`),
    /** What of that never reached the card, or came back from it: refunds that failed or were canceled. */
    failedRefundCents: cents()
      .notNull()
      .default(sql`0`),
    /** Of all its card disputes (chargebacks): open while one is, then lost when one was. */
    cardDispute: text({ enum: ['none', 'open', 'won', 'lost'] })
      .notNull()
      .default('none'),
    /** What those in that state are about, at most the amount. */
    cardDisputeCents: cents()
      .notNull()
      .default(sql`0`),
    /** What was lost, at most the amount; also while another dispute is open. */
    lostCents: cents()
      .notNull()
      .default(sql`0`),
    /** What of this lot is frozen now, and what was taken back for good. */
    frozenMicros: micros()
      .notNull()
      .default(sql`0`),
    reversedMicros: micros()
      .notNull()
      .default(sql`0`),
    /** What should have been taken back and was already spent: set off against the next credits loaded. */
    owedMicros: micros()
      .notNull()
      .default(sql`0`),
    createdAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
    expiresAt: timestamp({ withTimezone: true }).notNull(),
    paidAt: timestamp({ withTimezone: true }),
  },
  (table) => [
    uniqueIndex('top_ups_session_is_unique').on(table.sessionId),
    uniqueIndex('top_ups_payment_intent_is_unique').on(table.paymentIntentId),
    unique('top_ups_are_asked_for_once').on(table.organizationId, table.currency, table.idempotencyKey),
    uniqueIndex('top_ups_automatic_one_is_open')
      .on(table.organizationId, table.currency)
      .where(sql`${table.isAutomatic} and ${table.status} = 'open'`),
    index('top_ups_by_organization').on(table.organizationId, table.id),
    index('top_ups_contested')
      .on(table.accountId)
      .where(sql`${table.cardDispute} <> 'none' or ${table.refundedCents} > 0`),
    index('top_ups_open')
      .on(table.createdAt)
      .where(sql`${table.status} = 'open'`),
    check('top_ups_amount_is_positive', sql`${table.amountCents} > 0`),
    check(
      'top_ups_refunds_fail_at_most_in_full',
      sql`${table.failedRefundCents} between 0 and ${table.refundedCents}`,
    ),
    check(
      'top_ups_take_back_at_most_the_lot',
      sql`${table.frozenMicros} >= 0 and ${table.reversedMicros} >= 0 and ${table.owedMicros} >= 0 and ${table.frozenMicros} + ${table.reversedMicros} + ${table.owedMicros} <= ${table.amountCents} * 1000000`,
    ),
    check(
      'top_ups_take_back_only_what_was_paid',
      sql`${table.status} = 'paid' or ${table.frozenMicros} + ${table.reversedMicros} + ${table.owedMicros} = 0`,
    ),
  ],
);

/** A Stripe event that was dealt with: it is never dealt with again. */
export const stripeEvents = pgTable('stripe_events', {
  id: text().primaryKey(),
  type: text().notNull(),
  receivedAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
});

/** What an organization wants done when its balance runs low. */
export const autoTopUps = pgTable(
  'auto_top_ups',
  {
    organizationId: organizationId(),
    currency: currency(),
    isEnabled: boolean().notNull(),
    thresholdMicros: micros().notNull(),
    amountCents: cents().notNull(),
    /** The most that is charged in one UTC month. */
    monthlyCeilingCents: cents().notNull(),
    /** Why it was switched off, when its owner did not. */
    failure: text(),
  },
  (table) => [
    primaryKey({
      name: 'auto_top_ups_are_one_per_currency',
      columns: [table.organizationId, table.currency],
    }),
    check('auto_top_ups_amount_fits_the_ceiling', sql`${table.amountCents} <= ${table.monthlyCeilingCents}`),
  ],
);

/** Below what balance an organization wants to hear of it, and whether it has. */
export const balanceAlerts = pgTable(
  'balance_alerts',
  {
    organizationId: organizationId(),
    currency: currency(),
    thresholdMicros: micros().notNull(),
    /** Set when it was told; cleared when the balance is above again. */
    toldAt: timestamp({ withTimezone: true }),
  },
  (table) => [
    primaryKey({
      name: 'balance_alerts_are_one_per_currency',
      columns: [table.organizationId, table.currency],
    }),
  ],
);

/** A share of a cap whose passing was told, once in each day, month or life of the cap. */
export const budgetNotices = pgTable(
  'budget_notices',
  {
    meterId: bigint({ mode: 'bigint' }).notNull(),
    window: text({ enum: ['day', 'month', 'total'] }).notNull(),
    /** The day or month the counter belonged to; the epoch for the total. */
    startsOn: date().notNull(),
    /** 50, 80 or 100 per cent. */
    percent: integer().notNull(),
    capMicros: micros().notNull(),
    toldAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [
    primaryKey({
      name: 'budget_notices_are_told_once',
      columns: [table.meterId, table.window, table.startsOn, table.percent, table.capMicros],
    }),
  ],
);

/** A buyer says that a settled call was not worth its money. */
export const disputes = pgTable(
  'disputes',
  {
    /** `dsp_…` without the prefix. */
    id: uuid().primaryKey(),
    /** One call is disputed once. */
    callId: uuid().notNull(),
    buyerId: organizationId(),
    sellerId: organizationId(),
    currency: currency(),
    agentId: text().notNull(),
    keyId: text().notNull(),
    reason: text({
      enum: ['duplicate', 'overcharge', 'not_delivered', 'output_defective', 'other'],
    }).notNull(),
    description: text().notNull(),
    chargedMicros: micros().notNull(),
    claimedMicros: micros().notNull(),
    /** What of the claim was the platform's fee. The rest is the seller's, set aside while the dispute is open. */
    claimedFeeMicros: micros().notNull(),
    /** The earlier call that the disputed one was found to repeat. It is the reason of one refund. */
    duplicateOf: uuid(),
    status: text({ enum: ['open', 'refunded', 'rejected'] }).notNull(),
    decidedBy: text({ enum: ['ledger', 'seller', 'silence', 'operator'] }),
    /** What the buyer got back, fee included. */
    refundedMicros: micros(),
    explanation: text(),
    /** Ids of the journal rows, made with the dispute so that every step can be repeated. */
    setAsideTxn: uuid().notNull(),
    reversalTxn: uuid().notNull(),
    feeReversalTxn: uuid().notNull(),
    returnTxn: uuid().notNull(),
    openedAt: timestamp({ withTimezone: true }).notNull(),
    answerBy: timestamp({ withTimezone: true }).notNull(),
    decidedAt: timestamp({ withTimezone: true }),
  },
  (table) => [
    unique('disputes_are_one_per_call').on(table.callId),
    uniqueIndex('disputes_call_is_reason_of_one_refund').on(table.duplicateOf),
    index('disputes_by_buyer').on(table.buyerId, table.id),
    index('disputes_by_seller').on(table.sellerId, table.id),
    index('disputes_open')
      .on(table.answerBy)
      .where(sql`${table.status} = 'open'`),
    check(
      'disputes_claim_at_most_the_charge',
      sql`${table.claimedMicros} between 1 and ${table.chargedMicros}`,
    ),
    check(
      'disputes_fee_is_part_of_the_claim',
      sql`${table.claimedFeeMicros} between 0 and ${table.claimedMicros}`,
    ),
    check(
      'disputes_refund_at_most_the_claim',
      sql`${table.refundedMicros} between 0 and ${table.claimedMicros}`,
    ),
    check(
      'disputes_are_decided_by_someone',
      sql`(${table.status} = 'open') = (${table.decidedBy} is null) and (${table.status} = 'open') = (${table.decidedAt} is null)`,
    ),
  ],
);

/** How far one seller's earnings were released: what was settled before then may be paid out. */
export const earningReleases = pgTable('earning_releases', {
  /** The seller's `earnings` account. */
  accountId: bigint({ mode: 'bigint' }).primaryKey(),
  releasedThrough: timestamp({ withTimezone: true }).notNull(),
});

/** Where a seller is paid, and when. */
export const payoutAccounts = pgTable(
  'payout_accounts',
  {
    organizationId: organizationId(),
    currency: currency(),
    /** Stripe Connect account. */
    stripeAccountId: text(),
    isReady: boolean().notNull().default(false),
    /** What Stripe still wants to know before it pays. */
    requirements: text().array().notNull(),
    /** Why it is not paid, in Stripe's word or in ours (`PAYOUT_ACCOUNT` in `stripe-states.ts`); none while it is. */
    disabledReason: text(),
    /** Since when Stripe does not let us reach it. Its owner connects another one. */
    goneAt: timestamp({ withTimezone: true }),
    /** When Stripe was last asked about it, by the database's clock. */
    checkedAt: timestamp({ withTimezone: true }),
    schedule: text({ enum: ['manual', 'daily', 'weekly', 'monthly'] }).notNull(),
    minimumMicros: micros().notNull(),
    lastScheduledOn: date(),
  },
  (table) => [
    primaryKey({
      name: 'payout_accounts_are_one_per_currency',
      columns: [table.organizationId, table.currency],
    }),
    unique('payout_accounts_belong_to_one').on(table.stripeAccountId),
  ],
);

/** Earnings on their way to a seller's bank. */
export const payouts = pgTable(
  'payouts',
  {
    /** `pay_…` without the prefix; also the id of the journal row that takes the credits. */
    id: uuid().primaryKey(),
    organizationId: organizationId(),
    currency: currency(),
    accountId: bigint({ mode: 'bigint' }).notNull(),
    /** What the client asked for; null stands for all there was. */
    askedMicros: micros(),
    /** Whole cents: a fraction of what was asked for stays. */
    amountMicros: micros().notNull(),
    status: text({ enum: ['requested', 'paid', 'failed'] }).notNull(),
    stripeAccountId: text().notNull(),
    transferId: text(),
    failure: text(),
    /** Of the journal row that gives the credits back when it failed. */
    returnTxn: uuid().notNull(),
    /** What came back: all of it when it failed, and what Stripe reversed after it was paid. */
    returnedMicros: micros()
      .notNull()
      .default(sql`0`),
    /** Until then one process has it for itself and asks Stripe about it. */
    claimedUntil: timestamp({ withTimezone: true }),
    /** Chosen by the client, so that asking again does not pay again; the period's for a scheduled one. */
    idempotencyKey: text().notNull(),
    createdAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
    endedAt: timestamp({ withTimezone: true }),
  },
  (table) => [
    unique('payouts_are_asked_for_once').on(table.organizationId, table.currency, table.idempotencyKey),
    uniqueIndex('payouts_transfer_is_unique').on(table.transferId),
    index('payouts_by_organization').on(table.organizationId, table.id),
    index('payouts_open')
      .on(table.createdAt)
      .where(sql`${table.status} = 'requested'`),
    check('payouts_amount_is_positive', sql`${table.amountMicros} > 0`),
    check('payouts_amount_is_whole_cents', sql`${table.amountMicros} % 1000000 = 0`),
    check(
      'payouts_return_at_most_the_amount',
      sql`${table.returnedMicros} between 0 and ${table.amountMicros}`,
    ),
    check(
      'payouts_that_failed_came_back',
      sql`(${table.status} = 'failed') = (${table.returnedMicros} = ${table.amountMicros})`,
    ),
    check('payouts_end_when_they_end', sql`(${table.status} = 'requested') = (${table.endedAt} is null)`),
  ],
);
