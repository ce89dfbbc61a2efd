import { sql, type SQL } from 'drizzle-orm';
import {
  bigint,
  bigserial,
  boolean,
  check,
  date,
  index,
  pgTable,
  primaryKey,
  text,
  timestamp,
  unique,
  uuid,
} from 'drizzle-orm/pg-core';
import { organizations } from '../identity/tables.ts';

const ACCOUNT_KINDS = ['balance', 'frozen', 'earnings', 'payable', 'disputed', 'fees', 'funding'] as const;

/**
 * How a hold ended (`settle`, `refund`, `expire`), and every other way credits move:
 *
 * | kind | from → to |
 * |---|---|
 * | `grant`, `top_up` | funding → balance |
 * | `freeze`, `unfreeze` | balance → frozen and back, while a card payment is contested |
 * | `top_up_reversal` | balance or frozen → funding: the card got its money back |
 * | `top_up_restored` | funding → balance: it did not after all, the refund failed |
 * | `release` | earnings → payable: the time for disputes has passed |
 * | `dispute` | earnings → disputed: the seller's part of what a buyer disputes |
 * | `dispute_rejected` | disputed → earnings, or → payable once the call's earnings were released |
 * | `reversal`, `fee_reversal` | disputed → balance, fees → balance: money back after settling |
 * | `payout`, `payout_returned` | payable → funding, and back when the bank did not take it |
 */
export const JOURNAL_KINDS = [
  'settle',
  'refund',
  'expire',
  'grant',
  'top_up',
  'freeze',
  'unfreeze',
  'top_up_reversal',
  'top_up_restored',
  'release',
  'dispute',
  'dispute_rejected',
  'reversal',
  'fee_reversal',
  'payout',
  'payout_returned',
] as const;
export type JournalKind = (typeof JOURNAL_KINDS)[number];

/**
 * A list of plain words as one constant, for a CHECK: drizzle-kit writes parameters into DDL as they are.
 * PostgreSQL reads the CHECKs of a table from their text for every statement that writes a row, and an
 * `in (…)` list of these tables was half of what it read for a batch.
 */
function words(list: readonly string[]): SQL {
  return sql.raw(`'{${list.join(',')}}'::text[]`);
}

const micros = () => bigint({ mode: 'bigint' });
const accountId = () => bigint({ mode: 'bigint' });

/**
 * One balance of one organization in one currency, or one of the platform's own (no organization).
 *
 * - `balance` is what a buyer spends from; `frozen` what it cannot spend while a card payment is contested.
 * - `earnings` is what a seller made and may still have to give back; `payable` what it may be paid out, once
 *   the time for disputes has passed; `disputed` what is set aside for open disputes.
 * - `fees` is the platform's share, and `funding` the other side of credits that enter or leave: the only
 *   kind that may be negative.
 *
 * `held` is the account's part of the escrow: set aside for open holds, spendable by nobody else.
 */
export const ledgerAccounts = pgTable(
  'ledger_accounts',
  {
    id: bigint({ mode: 'bigint' }).primaryKey().generatedAlwaysAsIdentity(),
    organizationId: text().references(() => organizations.id),
    currency: text({ enum: ['live', 'test'] }).notNull(),
    kind: text({ enum: ACCOUNT_KINDS }).notNull(),
    posted: micros()
      .notNull()
      .default(sql`0`),
    held: micros()
      .notNull()
      .default(sql`0`),
    /** Counts what is spent from a balance whose organization has a budget. */
    meterId: bigint({ mode: 'bigint' }),
  },
  (table) => [
    unique('accounts_are_one_per_owner_currency_and_kind')
      .on(table.organizationId, table.currency, table.kind)
      .nullsNotDistinct(),
    check('accounts_currency_is_known', sql`${table.currency} = any (${words(['live', 'test'])})`),
    check('accounts_kind_is_known', sql`${table.kind} = any (${words(ACCOUNT_KINDS)})`),
    check('accounts_held_is_not_negative', sql`${table.held} >= 0`),
    check('accounts_cannot_be_overdrawn', sql`${table.kind} = 'funding' or ${table.posted} >= ${table.held}`),
  ],
);

/**
 * What one API key, or one whole balance, has spent or set aside, beside its caps. A day and a month are UTC; a counter belongs to
 * the window written beside it and starts again when a hold opens a later one.
 */
export const spendMeters = pgTable(
  'spend_meters',
  {
    id: bigint({ mode: 'bigint' }).primaryKey().generatedAlwaysAsIdentity(),
    capDay: micros(),
    capMonth: micros(),
    capTotal: micros(),
    day: date()
      .notNull()
      .default(sql`(now() at time zone 'utc')::date`),
    usedDay: micros()
      .notNull()
      .default(sql`0`),
    usedMonth: micros()
      .notNull()
      .default(sql`0`),
    usedTotal: micros()
      .notNull()
      .default(sql`0`),
    /** Some calls that were under way then may not be counted. Null for a meter that has counted every call. */
    openedAt: timestamp({ withTimezone: true }).defaultNow(),
  },
  (table) => [
    check(
      'meters_used_is_not_negative',
      sql`${table.usedDay} >= 0 and ${table.usedMonth} >= 0 and ${table.usedTotal} >= 0`,
    ),
    check('meters_day_is_part_of_month', sql`${table.usedDay} <= ${table.usedMonth}`),
    check('meters_month_is_part_of_total', sql`${table.usedMonth} <= ${table.usedTotal}`),
  ],
);

/**
 * Credits set aside for one call that is under way. The row lives exactly as long as the hold is open:
 * settling, refunding and expiring delete it and write the journal, in one statement.
 */
export const ledgerHolds = pgTable(
  'ledger_holds',
  {
    /** The call's id. */
    id: uuid().primaryKey(),
    buyer: accountId().notNull(),
    seller: accountId().notNull(),
    fees: accountId().notNull(),
    amount: micros().notNull(),
    keyId: text().notNull(),
    agentId: text().notNull(),
    /** Every meter that counted this hold, that of the whole balance last; null where none did. */
    meters: bigint({ mode: 'bigint' }).array(),
    /** The UTC day each of them counted it under, so that giving back finds the same window. */
    countedOn: date().array(),
    /** For the receipt of a hold that nobody resolves. The ledger does not read them. */
    agentVersion: text(),
    inputHash: text(),
    /** An idempotency key names this call; a refund frees it. */
    keyed: boolean().notNull(),
    createdAt: timestamp({ withTimezone: true }).notNull(),
    expiresAt: timestamp({ withTimezone: true }).notNull(),
  },
  (table) => [
    check('holds_amount_is_not_negative', sql`${table.amount} >= 0`),
    check('holds_expire_after_they_open', sql`${table.expiresAt} > ${table.createdAt}`),
    check(
      'holds_meters_have_their_days',
      sql`cardinality(${table.meters}) is not distinct from cardinality(${table.countedOn})`,
    ),
  ],
);

/**
 * One movement of credits that happened, three legs in one row: `debit` pays `amount`, `fee_account` gets
 * `fee` of it and `credit` the rest, so a row sums to zero by construction. A refund or an expiry moves
 * nothing and is here because it is how a hold ended. Rows are never changed; a correction is a new row.
 */
export const ledgerJournal = pgTable(
  'ledger_journal',
  {
    /** The call's id for a resolved hold, else one of the movement's own. */
    id: uuid().primaryKey(),
    /** The order rows were made in, which is not the order they were committed in. */
    seq: bigserial({ mode: 'bigint' }).notNull(),
    kind: text({ enum: JOURNAL_KINDS }).notNull(),
    debit: accountId().notNull(),
    credit: accountId().notNull(),
    feeAccount: accountId(),
    amount: micros().notNull(),
    fee: micros()
      .notNull()
      .default(sql`0`),
    held: micros()
      .notNull()
      .default(sql`0`),
    keyId: text(),
    agentId: text(),
    /** What the movement is about, when that has a row of its own: the call, top-up or payout. */
    subject: uuid(),
    createdAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [
    index('journal_by_subject')
      .on(table.subject)
      .where(sql`${table.subject} is not null`),
    index('journal_by_debit').on(table.debit, table.seq),
    index('journal_by_credit').on(table.credit, table.seq),
    index('journal_by_time').using('brin', table.createdAt).with({ autosummarize: true }),
    check('journal_kind_is_known', sql`${table.kind} = any (${words(JOURNAL_KINDS)})`),
    check('journal_amount_is_not_negative', sql`${table.amount} >= 0`),
    check('journal_fee_is_part_of_amount', sql`${table.fee} between 0 and ${table.amount}`),
    check('journal_fee_has_an_account', sql`${table.fee} = 0 or ${table.feeAccount} is not null`),
    check(
      'journal_settles_at_most_the_hold',
      sql`${table.kind} <> all (${words(['settle', 'refund', 'expire'])}) or ${table.amount} <= ${table.held}`,
    ),
    check(
      'journal_refunds_charge_nothing',
      sql`${table.kind} <> all (${words(['refund', 'expire'])}) or ${table.amount} = 0`,
    ),
    check('journal_moves_between_two_accounts', sql`${table.debit} <> ${table.credit}`),
  ],
);

/**
 * What an account had at the end of one UTC month, kept when it was first asked for: a statement does not add up
 * everything that came before it. Only months that ended a day ago or more are here, so it never changes.
 */
export const ledgerMonthEnds = pgTable(
  'ledger_month_ends',
  {
    accountId: accountId().notNull(),
    /** The first day of the month. */
    month: date().notNull(),
    posted: micros().notNull(),
  },
  (table) => [
    primaryKey({ name: 'month_ends_are_one_per_account', columns: [table.accountId, table.month] }),
  ],
);

/** The call an idempotency key of an API key stands for, until it expires or the call is refunded. */
export const idempotencyKeys = pgTable(
  'idempotency_keys',
  {
    keyId: text().notNull(),
    idempotencyKey: text().notNull(),
    callId: uuid().notNull(),
    /** SHA-256 over agent and canonical arguments: the same key with other ones is a conflict. */
    requestHash: text().notNull(),
    expiresAt: timestamp({ withTimezone: true }).notNull(),
  },
  (table) => [
    primaryKey({ name: 'idempotency_keys_are_per_api_key', columns: [table.keyId, table.idempotencyKey] }),
    index('idempotency_keys_by_call').on(table.callId),
    index('idempotency_keys_by_expiry').on(table.expiresAt),
  ],
);
