import { and, eq } from 'drizzle-orm';
import { Problem } from '../base/problem.ts';
import type { Db, Tx } from '../db/db.ts';
import type { BillingDeps } from './deps.ts';
import { assertStripeMoves, requireStripe } from './stripe.ts';
import { findCustomer, isOf } from './stripe-customers.ts';
import { isRefusal } from './stripe-words.ts';
import { autoTopUps, stripeCustomers } from './tables.ts';
import { sumAutomatic, type Owner } from './top-ups.ts';

type Rule = typeof autoTopUps.$inferSelect;

/** What an organization wants done when its balance runs low, and how that goes. */
export type AutoTopUp = {
  /** Undefined: it never wanted anything. */
  rule: Rule | undefined;
  card: { brand: string | null; lastFour: string | null } | undefined;
  /** Automatically charged in this UTC month, or about to be. */
  chargedCents: bigint;
};

export async function getAutoTopUp(db: Db, owner: Owner): Promise<AutoTopUp> {
  const [rule] = await db.select().from(autoTopUps).where(isRuleOf(owner));
  const customer = await findCustomer(db, owner);
  return {
    rule,
    card:
      customer?.paymentMethodId === null || !customer
        ? undefined
        : { brand: customer.cardBrand, lastFour: customer.cardLastFour },
    chargedCents: await sumAutomatic(db, owner),
  };
}

/** Switches it on, or on again. Throws STRIPE_NOT_CONFIGURED, and CONFLICT when no card was saved for it. */
export async function setAutoTopUp(
  deps: BillingDeps,
  owner: Owner,
  wish: { thresholdMicros: bigint; amountCents: bigint; monthlyCeilingCents: bigint },
): Promise<void> {
  assertStripeMoves(requireStripe(deps), owner.currency);
  const customer = await findCustomer(deps.db, owner);
  if (customer?.paymentMethodId === null || !customer) {
    throw new Problem(
      'CONFLICT',
      'There is no saved card to charge. Buy credits once with POST /v1/billing/load and "save_card": true.',
    );
  }
  const values = { ...wish, isEnabled: true, failure: null };
  await deps.db.transaction((tx) =>
    tx
      .insert(autoTopUps)
      .values({ organizationId: owner.organizationId, currency: owner.currency, ...values })
      .onConflictDoUpdate({ target: [autoTopUps.organizationId, autoTopUps.currency], set: values }),
  );
}

/** With a failure, unless it is off already: that says why it was switched off by another than its owner. */
export async function markAutoTopUpOff(tx: Tx, owner: Owner, failure: string | null): Promise<void> {
  const rule = failure === null ? isRuleOf(owner) : and(isRuleOf(owner), eq(autoTopUps.isEnabled, true));
  await tx.update(autoTopUps).set({ isEnabled: false, failure }).where(rule);
}

/** Forgets the saved card, here and at Stripe, and with it automatic top-ups. */
export async function forgetCard(deps: BillingDeps, owner: Owner): Promise<void> {
  const customer = await findCustomer(deps.db, owner);
  // Ours first: whatever becomes of the rest, this card is not charged again.
  await deps.db.transaction(async (tx) => {
    await markAutoTopUpOff(tx, owner, null);
    await tx
      .update(stripeCustomers)
      .set({ paymentMethodId: null, cardBrand: null, cardLastFour: null })
      .where(isOf(owner));
  });
  if (customer?.paymentMethodId === null || !customer || !deps.stripe) return;
  try {
    await deps.stripe.client.paymentMethods.detach(customer.paymentMethodId);
  } catch (error) {
    if (!isRefusal(error)) deps.log('warn', 'a card is still kept at Stripe', { error: String(error) });
  }
}

export function isRuleOf(owner: Owner) {
  return and(eq(autoTopUps.organizationId, owner.organizationId), eq(autoTopUps.currency, owner.currency));
}
