import { and, asc, eq, isNull, isNotNull, lt, ne, or } from 'drizzle-orm';
import { databaseNow, readDatabaseClock } from '../db/database-clock.ts';
import type { Tx } from '../db/db.ts';
import type { BillingDeps } from './deps.ts';
import { dayOf, type Payee, type PayoutSchedule } from './payout-accounts.ts';
import { findPayable, openPayout, wholeCents } from './payouts.ts';
import { claimPayout, sendPayout, type Payout } from './send-payout.ts';
import { stripeMoves, type StripeAccess } from './stripe.ts';
import { payoutAccounts, payouts } from './tables.ts';
import { findAccount } from '../ledger/accounts.ts';

/** How many open payouts one run asks Stripe about; the next run goes on. */
const RESUMED_AT_ONCE = 100;

/**
 * Finishes payouts whose outcome nobody knows: the process died, or Stripe's answer was lost. Stripe is asked for
 * the transfer first and made to make it, under the same key, only when there is none.
 */
export async function resumePayouts(deps: BillingDeps): Promise<{ resumed: number }> {
  const { db, stripe } = deps;
  if (!stripe) return { resumed: 0 };
  const open = await db
    .select({ id: payouts.id, currency: payouts.currency })
    .from(payouts)
    .where(
      and(
        eq(payouts.status, 'requested'),
        or(isNull(payouts.claimedUntil), lt(payouts.claimedUntil, databaseNow)),
      ),
    )
    .orderBy(asc(payouts.createdAt))
    .limit(RESUMED_AT_ONCE);
  let resumed = 0;
  for (const { id } of open.filter(({ currency }) => stripeMoves(stripe, currency))) {
    const payout = await db.transaction((tx) => claimPayout(tx, id));
    if (!payout) continue;
    await sendPayout(deps, stripe, payout, false);
    resumed += 1;
  }
  return { resumed };
}

/**
 * Pays every seller whose day it is: daily, on Mondays, or on the first of the month (UTC). What is below the
 * seller's minimum waits for the next time. A period is paid once: who paid it, and that it was, is one
 * transaction, and the payout's idempotency key names the period besides.
 */
export async function runScheduledPayouts(deps: BillingDeps): Promise<{ paid: number }> {
  const { db, stripe, log } = deps;
  if (!stripe) return { paid: 0 };
  const candidates = await db
    .select({ organizationId: payoutAccounts.organizationId, currency: payoutAccounts.currency })
    .from(payoutAccounts)
    .where(and(eq(payoutAccounts.isReady, true), ne(payoutAccounts.schedule, 'manual')))
    .orderBy(payoutAccounts.organizationId);
  let paid = 0;
  for (const payee of candidates.filter(({ currency }) => stripeMoves(stripe, currency))) {
    try {
      if (await runScheduledPayout(deps, stripe, payee)) paid += 1;
    } catch (error) {
      log('error', 'a scheduled payout could not be made', {
        organization: payee.organizationId,
        currency: payee.currency,
        error: String(error),
      });
    }
  }
  return { paid };
}

async function runScheduledPayout(deps: BillingDeps, stripe: StripeAccess, payee: Payee): Promise<boolean> {
  const payout = await deps.db.transaction((tx) => openScheduledPayout(tx, payee));
  if (payout) await sendPayout(deps, stripe, payout, true);
  return payout !== undefined;
}

async function openScheduledPayout(tx: Tx, payee: Payee): Promise<Payout | undefined> {
  const isOfPayee = and(
    eq(payoutAccounts.organizationId, payee.organizationId),
    eq(payoutAccounts.currency, payee.currency),
  );
  const [account] = await tx
    .select()
    .from(payoutAccounts)
    .where(and(isOfPayee, eq(payoutAccounts.isReady, true), isNotNull(payoutAccounts.stripeAccountId)))
    .for('update');
  if (!account?.stripeAccountId) return undefined;
  const now = (await readDatabaseClock(tx)).getTime();
  const period = periodOf(account.schedule, now);
  // Dates as PostgreSQL writes them sort as text. A day that is still to come was written by a clock that is ahead,
  // and says nothing of this period; that it is paid once, its idempotency key sees to.
  const last = account.lastScheduledOn ?? '';
  if (period === undefined || (last >= period && last <= dayOf(now))) return undefined;
  await tx.update(payoutAccounts).set({ lastScheduledOn: period }).where(isOfPayee);

  const payable = await findAccount(tx, payee.organizationId, payee.currency, 'payable');
  const available = payable === undefined ? 0n : (await findPayable(tx, payee, payable)).payableMicros;
  if (wholeCents(available) === 0n || available < account.minimumMicros) return undefined;
  const wish = { ...payee, askedMicros: undefined, idempotencyKey: scheduleKey(period) };
  const { payout, isNew } = await openPayout(tx, wish, account.stripeAccountId);
  return isNew ? payout : undefined;
}

/** A key of a client has no blanks, so none can be taken for a period's, nor take its place. */
export function scheduleKey(period: string): string {
  return `schedule ${period}`;
}

/** The first day of the period `now` is in; undefined when nothing is paid by itself. */
export function periodOf(schedule: PayoutSchedule, now: number): string | undefined {
  const day = new Date(now);
  switch (schedule) {
    case 'manual':
      return undefined;
    case 'daily':
      return dayOf(now);
    case 'weekly': {
      const daysSinceMonday = (day.getUTCDay() + 6) % 7;
      return dayOf(now - daysSinceMonday * DAY_MS);
    }
    case 'monthly':
      return `${dayOf(now).slice(0, 8)}01`;
  }
}

const DAY_MS = 24 * 60 * 60 * 1_000;
