import type { Stripe } from 'stripe';
import { invariant } from '../base/invariant.ts';
import { isJsonObject } from '../base/json.ts';
import { Problem } from '../base/problem.ts';
import { readDatabaseClock } from '../db/database-clock.ts';
import { askForPayment } from './ask-stripe.ts';
import type { BillingDeps } from './deps.ts';
import { recordAccountEvent, recordPayoutEvent } from './payout-events.ts';
import { recordPayment } from './record-payment.ts';
import { requireStripe, stripeMoves, type StripeAccess } from './stripe.ts';
import { factsOfEvent, type PaymentFacts } from './stripe-facts.ts';
import { stripeEvents } from './tables.ts';
import { idOf } from './stripe-words.ts';
import { findTopUp, findTopUpOfPayment, type TopUp } from './top-ups.ts';

/** How old a signed request may be: Stripe's own five minutes. */
const TOLERANCE_SECONDS = 300;

/**
 * The event a signed request carries. Throws STRIPE_NOT_CONFIGURED without a secret to check it with, and
 * INVALID_INPUT for a signature that is not Stripe's, or is old.
 */
export async function verifyStripeEvent(
  deps: Pick<BillingDeps, 'stripe' | 'db'>,
  body: Buffer,
  signature: string | undefined,
): Promise<Stripe.Event | ThinEvent> {
  const { client, webhookSecrets } = requireStripe(deps);
  if (webhookSecrets.length === 0) {
    throw new Problem(
      'STRIPE_NOT_CONFIGURED',
      'This gateway cannot check what Stripe sends: its operator sets STRIPE_WEBHOOK_SECRET.',
    );
  }
  // Not `constructEvent`, which throws on a thin event, whose signature is as right as any.
  const { signature: verifier } = client.webhooks;
  invariant(verifier, 'the SDK for Node can verify signatures');
  const now = (await readDatabaseClock(deps.db)).getTime();
  let cause: unknown;
  for (const secret of webhookSecrets) {
    try {
      const header = signature ?? '';
      verifier.verifyHeader(body, header, secret, TOLERANCE_SECONDS, undefined, now);
      return JSON.parse(body.toString('utf8')) as Stripe.Event | ThinEvent;
    } catch (error) {
      cause = error;
    }
  }
  throw new Problem(
    'INVALID_INPUT',
    'The Stripe-Signature header does not fit this body, or is older than five minutes. Only Stripe can call this; the operator checks that STRIPE_WEBHOOK_SECRET has the secret of this very endpoint.',
    {},
    { cause },
  );
}

/** An event that names what it is about and does not show it. Stripe sends them for its newer API. */
export type ThinEvent = {
  object: 'v2.core.event';
  id: string;
  type: string;
  livemode: boolean;
  related_object?: { type: string; id: string } | null;
};

/** What became of an event. All but a thrown error is acknowledged, so that Stripe does not send it again. */
export type Handled =
  | 'recorded'
  /** It was dealt with before. */
  | 'repeated'
  /** Of a kind that says nothing to us, or about a payment that is none of ours. */
  | 'ignored';

const OF_CONNECTED_ACCOUNTS: ReadonlySet<string> = new Set([
  'account.updated',
  'account.application.deauthorized',
  'payout.failed',
  'payout.updated',
]);

/** Deals with an event exactly once, whatever order events come in and however often. */
export async function handleStripeEvent(
  deps: BillingDeps,
  event: Stripe.Event | ThinEvent,
): Promise<Handled> {
  const stripe = requireStripe(deps);
  // A right signature says who wrote it, not what.
  const told: unknown = event;
  if (isThin(event)) return handleThinEvent(deps, stripe, event);
  if (!isJsonObject(told) || !isJsonObject(told['data']) || !isJsonObject(told['data']['object']))
    return 'ignored';
  if (event.livemode !== stripe.isLive) {
    // An endpoint for connected accounts is sent both; the money of the other mode is no money here.
    deps.log('warn', 'an event of the other mode of Stripe was ignored', {
      event: event.id,
      type: event.type,
    });
    return 'ignored';
  }
  if (event.account !== undefined && !OF_CONNECTED_ACCOUNTS.has(event.type)) {
    // A connected account moves money of its own, and writes what it likes on it.
    deps.log('warn', 'an event of a connected account was ignored', { event: event.id, type: event.type });
    return 'ignored';
  }
  return (await recordPayoutEvent(deps, event)) ?? recordPaymentEvent(deps, stripe, event);
}

function isThin(told: unknown): told is ThinEvent {
  return isJsonObject(told) && told['object'] === 'v2.core.event';
}

/** Of those only what concerns an account is acted on: it is read again, as for any word about one. */
async function handleThinEvent(deps: BillingDeps, stripe: StripeAccess, event: ThinEvent): Promise<Handled> {
  const about: unknown = event.related_object;
  if (!isJsonObject(about) || about['type'] !== 'v2.core.account') return 'ignored';
  const { id, livemode } = event;
  if (typeof about['id'] !== 'string' || typeof id !== 'string' || livemode !== stripe.isLive)
    return 'ignored';
  return recordAccountEvent(deps, event, about['id']);
}

async function recordPaymentEvent(
  deps: BillingDeps,
  stripe: StripeAccess,
  event: Stripe.Event,
): Promise<Handled> {
  const facts = factsOfEvent(event);
  // Before the transaction: nobody waits for Stripe while holding locks.
  const payment = facts && (await findPayment(deps, stripe, facts));
  return deps.db.transaction(async (tx) => {
    const [isNew] = await tx
      .insert(stripeEvents)
      .values({ id: event.id, type: event.type })
      .onConflictDoNothing()
      .returning({ id: stripeEvents.id });
    if (!isNew) return 'repeated';
    if (!payment) {
      if (facts)
        deps.log('info', 'an event about a payment that is not ours', { event: event.id, type: event.type });
      return 'ignored';
    }
    if (!stripeMoves(stripe, payment.topUp.currency)) {
      deps.log('error', 'a payment of this mode of Stripe names a top-up of the other currency', {
        event: event.id,
      });
      return 'ignored';
    }
    await recordPayment(deps, tx, payment.topUp, payment.facts);
    return 'recorded';
  });
}

/** The top-up that facts are about, and the facts with what they leave unsaid. */
export async function findPayment(
  deps: BillingDeps,
  stripe: StripeAccess,
  facts: PaymentFacts,
): Promise<{ topUp: TopUp; facts: PaymentFacts } | undefined> {
  if (facts.topUpId !== undefined) {
    const topUp = await findTopUp(deps.db, facts.topUpId);
    return topUp && { topUp, facts };
  }
  const paymentIntentId = facts.paymentIntentId ?? (await findIntentOfCharge(stripe, facts.chargeId));
  if (paymentIntentId === undefined) return undefined;
  const known = await findTopUpOfPayment(deps.db, paymentIntentId);
  if (known?.status === 'paid') return { topUp: known, facts };
  // A refund or a dispute may be the first we hear of a payment, and does not say what was paid, nor for what.
  const asked = await askForPayment(stripe, paymentIntentId);
  const topUp = asked.topUpId === undefined ? undefined : await findTopUp(deps.db, asked.topUpId);
  return topUp && { topUp, facts: { ...asked, ...facts, paymentIntentId, topUpId: asked.topUpId } };
}

async function findIntentOfCharge(
  { client }: StripeAccess,
  chargeId: string | undefined,
): Promise<string | undefined> {
  if (chargeId === undefined) return undefined;
  return idOf((await client.charges.retrieve(chargeId)).payment_intent);
}
