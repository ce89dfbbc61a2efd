import type { BillingDeps } from './deps.ts';
import { findCustomer } from './stripe-customers.ts';
import {
  disputeOf,
  factsOfIntent,
  factsOfSession,
  refundOf,
  TOP_UP_MEMBER,
  type DisputeFact,
  type PaymentFacts,
  type RefundFact,
} from './stripe-facts.ts';
import type { StripeAccess } from './stripe.ts';
import { topUpId, type TopUp } from './top-ups.ts';

// The clocks of two houses.
const SKEW_SECONDS = 300;

/** What Stripe knows of a top-up now. Undefined: nothing was ever made of it there. */
export async function askStripe(
  deps: Pick<BillingDeps, 'db'>,
  stripe: StripeAccess,
  topUp: TopUp,
): Promise<PaymentFacts | undefined> {
  const facts = await findPayment(deps, stripe, topUp);
  if (facts?.paymentIntentId === undefined || !facts.paid) return facts;
  return {
    ...facts,
    refunds: await listRefunds(stripe, facts.paymentIntentId),
    disputes: await listDisputes(stripe, facts.paymentIntentId),
  };
}

/** Of a payment that is known by nothing but its id, as a dispute names it. */
export async function askForPayment(stripe: StripeAccess, paymentIntentId: string): Promise<PaymentFacts> {
  return factsOfIntent(
    await stripe.client.paymentIntents.retrieve(paymentIntentId, { expand: ['latest_charge'] }),
  );
}

async function findPayment(
  deps: Pick<BillingDeps, 'db'>,
  stripe: StripeAccess,
  topUp: TopUp,
): Promise<PaymentFacts | undefined> {
  const sessionId =
    topUp.sessionId ?? (topUp.isAutomatic ? undefined : await findSession(deps, stripe, topUp));
  if (sessionId !== undefined) {
    const expand = ['payment_intent.latest_charge', 'invoice'];
    return factsOfSession(await stripe.client.checkout.sessions.retrieve(sessionId, { expand }));
  }
  const intentId =
    topUp.paymentIntentId ?? (topUp.isAutomatic ? await findIntent(deps, stripe, topUp) : undefined);
  return intentId === undefined ? undefined : askForPayment(stripe, intentId);
}

/** A page whose address was lost on its way to us: it is one of this customer's, and bears our id. */
async function findSession(
  deps: Pick<BillingDeps, 'db'>,
  stripe: StripeAccess,
  topUp: TopUp,
): Promise<string | undefined> {
  const customer = await findCustomer(deps.db, topUp);
  if (!customer) return undefined;
  const wanted = { customer: customer.customerId, created: since(topUp), limit: 100 };
  for await (const session of stripe.client.checkout.sessions.list(wanted)) {
    if (session.client_reference_id === topUpId(topUp)) return session.id;
  }
  return undefined;
}

async function findIntent(
  deps: Pick<BillingDeps, 'db'>,
  stripe: StripeAccess,
  topUp: TopUp,
): Promise<string | undefined> {
  const customer = await findCustomer(deps.db, topUp);
  if (!customer) return undefined;
  const wanted = { customer: customer.customerId, created: since(topUp), limit: 100 };
  for await (const intent of stripe.client.paymentIntents.list(wanted)) {
    if (intent.metadata[TOP_UP_MEMBER] === topUpId(topUp)) return intent.id;
  }
  return undefined;
}

function since(topUp: TopUp): { gte: number } {
  return { gte: Math.trunc(topUp.createdAt.getTime() / 1_000) - SKEW_SECONDS };
}

async function listRefunds(stripe: StripeAccess, paymentIntentId: string): Promise<RefundFact[]> {
  const refunds: RefundFact[] = [];
  for await (const each of stripe.client.refunds.list({ payment_intent: paymentIntentId, limit: 100 })) {
    refunds.push(refundOf(each));
  }
  return refunds;
}

async function listDisputes(stripe: StripeAccess, paymentIntentId: string): Promise<DisputeFact[]> {
  const disputes: DisputeFact[] = [];
  for await (const each of stripe.client.disputes.list({ payment_intent: paymentIntentId, limit: 100 })) {
    disputes.push(disputeOf(each));
  }
  return disputes;
}

/** Closes what could still be paid. True when nothing can any more. */
export async function closePayment(stripe: StripeAccess, facts: PaymentFacts): Promise<boolean> {
  if (facts.sessionId !== undefined) {
    const session = await stripe.client.checkout.sessions.retrieve(facts.sessionId);
    if (session.status === 'open') await stripe.client.checkout.sessions.expire(facts.sessionId);
    // A payment that takes days has left the page and is still under way.
    return session.status !== 'complete';
  }
  if (facts.paymentIntentId === undefined) return true;
  const intent = await stripe.client.paymentIntents.retrieve(facts.paymentIntentId);
  if (intent.status === 'processing' || intent.status === 'succeeded') return false;
  if (intent.status !== 'canceled') await stripe.client.paymentIntents.cancel(facts.paymentIntentId);
  return true;
}
