import { and, eq, isNotNull, isNull, lt, or, sql } from 'drizzle-orm';
import { Stripe } from 'stripe';
import { invariant } from '../base/invariant.ts';
import { MICROS_PER_CREDIT, type Currency } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { readDatabaseClock } from '../db/database-clock.ts';
import type { Db, Tx } from '../db/db.ts';
import { askForAccount } from './ask-for-account.ts';
import type { BillingDeps } from './deps.ts';
import { isFinal, recordAccount, standingOf } from './record-account.ts';
import type { AccountStanding, StripeState } from './stripe-states.ts';
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
  /** Why it is not paid, in Stripe's word or ours; undefined while it is, and before Stripe was asked. */
  disabledReason: string | undefined;
  /** Since when Stripe does not let us reach it; then its owner connects another. */
  goneAt: Date | undefined;
  standing: StripeState<AccountStanding>;
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
    disabledReason: row?.disabledReason ?? undefined,
    goneAt: row?.goneAt ?? undefined,
    standing: standingOf(row ?? { stripeAccountId: null, isReady: false, disabledReason: null }),
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
  if (!(await tryRefresh(deps, account.stripeAccountId))) return account;
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
 * A link to Stripe's onboarding, good for a few minutes and one use. The Stripe account is made once, and once more
 * when it is gone: two requests at the same moment ask Stripe under one key, and the first to write it down wins.
 */
export async function openOnboarding(
  deps: BillingDeps,
  payee: Payee,
): Promise<{ url: string; expiresAt: Date }> {
  const { db, publicUrl } = deps;
  const stripe = requirePayouts(deps, payee.currency);
  const known = await getAskedPayoutAccount(deps, payee);
  if (known.standing.stored === 'rejected') throw rejected(known);
  const replaced = known.goneAt === undefined ? undefined : known.stripeAccountId;
  if (known.stripeAccountId === undefined || replaced !== undefined) {
    const id = await createAccount(stripe, payee, replaced);
    await db.transaction((tx) => markConnected(tx, payee, { id, replaced }));
  }
  const { stripeAccountId: account } = await getPayoutAccount(deps.db, payee);
  invariant(account !== undefined, 'an account that was made is written down');
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

/**
 * Also of one that is paid: it may be gone without our having heard of it, and there is no link to one that is. And one
 * that was gone may be back, so that a second account would be one too many.
 */
async function getAskedPayoutAccount(deps: BillingDeps, payee: Payee): Promise<PayoutAccount> {
  const known = await getPayoutAccount(deps.db, payee);
  if (known.stripeAccountId === undefined || !(await tryRefresh(deps, known.stripeAccountId))) return known;
  return getPayoutAccount(deps.db, payee);
}

/** Another account would be a way around what Stripe decided. */
function rejected({ disabledReason, standing }: PayoutAccount): Problem {
  return new Problem('CONFLICT', `${standing.shown} (${disabledReason}) ${standing.next}`);
}

/** The pages Stripe sends a person to after onboarding, and when the link was used or too old. */
export const ONBOARDED_PATH = '/billing/payouts/onboarded';
export const LINK_EXPIRED_PATH = '/billing/payouts/link-expired';

async function createAccount(
  stripe: StripeAccess,
  { organizationId, currency }: Payee,
  replaced: string | undefined,
): Promise<string> {
  const after = replaced === undefined ? '' : `:after:${replaced}`;
  const account = await asked(() =>
    stripe.client.accounts.create(
      {
        type: 'express',
        capabilities: { transfers: { requested: true } },
        metadata: { organization_id: organizationId, currency },
      },
      { idempotencyKey: `payout-account:${organizationId}:${currency}${after}` },
    ),
  );
  return account.id;
}

async function markConnected(
  tx: Tx,
  payee: Payee,
  account: { id: string; replaced: string | undefined },
): Promise<void> {
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
    .set({
      stripeAccountId: account.id,
      isReady: false,
      disabledReason: null,
      goneAt: null,
      checkedAt: null,
      requirements: [],
    })
    .where(
      and(
        isOf(payee),
        account.replaced === undefined
          ? isNull(payoutAccounts.stripeAccountId)
          : eq(payoutAccounts.stripeAccountId, account.replaced),
      ),
    );
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
    .select({
      currency: payoutAccounts.currency,
      disabledReason: payoutAccounts.disabledReason,
      askedAt: sql<string>`clock_timestamp()::text`,
    })
    .from(payoutAccounts)
    .where(eq(payoutAccounts.stripeAccountId, stripeAccountId));
  if (!known || !stripeMoves(stripe, known.currency)) return false;
  if (isFinal(known)) return true;
  const facts = await askForAccount(stripe, stripeAccountId);
  return deps.db.transaction((tx) => recordAccount(tx, stripeAccountId, facts, known.askedAt));
}

const REREAD_AFTER = sql`interval '1 day'`;
const REREAD_AT_ONCE = 500;

/**
 * Asks about accounts that Stripe was not asked about for a day: the word that one was disconnected may have been
 * lost, and one that is paid is asked about at no other time. One that cannot be asked about keeps no other waiting.
 */
export async function rereadPayoutAccounts(deps: BillingDeps): Promise<void> {
  const { checkedAt, stripeAccountId } = payoutAccounts;
  const rows = await deps.db
    .select({ id: stripeAccountId, disabledReason: payoutAccounts.disabledReason })
    .from(payoutAccounts)
    .where(
      and(
        isNotNull(stripeAccountId),
        or(isNull(checkedAt), lt(checkedAt, sql`clock_timestamp() - ${REREAD_AFTER}`)),
        sql`${payoutAccounts.disabledReason} IS DISTINCT FROM 'account.deauthorized'`,
        sql`${payoutAccounts.disabledReason} IS DISTINCT FROM 'account.deleted'`,
      ),
    )
    .orderBy(sql`${checkedAt} NULLS FIRST`)
    .limit(REREAD_AT_ONCE);
  for (const { id } of rows) {
    if (id !== null) await tryRefresh(deps, id);
  }
}

/** False when Stripe did not tell: what is known stays, which is better than nothing. */
export async function tryRefresh(deps: BillingDeps, stripeAccountId: string): Promise<boolean> {
  try {
    await refreshPayoutAccount(deps, stripeAccountId);
    return true;
  } catch (error) {
    deps.log('warn', 'Stripe did not tell about a payout account', {
      account: stripeAccountId,
      error: String(error),
    });
    return false;
  }
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
