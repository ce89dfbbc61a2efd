import type { Stripe } from 'stripe';
import { CARD_DISPUTE, CHECKOUT_SESSION, PAYMENT_INTENT, REFUND, stateOf } from './stripe-states.ts';
import { fromStripeAmount, idOf, wholeOf } from './stripe-words.ts';

/**
 * What one message of Stripe tells about one payment. Every fact stays true once it is: facts add up in any
 * order and any number of times. An absent one says nothing.
 */
export type PaymentFacts = {
  /** `top_…`, as we wrote it on everything the payment is made of. */
  topUpId?: string | undefined;
  sessionId?: string | undefined;
  paymentIntentId?: string | undefined;
  /** The card was charged this much. */
  paid?: { cents: bigint; currency: string } | undefined;
  /** No payment will come of it. */
  ended?: 'failed' | 'abandoned' | undefined;
  /** Why a card was declined, in words for its owner. */
  declined?: string | undefined;
  charge?: { id: string; receiptUrl: string | undefined; card: SavedCard | undefined } | undefined;
  invoice?: { id: string; url: string | undefined } | undefined;
  /** What its refunds came to at that moment. It falls when one fails, so this much or more was refunded once. */
  refundedCents?: bigint | undefined;
  /** Any of its refunds. */
  refunds?: RefundFact[] | undefined;
  /** Any of its disputes; one payment may have several. */
  disputes?: DisputeFact[] | undefined;
  /** Any of its early fraud warnings. */
  warnings?: WarningFact[] | undefined;
  /** How far the payment was at that moment, in Stripe's words: `payment_intent.…` or `checkout_session.…`. */
  paymentState?: string | undefined;
  /** Where a message names the payment by nothing but its charge. */
  chargeId?: string | undefined;
};

export type SavedCard = { paymentMethodId: string; brand: string | undefined; lastFour: string | undefined };
/** `status` is Stripe's own word for the state, also one we have no rule for. */
export type RefundFact = {
  id: string;
  state: RefundState;
  status: string;
  cents: bigint;
  currency: string;
};
export type RefundState = 'pending' | 'succeeded' | 'canceled' | 'failed';
export type DisputeFact = { id: string; state: DisputeState; status: string; cents: bigint };
export type DisputeState = 'inquiry' | 'open' | 'won' | 'lost';
export type WarningFact = { id: string; fraudType: string; isActionable: boolean; warnedAt: Date };

/** The member of Stripe's metadata that names the top-up. */
export const TOP_UP_MEMBER = 'top_up';

export const SESSION_PREFIX = 'checkout_session.';
export const INTENT_PREFIX = 'payment_intent.';

export function factsOfSession(session: Stripe.Checkout.Session): PaymentFacts {
  const intent = wholeOf(session.payment_intent);
  const invoice = wholeOf(session.invoice);
  const word = `${session.status ?? 'open'}.${session.payment_status}`;
  const { stored } = stateOf(CHECKOUT_SESSION, word, session.payment_status === 'paid' ? 'paid' : 'open');
  return {
    // Of the payment itself, where it is there, its own state says more.
    paymentState: `${SESSION_PREFIX}${word}`,
    ...(intent ? factsOfIntent(intent) : {}),
    ...(invoice ? factsOfInvoice(invoice) : {}),
    topUpId: session.metadata?.[TOP_UP_MEMBER],
    sessionId: session.id,
    paymentIntentId: idOf(session.payment_intent),
    ...(stored === 'paid' ? { paid: paidOf(session.amount_total ?? 0, session.currency ?? '') } : {}),
    ...(stored === 'abandoned' ? { ended: 'abandoned' } : {}),
  };
}

export function factsOfIntent(intent: Stripe.PaymentIntent): PaymentFacts {
  const charge = wholeOf(intent.latest_charge);
  const { stored } = stateOf(PAYMENT_INTENT, intent.status, 'open');
  return {
    ...(charge && isSucceeded(charge) ? factsOfCharge(charge) : {}),
    topUpId: intent.metadata[TOP_UP_MEMBER],
    paymentIntentId: intent.id,
    paymentState: `${INTENT_PREFIX}${intent.status}`,
    ...(stored === 'paid' ? { paid: paidOf(intent.amount_received, intent.currency) } : {}),
    ...(stored === 'abandoned' ? { ended: 'abandoned' } : {}),
    ...(intent.status === 'requires_payment_method' && intent.last_payment_error
      ? { declined: intent.last_payment_error.message ?? 'The card was declined.' }
      : {}),
  };
}

/** Of a charge that went through; a declined one is told by its payment intent. */
export function factsOfCharge(charge: Stripe.Charge): PaymentFacts {
  const card = charge.payment_method_details?.card;
  return {
    topUpId: charge.metadata[TOP_UP_MEMBER],
    paymentIntentId: idOf(charge.payment_intent),
    paid: paidOf(charge.amount_captured, charge.currency),
    // Its payment has succeeded with it.
    paymentState: `${INTENT_PREFIX}succeeded`,
    charge: {
      id: charge.id,
      receiptUrl: charge.receipt_url ?? undefined,
      card:
        card && charge.payment_method !== null
          ? {
              paymentMethodId: charge.payment_method,
              brand: card.brand ?? undefined,
              lastFour: card.last4 ?? undefined,
            }
          : undefined,
    },
    refundedCents: fromStripeAmount(charge.amount_refunded),
    // Only API versions before 2022-11-15 name them here.
    refunds: charge.refunds?.data.map(refundOf),
  };
}

/** A refund carries nothing of ours but the payment it gives back. */
export function factsOfRefund(refund: Stripe.Refund): PaymentFacts {
  return {
    paymentIntentId: idOf(refund.payment_intent),
    refunds: [refundOf(refund)],
  };
}

/** A warning carries nothing of ours but the payment it is about; older ones name only its charge. */
export function factsOfWarning(warning: Stripe.Radar.EarlyFraudWarning): PaymentFacts {
  return {
    paymentIntentId: idOf(warning.payment_intent),
    chargeId: idOf(warning.charge),
    warnings: [warningOf(warning)],
  };
}

export function warningOf(warning: Stripe.Radar.EarlyFraudWarning): WarningFact {
  return {
    id: warning.id,
    fraudType: warning.fraud_type,
    isActionable: warning.actionable,
    warnedAt: new Date(warning.created * 1_000),
  };
}

/** A dispute carries nothing of ours but the payment it is about. */
export function factsOfDispute(dispute: Stripe.Dispute): PaymentFacts {
  return {
    paymentIntentId: idOf(dispute.payment_intent),
    disputes: [disputeOf(dispute)],
  };
}

export function factsOfInvoice(invoice: Stripe.Invoice): PaymentFacts {
  return {
    topUpId: invoice.metadata?.[TOP_UP_MEMBER],
    invoice: { id: invoice.id, url: invoice.hosted_invoice_url ?? undefined },
  };
}

/** What an event tells of a payment; undefined for one that is about something else. */
export function factsOfEvent(event: Stripe.Event): PaymentFacts | undefined {
  // oxlint-disable-next-line typescript/switch-exhaustiveness-check -- hundreds of kinds are none of ours
  switch (event.type) {
    case 'checkout.session.completed':
    case 'checkout.session.async_payment_succeeded':
    case 'checkout.session.expired':
      return factsOfSession(event.data.object);
    case 'checkout.session.async_payment_failed':
      return { ...factsOfSession(event.data.object), ended: 'failed' };
    case 'payment_intent.succeeded':
    case 'payment_intent.payment_failed':
    case 'payment_intent.canceled':
      return factsOfIntent(event.data.object);
    case 'charge.succeeded':
    case 'charge.updated':
    case 'charge.refunded':
      return isSucceeded(event.data.object) ? factsOfCharge(event.data.object) : undefined;
    // Which of these are sent depends on the API version of the endpoint; all carry the refund.
    case 'refund.created':
    case 'refund.updated':
    case 'refund.failed':
    case 'charge.refund.updated':
      return factsOfRefund(event.data.object);
    case 'charge.dispute.created':
    case 'charge.dispute.updated':
    case 'charge.dispute.closed':
    case 'charge.dispute.funds_withdrawn':
    case 'charge.dispute.funds_reinstated':
      return factsOfDispute(event.data.object);
    case 'radar.early_fraud_warning.created':
    case 'radar.early_fraud_warning.updated':
      return factsOfWarning(event.data.object);
    case 'invoice.paid':
      return factsOfInvoice(event.data.object);
    default:
      return undefined;
  }
}

function paidOf(amount: number, currency: string): { cents: bigint; currency: string } {
  return { cents: fromStripeAmount(amount), currency };
}

/** `paid` alone also says that a charge was authorized, or is still pending. */
function isSucceeded({ paid, status }: Stripe.Charge): boolean {
  return paid && status === 'succeeded';
}

export function refundOf(refund: Stripe.Refund): RefundFact {
  const { id, amount, currency } = refund;
  const status = refund.status ?? 'pending';
  // Until it has ended a refund is on its way: it counts, so that what it gives back cannot be spent as well.
  const { stored: state } = stateOf(REFUND, status, 'pending');
  return { id, state, status, cents: fromStripeAmount(amount), currency };
}

export function disputeOf(dispute: Stripe.Dispute): DisputeFact {
  const { id, status, amount } = dispute;
  return { id, state: stateOfDispute(dispute), status, cents: fromStripeAmount(amount) };
}

function stateOfDispute({ status, balance_transactions: movements }: Stripe.Dispute): DisputeState {
  // Some networks end a dispute before it begins by giving the money back.
  const isGivenBack = movements.reduce((sum, { amount }) => sum + amount, 0) < 0;
  if (status === 'prevented' && isGivenBack) return 'lost';
  // An inquiry takes no money, also one in a state that Stripe added; anything else may have.
  return stateOf(CARD_DISPUTE, status, status.startsWith('warning_') ? 'inquiry' : 'open').stored;
}
