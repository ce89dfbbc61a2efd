import { and, eq, sql } from 'drizzle-orm';
import { newId, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import { formatCredits } from '../base/money.ts';
import { databaseNow, databaseNowPlus } from '../db/database-clock.ts';
import { getBalance, lockAccounts } from '../ledger/accounts.ts';
import { ledgerAccounts } from '../ledger/tables.ts';
import { isRuleOf } from './auto-top-up-rules.ts';
import type { BillingDeps } from './deps.ts';
import { recordPayment } from './record-payment.ts';
import { findCustomer, type StripeCustomer } from './stripe-customers.ts';
import { factsOfIntent, TOP_UP_MEMBER } from './stripe-facts.ts';
import { stripeMoves, type StripeAccess } from './stripe.ts';
import { isRefusal, toStripeAmount } from './stripe-words.ts';
import { autoTopUps, topUps } from './tables.ts';
import { isContested, lotMicros, sumAutomatic, topUpId, type Owner, type TopUp } from './top-ups.ts';

const DAY_MS = 24 * 3_600_000;
/** The most that are charged in one run; the next one goes on. */
const MOST_A_RUN = 100;

/**
 * Charges the saved cards of those whose balance is below what they said. Any number of processes may run it
 * at once: each top-up is begun under the lock of its balance, and only one may be open.
 */
export async function runAutoTopUps(deps: BillingDeps): Promise<{ charged: number }> {
  const { stripe } = deps;
  if (!stripe) return { charged: 0 };
  let charged = 0;
  for (const owner of await listLow(deps)) {
    if (!stripeMoves(stripe, owner.currency)) continue;
    const topUp = await begin(deps, owner);
    if (topUp && (await chargeCard(deps, stripe, topUp))) charged += 1;
  }
  return { charged };
}

type Low = Owner & { accountId: bigint };

/** Whose balance looks low. What decides is looked at again under the lock. */
async function listLow(deps: BillingDeps): Promise<Low[]> {
  return deps.db
    .select({
      organizationId: autoTopUps.organizationId,
      currency: autoTopUps.currency,
      accountId: ledgerAccounts.id,
    })
    .from(autoTopUps)
    .innerJoin(
      ledgerAccounts,
      and(
        eq(ledgerAccounts.organizationId, autoTopUps.organizationId),
        eq(ledgerAccounts.currency, autoTopUps.currency),
        eq(ledgerAccounts.kind, 'balance'),
      ),
    )
    .where(
      and(
        eq(autoTopUps.isEnabled, true),
        sql`${ledgerAccounts.posted} - ${ledgerAccounts.held} < ${autoTopUps.thresholdMicros}`,
        sql`not exists (select 1 from ${topUps} where ${topUps.organizationId} = ${autoTopUps.organizationId}
          and ${topUps.currency} = ${autoTopUps.currency} and ${topUps.isAutomatic} and ${topUps.status} = 'open')`,
      ),
    )
    .limit(MOST_A_RUN);
}

/**
 * Writes down that a charge is about to be made, if it may be. A payment changes the balance and its top-up in
 * one transaction that holds the balance: so here it is either not paid yet, and open, or the balance has it.
 */
async function begin(deps: BillingDeps, owner: Low): Promise<TopUp | undefined> {
  return deps.db.transaction(async (tx) => {
    await lockAccounts(tx, [owner.accountId]);
    const [rule] = await tx.select().from(autoTopUps).where(isRuleOf(owner));
    if (!rule?.isEnabled) return undefined;
    // Credits bought now would be taken for what is owed, and that card payment may be contested too.
    if (await isContested(tx, owner)) return undefined;
    const { availableMicros } = await getBalance(tx, owner.accountId);
    if (availableMicros >= rule.thresholdMicros) return undefined;
    const chargedCents = await sumAutomatic(tx, owner);
    if (chargedCents + rule.amountCents > rule.monthlyCeilingCents) return undefined;

    const id = uuidOfId('top', newId('top'));
    invariant(id !== undefined, 'a new id is one of its kind');
    const [topUp] = await tx
      .insert(topUps)
      .values({
        id,
        organizationId: owner.organizationId,
        currency: owner.currency,
        accountId: owner.accountId,
        isAutomatic: true,
        amountCents: rule.amountCents,
        status: 'open',
        createdAt: databaseNow,
        expiresAt: databaseNowPlus(DAY_MS),
      })
      // One is open already.
      .onConflictDoNothing()
      .returning();
    return topUp;
  });
}

/**
 * Charges the saved card for a top-up that is written down. True when the card was charged. Without an answer
 * the top-up stays open, and reconciliation asks what became of it.
 */
export async function chargeCard(deps: BillingDeps, stripe: StripeAccess, topUp: TopUp): Promise<boolean> {
  const customer = await findCustomer(deps.db, topUp);
  if (customer?.paymentMethodId === null || !customer) {
    await record(deps, topUp, { declined: 'There is no saved card any more.' });
    return false;
  }
  try {
    const intent = await createIntent(stripe, topUp, customer, customer.paymentMethodId);
    const known = await record(deps, topUp, factsOfIntent(intent));
    return known.status === 'paid';
  } catch (error) {
    if (!isRefusal(error)) {
      deps.log('error', 'Stripe did not say what became of a charge', {
        top_up: topUpId(topUp),
        error: String(error),
      });
      return false;
    }
    deps.log('warn', 'a saved card was not charged', { top_up: topUpId(topUp), error: error.message });
    // Stripe's words to a card's owner are for its owner; anything else it says is for us.
    const reason = error.type === 'StripeCardError' ? error.message : 'Stripe refused to charge the card.';
    await record(deps, topUp, { declined: reason, paymentIntentId: error.payment_intent?.id });
    return false;
  }
}

function createIntent(stripe: StripeAccess, topUp: TopUp, customer: StripeCustomer, paymentMethod: string) {
  const id = topUpId(topUp);
  return stripe.client.paymentIntents.create(
    {
      amount: toStripeAmount(topUp.amountCents),
      currency: 'usd',
      customer: customer.customerId,
      payment_method: paymentMethod,
      off_session: true,
      confirm: true,
      description: `${formatCredits(lotMicros(topUp))} Sentinel credits, topped up automatically`,
      metadata: { [TOP_UP_MEMBER]: id },
      expand: ['latest_charge'],
    },
    { idempotencyKey: id },
  );
}

function record(deps: BillingDeps, topUp: TopUp, facts: Parameters<typeof recordPayment>[3]): Promise<TopUp> {
  return deps.db.transaction((tx) => recordPayment(deps, tx, topUp, facts));
}
