import { and, eq, isNull, sql } from 'drizzle-orm';
import { Stripe } from 'stripe';
import { MICROS_PER_CREDIT, type Currency } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { readDatabaseClock } from '../db/database-clock.ts';
import type { Db, Tx } from '../db/db.ts';
import type { BillingDeps } from './deps.ts';
import { requireStripe, stripeMoves, type StripeAccess } from './stripe.ts';
import { payoutAccounts } from './tables.ts';

export const PAYOUT_SCHEDULES = ['manual', 'daily', 'weekly', 'monthly'] as const;
export type PayoutSchedule = (typeof PAYOUT_SCHEDULES)[number];

/** Who is paid: what an organization earned in one currency is paid apart from the other. */
export type Payee = { organizationId: string; currency: Currency };

export type PayoutAccount = {
  /** Undefined until its owner asked to be onboarded. */
  stripeAccountId: string | undefined;
  /** Stripe pays it. */
  isReady: boolean;
  /** What Stripe still wants to know, in its own words. */
  requirements: string[];
  schedule: PayoutSchedule;
  /** What is less is not worth a scheduled payout. */
  minimumMicros: bigint;
  /** The day of the last scheduled payout, or of the schedule itself. */
  lastScheduledOn: string | undefined;
};

/** How a seller is paid who never said anything about it: on Mondays, from $10 on. */
export const DEFAULT_SCHEDULE: PayoutSchedule = 'weekly';
export const DEFAULT_MINIMUM_MICROS = 1_000n * MICROS_PER_CREDIT;

/** Throws unless this gateway can pay out what was earned in this currency. */
export function requirePayouts(deps: Pick<BillingDeps, 'stripe'>, currency: Currency): StripeAccess {
  const stripe = requireStripe(deps);
  if (stripeMoves(stripe, currency)) return stripe;
  throw new Problem(
    'CONFLICT',
    stripe.isLive
      ? 'Test credits are never paid out in real money. Use a live key (sk_live_…).'
      : 'This gateway is connected to Stripe in test mode, where only test credits are paid out. Use a test key (sk_test_…).',
  );
}

/** Where and when the seller is paid; the defaults for one that never chose. */
export async function getPayoutAccount(db: Db | Tx, payee: Payee): Promise<PayoutAccount> {
  const [row] = await db.select().from(payoutAccounts).where(isOf(payee));
  return {
    stripeAccountId: row?.stripeAccountId ?? undefined,
    isReady: row?.isReady ?? false,
    requirements: row?.requirements ?? [],
    schedule: row?.schedule ?? DEFAULT_SCHEDULE,
    minimumMicros: row?.minimumMicros ?? DEFAULT_MINIMUM_MICROS,
    lastScheduledOn: row?.lastScheduledOn ?? undefined,
  };
}

/** The same after asking Stripe, whose word that an account became ready may be late or lost. */
export async function getCurrentPayoutAccount(deps: BillingDeps, payee: Payee): Promise<PayoutAccount> {
  const account = await getPayoutAccount(deps.db, payee);
  const { stripe } = deps;
  if (account.stripeAccountId === undefined || account.isReady) return account;
  if (!stripe || !stripeMoves(stripe, payee.currency)) return account;
  try {
    await refreshPayoutAccount(deps, account.stripeAccountId);
  } catch (error) {
    // What is known is better than nothing.
    deps.log('warn', 'Stripe did not tell about a payout account', {
      account: account.stripeAccountId,
      error: String(error),
    });
    return account;
  }
  return getPayoutAccount(deps.db, payee);
}

/** A new schedule counts from today: it never makes up for days before it. */
export async function savePayoutSchedule(
  { db }: Pick<BillingDeps, 'db'>,
  payee: Payee,
  wish: { schedule: PayoutSchedule; minimumMicros: bigint },
): Promise<PayoutAccount> {
  return db.transaction(async (tx) => {
    const today = await readToday(tx);
    await tx
      .insert(payoutAccounts)
      .values({ ...payee, ...wish, requirements: [], lastScheduledOn: today })
      .onConflictDoUpdate({
        target: [payoutAccounts.organizationId, payoutAccounts.currency],
        set: {
          ...wish,
          lastScheduledOn: sql`CASE WHEN ${payoutAccounts.schedule} = ${wish.schedule}
            THEN ${payoutAccounts.lastScheduledOn} ELSE ${today}::date END`,
        },
      });
    return getPayoutAccount(tx, payee);
  });
}

/**
 * A link to Stripe's onboarding, good for a few minutes and one use. The Stripe account is made once: two
 * requests at the same moment ask Stripe under one key, and the first to write it down wins.
 */
export async function openOnboarding(
  deps: BillingDeps,
  payee: Payee,
): Promise<{ url: string; expiresAt: Date }> {
  const { db, publicUrl } = deps;
  const stripe = requirePayouts(deps, payee.currency);
  const known = await getPayoutAccount(db, payee);
  const id = known.stripeAccountId ?? (await createAccount(stripe, payee));
  if (known.stripeAccountId === undefined) {
    await db.transaction((tx) => markConnected(tx, payee, id));
  }
  const { stripeAccountId: account = id } = await getPayoutAccount(db, payee);
  const link = await asked(() =>
    stripe.client.accountLinks.create({
      account,
      type: 'account_onboarding',
      return_url: `${publicUrl}${ONBOARDED_PATH}`,
      refresh_url: `${publicUrl}${LINK_EXPIRED_PATH}`,
    }),
  );
  return { url: link.url, expiresAt: new Date(link.expires_at * 1_000) };
}

/** The pages Stripe sends a person to after onboarding, and when the link was used or too old. */
export const ONBOARDED_PATH = '/billing/payouts/onboarded';
export const LINK_EXPIRED_PATH = '/billing/payouts/link-expired';

async function createAccount(stripe: StripeAccess, { organizationId, currency }: Payee): Promise<string> {
  const account = await asked(() =>
    stripe.client.accounts.create(
      {
        type: 'express',
        capabilities: { transfers: { requested: true } },
        metadata: { organization_id: organizationId, currency },
      },
      { idempotencyKey: `payout-account:${organizationId}:${currency}` },
    ),
  );
  return account.id;
}

async function markConnected(tx: Tx, payee: Payee, stripeAccountId: string): Promise<void> {
  await tx
    .insert(payoutAccounts)
    .values({
      ...payee,
      requirements: [],
      schedule: DEFAULT_SCHEDULE,
      minimumMicros: DEFAULT_MINIMUM_MICROS,
      lastScheduledOn: await readToday(tx),
    })
    .onConflictDoNothing();
  await tx
    .update(payoutAccounts)
    .set({ stripeAccountId })
    .where(and(isOf(payee), isNull(payoutAccounts.stripeAccountId)));
}

/**
 * Asks Stripe how an account of ours stands, and writes that down. What an event says of it is not looked at:
 * events come in any order, and an old one would take back what a newer one said. False: it is none of ours.
 */
export async function refreshPayoutAccount(
  deps: Pick<BillingDeps, 'db' | 'stripe'>,
  stripeAccountId: string,
): Promise<boolean> {
  const stripe = requireStripe(deps);
  const [known] = await deps.db
    .select({ currency: payoutAccounts.currency })
    .from(payoutAccounts)
    .where(eq(payoutAccounts.stripeAccountId, stripeAccountId));
  if (!known || !stripeMoves(stripe, known.currency)) return false;
  const account = await stripe.client.accounts.retrieve(stripeAccountId);
  const { requirements } = account;
  await deps.db
    .update(payoutAccounts)
    .set({
      isReady: account.capabilities?.transfers === 'active' && account.payouts_enabled,
      requirements: [
        ...new Set([...(requirements?.past_due ?? []), ...(requirements?.currently_due ?? [])]),
      ].sort(),
    })
    .where(eq(payoutAccounts.stripeAccountId, stripeAccountId));
  return true;
}

function isOf({ organizationId, currency }: Payee) {
  return and(eq(payoutAccounts.organizationId, organizationId), eq(payoutAccounts.currency, currency));
}

async function readToday(tx: Tx): Promise<string> {
  return dayOf((await readDatabaseClock(tx)).getTime());
}

/** The UTC day of a moment. */
export function dayOf(now: number): string {
  return new Date(now).toISOString().slice(0, 10);
}

/** What Stripe answers to a person who waits; its own words are for the log. */
async function asked<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof Stripe.errors.StripeError)) throw error;
    throw new Problem(
      'STRIPE_FAILED',
      'Stripe did not open the account to pay you into. Nothing was changed; try again, and tell the operator if it stays so.',
      {},
      { cause: error },
    );
  }
}
