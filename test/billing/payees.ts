import { Stripe } from 'stripe';
import { invariant } from '../../src/base/invariant.ts';
import type { Currency } from '../../src/base/money.ts';
import type { BillingDeps } from '../../src/billing/deps.ts';
import { DISPUTE_WINDOW_MS } from '../../src/billing/dispute-window.ts';
import { releaseEarnings } from '../../src/billing/earnings.ts';
import {
  openOnboarding,
  refreshPayoutAccount,
  savePayoutSchedule,
  type Payee,
} from '../../src/billing/payout-accounts.ts';
import { requestPayout } from '../../src/billing/payouts.ts';
import type { Payout } from '../../src/billing/send-payout.ts';
import { openStripe } from '../../src/billing/stripe.ts';
import { newId } from '../../src/base/ids.ts';
import { startStripe, type StripeStandIn } from '../support/stripe.ts';
import type { Thing } from '../support/stripe-api.ts';
import { CREDIT, openSales, type Parties, type Sales } from './sales.ts';

/** Sellers that Stripe pays, on a database and a Stripe of their own. */
export type Payees = Sales & {
  stripe: StripeStandIn;
  deps: BillingDeps;
  /** A seller with an account that is ready, and these credits to be paid out. */
  newPayee(credits?: bigint, currency?: Currency): Promise<Payee & { parties: Parties; accountId: string }>;
  /** Lets the time for disputes pass for everything that was settled until now. */
  release(): Promise<void>;
  pay(payee: Payee, wish?: { askedMicros?: bigint; key?: string; deps?: BillingDeps }): Promise<Payout>;
  /** What Stripe transferred to a seller. */
  transfersTo(payee: Payee): Thing[];
  payoutsOf(payee: Payee): Promise<{ id: string; status: string }[]>;
};

export async function openPayees(): Promise<Payees> {
  const sales = await openSales();
  const stripe = await startStripe({ now: sales.clock.now });
  const deps: BillingDeps = { ...sales.deps, stripe: accessTo(stripe) };

  async function release(): Promise<void> {
    const through = Date.now() + 1;
    await passed(through);
    await sales.clock.at(through + DISPUTE_WINDOW_MS, () => releaseEarnings(deps));
  }

  async function onboard(payee: Payee): Promise<string> {
    await openOnboarding(deps, payee);
    const account = stripe
      .all('account')
      .find(
        ({ metadata }) => (metadata as { organization_id: string }).organization_id === payee.organizationId,
      );
    invariant(account, 'an onboarding link is to an account');
    stripe.completeOnboarding(account.id);
    await refreshPayoutAccount(deps, account.id);
    return account.id;
  }

  return {
    ...sales,
    deps,
    stripe,
    release,
    newPayee: async (credits = 100n, currency = 'live') => {
      const parties = await sales.newParties(currency, credits + 10_000n);
      const payee = { organizationId: parties.sellerId, currency };
      if (credits > 0n) {
        await sales.sell(parties, { amountMicros: credits * CREDIT, feeMicros: 0n });
        await release();
      }
      const accountId = await onboard(payee);
      // Manual, so that a job meant for one seller does not pay those of earlier tests.
      await savePayoutSchedule(deps, payee, { schedule: 'manual', minimumMicros: 1_000n * CREDIT });
      return { ...payee, parties, accountId };
    },
    pay: ({ organizationId, currency }, wish = {}) =>
      requestPayout(wish.deps ?? deps, {
        organizationId,
        currency,
        askedMicros: wish.askedMicros,
        idempotencyKey: wish.key ?? newId('txn'),
      }),
    transfersTo: ({ organizationId }) =>
      stripe
        .all('transfer')
        .filter(
          ({ metadata }) => (metadata as { organization_id: string }).organization_id === organizationId,
        ),
    payoutsOf: async ({ organizationId, currency }) => {
      const { rows } = await sales.database.pool.query<{ id: string; status: string }>(
        'SELECT id, status FROM payouts WHERE organization_id = $1 AND currency = $2 ORDER BY id',
        [organizationId, currency],
      );
      return rows;
    },
    close: async () => {
      await stripe.close();
      await sales.close();
    },
  };
}

/** Without the retries of the SDK: an answer that is lost is lost at once. */
function accessTo(stripe: StripeStandIn): BillingDeps['stripe'] {
  const { hostname, port } = new URL(stripe.url);
  const client = new Stripe(stripe.options.secretKey, {
    host: hostname,
    port: Number(port),
    protocol: 'http',
    maxNetworkRetries: 0,
    telemetry: false,
  });
  return { ...openStripe(stripe.options), client };
}

/** What is settled after this is later than `moment`, also in whole milliseconds. */
export async function passed(moment: number): Promise<void> {
  while (Date.now() <= moment) await new Promise(setImmediate);
}
