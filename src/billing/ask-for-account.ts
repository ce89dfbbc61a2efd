import { Stripe } from 'stripe';
import type { OwnReason } from './stripe-states.ts';
import type { StripeAccess } from './stripe.ts';
import { isRefusal } from './stripe-words.ts';

/** How a seller's account stands at Stripe. */
export type AccountFacts =
  | { kind: 'ready'; requirements: string[] }
  /** `reason` is Stripe's own word, also one we do not know, or one of ours. */
  | { kind: 'not ready'; reason: string; requirements: string[] }
  | { kind: 'gone'; reason: GoneReason };

export type GoneReason = Extract<OwnReason, `account.${string}`>;

/** Asks Stripe about an account. Throws when Stripe does not answer, or would not tell us of any account. */
export async function askForAccount(stripe: StripeAccess, stripeAccountId: string): Promise<AccountFacts> {
  try {
    return factsOfAccount(await stripe.client.accounts.retrieve(stripeAccountId));
  } catch (error) {
    if (await isUnknown(stripe, error)) return { kind: 'gone', reason: 'account.unknown' };
    throw error;
  }
}

function factsOfAccount(account: Stripe.Account | Stripe.DeletedAccount): AccountFacts {
  if (account.deleted) return { kind: 'gone', reason: 'account.deleted' };
  const { capabilities, payouts_enabled: paysBank, requirements: asked } = account;
  const requirements = [...new Set([...(asked?.past_due ?? []), ...(asked?.currently_due ?? [])])].sort();
  const transfers = capabilities?.transfers ?? 'inactive';
  if (transfers === 'active' && paysBank) return { kind: 'ready', requirements };
  const own = transfers === 'active' ? 'payouts.disabled' : `transfers.${transfers}`;
  return { kind: 'not ready', reason: asked?.disabled_reason ?? own, requirements };
}

/**
 * True for an account that was disconnected, is deleted or never was ours. Stripe answers that with a 403 as a rule,
 * and so it does to a key that may not look at accounts at all, which says nothing of this one.
 */
async function isUnknown({ client }: StripeAccess, error: unknown): Promise<boolean> {
  if (!isRefusal(error)) return false;
  if (error.code === 'account_invalid' || error.code === 'resource_missing') return true;
  try {
    await client.accounts.list({ limit: 1 });
    return true;
  } catch (cause) {
    if (cause instanceof Stripe.errors.StripeError) return false;
    throw cause;
  }
}
