import type { Stripe } from 'stripe';
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
};

export type SavedCard = { paymentMethodId: string; brand: string | undefined; lastFour: string | undefined };
export type RefundFact = { id: string; state: RefundState; cents: bigint; currency: string };
export type RefundState = 'pending' | 'succeeded' | 'canceled' | 'failed';
export type DisputeFact = { id: string; state: DisputeState; cents: bigint };
export type DisputeState = 'none' | 'open' | 'won' | 'lost';

/** The member of Stripe's metadata that names the top-up. */
export const TOP_UP_MEMBER = 'top_up';

export function factsOfSession(session: Stripe.Checkout.Session): PaymentFacts {
  const intent = wholeOf(session.payment_intent);
  const invoice = wholeOf(session.invoice);
  const isPaid = session.payment_status === 'paid';
  return {
    ...(intent ? factsOfIntent(intent) : {}),
    ...(invoice ? factsOfInvoice(invoice) : {}),
    topUpId: session.metadata?.[TOP_UP_MEMBER],
    sessionId: session.id,
    paymentIntentId: idOf(session.payment_intent),
    ...(isPaid ? { paid: paidOf(session.amount_total ?? 0, session.currency ?? '') } : {}),
    ...(session.status === 'expired' ? { ended: 'abandoned' } : {}),
  };
}

export function factsOfIntent(intent: Stripe.PaymentIntent): PaymentFacts {
  const charge = wholeOf(intent.latest_charge);
  return {
    ...(charge && isSucceeded(charge) ? factsOfCharge(charge) : {}),
    topUpId: intent.metadata[TOP_UP_MEMBER],
    paymentIntentId: intent.id,
    ...(intent.status === 'succeeded' ? { paid: paidOf(intent.amount_received, intent.currency) } : {}),
    ...(intent.status === 'canceled' ? { ended: 'abandoned' } : {}),
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
  return { id, state: stateOfRefund(refund), cents: fromStripeAmount(amount), currency };
}

/** Until it has ended a refund is on its way: it counts, so that what it gives back cannot be spent as well. */
function stateOfRefund({ status }: Stripe.Refund): RefundState {
  return status === 'succeeded' || status === 'failed' || status === 'canceled' ? status : 'pending';
}

export function disputeOf(dispute: Stripe.Dispute): DisputeFact {
  return { id: dispute.id, state: stateOfDispute(dispute), cents: fromStripeAmount(dispute.amount) };
}

function stateOfDispute({ status, balance_transactions: movements }: Stripe.Dispute): DisputeState {
  // An inquiry takes no money yet. When it becomes a dispute, its status says so.
  if (status.startsWith('warning_')) return 'none';
  if (status === 'won' || status === 'lost') return status as 'won' | 'lost';
  // Ended before it began; some networks do that by giving the money back.
  if (status === 'prevented')
    return movements.reduce((sum, { amount }) => sum + amount, 0) < 0 ? 'lost' : 'won';
  return 'open';
}
