import { and, eq, sql } from 'drizzle-orm';
import { insertEvent } from '../audit/events.ts';
import type { Tx } from '../db/db.ts';
import type { AccountFacts } from './ask-for-account.ts';
import { PAYOUT_ACCOUNT, stateOf, type AccountStanding, type StripeState } from './stripe-states.ts';
import { payoutAccounts } from './tables.ts';

type Row = typeof payoutAccounts.$inferSelect;

/**
 * Writes down how an account stands, and tells its seller when that is another way than before. `askedAt` is when
 * Stripe was asked, by the database's clock: what was asked later and written before is newer, and stays. Undefined
 * for what is final, whenever it was asked. False: no seller of ours has that account now.
 */
export async function recordAccount(
  tx: Tx,
  stripeAccountId: string,
  facts: AccountFacts,
  askedAt: string | undefined,
): Promise<boolean> {
  const isOfAccount = eq(payoutAccounts.stripeAccountId, stripeAccountId);
  const [row] = await tx.select().from(payoutAccounts).where(isOfAccount).for('update');
  if (!row) return false;
  const isOlder =
    askedAt === undefined
      ? undefined
      : sql`coalesce(${payoutAccounts.checkedAt}, '-infinity') <= ${askedAt}::timestamptz`;
  if (isFinal(row)) return true;
  const [written] = await tx
    .update(payoutAccounts)
    .set({
      ...columnsOf(row, facts),
      checkedAt: askedAt === undefined ? sql`clock_timestamp()` : sql`${askedAt}::timestamptz`,
    })
    .where(and(isOfAccount, isOlder))
    .returning();
  if (written && hasChanged(row, written)) await tell(tx, written);
  return true;
}

/** One that was disconnected or deleted never comes back under its id, whatever an event says that came late. */
export function isFinal({ disabledReason }: Pick<Row, 'disabledReason'>): boolean {
  return disabledReason === 'account.deauthorized' || disabledReason === 'account.deleted';
}

function columnsOf(row: Row, facts: AccountFacts) {
  switch (facts.kind) {
    case 'ready':
      return { isReady: true, disabledReason: null, goneAt: null, requirements: facts.requirements };
    case 'not ready':
      return { isReady: false, disabledReason: facts.reason, goneAt: null, requirements: facts.requirements };
    case 'gone':
      return {
        isReady: false,
        disabledReason: facts.reason,
        goneAt: row.goneAt ?? sql`clock_timestamp()`,
        requirements: [],
      };
  }
}

/** What an account asks for changes with every answer its owner gives, and is no news of its own. */
function hasChanged(before: Row, after: Row): boolean {
  return before.isReady !== after.isReady || before.disabledReason !== after.disabledReason;
}

async function tell(tx: Tx, row: Row): Promise<void> {
  const { organizationId, currency, isReady, disabledReason, requirements } = row;
  const { stored, shown, next } = standingOf(row);
  await insertEvent(tx, {
    organizationId,
    currency,
    type: 'payout_account.changed',
    data: {
      ready: isReady,
      status: stored,
      reason: disabledReason,
      meaning: shown,
      next_step: next,
      requirements,
    },
  });
}

/** Where an account stands, and what its owner can do. */
export function standingOf(
  row: Pick<Row, 'stripeAccountId' | 'isReady' | 'disabledReason'>,
): StripeState<AccountStanding> {
  const link = 'POST /v1/billing/payouts/account';
  if (row.stripeAccountId === null) {
    return {
      stored: 'unconnected',
      shown: 'There is no account to pay into yet.',
      next: `Open one with ${link}.`,
    };
  }
  if (row.isReady) return { stored: 'ready', shown: 'Stripe pays this account.', next: null };
  if (row.disabledReason === null) {
    return {
      stored: 'onboarding',
      shown: 'Its owner has not answered all of what Stripe asks.',
      next: `Go on with ${link}.`,
    };
  }
  return stateOf(PAYOUT_ACCOUNT, row.disabledReason, 'restricted');
}
