import { sql } from 'drizzle-orm';
import {
  bigint,
  bigserial,
  boolean,
  check,
  customType,
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

const micros = () => bigint({ mode: 'bigint' });
const accountId = () => bigint({ mode: 'bigint' });
const xid8 = customType<{ data: string }>({ dataType: () => 'xid8' });

/**
 * One balance of one organization in one currency, or one of the platform's own (no organization).
 * `balance` is what a buyer spends from, `earnings` what a seller made, `fees` the platform's share, and
 * `funding` the other side of credits that enter or leave: the only kind that may be negative. `held` is
 * the account's part of the escrow: set aside for open holds, spendable by nobody else.
 */
export const ledgerAccounts = pgTable(
  'ledger_accounts',
  {
    id: bigint({ mode: 'bigint' }).primaryKey().generatedAlwaysAsIdentity(),
    organizationId: text().references(() => organizations.id),
    currency: text({ enum: ['live', 'test'] }).notNull(),
    kind: text({ enum: ['balance', 'earnings', 'fees', 'funding'] }).notNull(),
    posted: micros()
      .notNull()
      .default(sql`0`),
    held: micros()
      .notNull()
      .default(sql`0`),
  },
  (table) => [
    unique('accounts_are_one_per_owner_currency_and_kind')
      .on(table.organizationId, table.currency, table.kind)
      .nullsNotDistinct(),
    check('accounts_currency_is_known', sql`${table.currency} in ('live', 'test')`),
    check('accounts_kind_is_known', sql`${table.kind} in ('balance', 'earnings', 'fees', 'funding')`),
    check('accounts_held_is_not_negative', sql`${table.held} >= 0`),
    check('accounts_cannot_be_overdrawn', sql`${table.kind} = 'funding' or ${table.posted} >= ${table.held}`),
  ],
);

/**
 * What one API key has spent or set aside, beside its caps. A day and a month are UTC; a counter belongs to
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
    meterId: bigint({ mode: 'bigint' }),
    /** The UTC day the meter counted this hold under, so that giving back finds the same window. */
    meteredOn: date(),
    /** An idempotency key names this call; a refund frees it. */
    keyed: boolean().notNull(),
    createdAt: timestamp({ withTimezone: true }).notNull(),
    expiresAt: timestamp({ withTimezone: true }).notNull(),
  },
  (table) => [
    check('holds_amount_is_not_negative', sql`${table.amount} >= 0`),
    check('holds_expire_after_they_open', sql`${table.expiresAt} > ${table.createdAt}`),
    check('holds_meter_has_its_day', sql`(${table.meterId} is null) = (${table.meteredOn} is null)`),
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
    /** The call's id for a resolved hold, else the id of the grant, top-up or payout. */
    id: uuid().primaryKey(),
    /** The order rows were made in, which is not the order they were committed in. */
    seq: bigserial({ mode: 'bigint' }).notNull(),
    /** The transaction that wrote the row: a reader that follows the journal stops below the oldest open one. */
    xid: xid8()
      .notNull()
      .default(sql`pg_current_xact_id()`),
    kind: text({ enum: ['settle', 'refund', 'expire', 'grant'] }).notNull(),
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
    createdAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [
    index('journal_by_debit').on(table.debit, table.seq),
    index('journal_by_credit').on(table.credit, table.seq),
    index('journal_by_time').using('brin', table.createdAt),
    check('journal_kind_is_known', sql`${table.kind} in ('settle', 'refund', 'expire', 'grant')`),
    check('journal_amount_is_not_negative', sql`${table.amount} >= 0`),
    check('journal_fee_is_part_of_amount', sql`${table.fee} between 0 and ${table.amount}`),
    check('journal_fee_has_an_account', sql`${table.fee} = 0 or ${table.feeAccount} is not null`),
    check(
      'journal_settles_at_most_the_hold',
      sql`${table.kind} not in ('settle', 'refund', 'expire') or ${table.amount} <= ${table.held}`,
    ),
    check(
      'journal_refunds_charge_nothing',
      sql`${table.kind} not in ('refund', 'expire') or ${table.amount} = 0`,
    ),
    check('journal_moves_between_two_accounts', sql`${table.debit} <> ${table.credit}`),
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
