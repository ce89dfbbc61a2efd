import { inArray } from 'drizzle-orm';
import type { Db } from '../db/db.ts';
import { INTENT_PREFIX, SESSION_PREFIX } from './stripe-facts.ts';
import {
  CARD_DISPUTE,
  CHECKOUT_SESSION,
  EARLY_FRAUD_WARNING,
  PAYMENT_INTENT,
  REFUND,
  stateOf,
  type StripeState,
} from './stripe-states.ts';
import { cardDisputes, cardRefunds, earlyFraudWarnings } from './card-tables.ts';

/** What Stripe told of one payment beside the payment itself. */
export type CardPayment = {
  refunds: (typeof cardRefunds.$inferSelect)[];
  disputes: (typeof cardDisputes.$inferSelect)[];
  warnings: (typeof earlyFraudWarnings.$inferSelect)[];
};

/** By the id of the top-up; one of which Stripe told nothing has none. */
export async function listCardPayments(db: Db, topUpIds: string[]): Promise<Map<string, CardPayment>> {
  const payments = new Map<string, CardPayment>();
  if (topUpIds.length === 0) return payments;
  const of = (topUpId: string): CardPayment => {
    const known = payments.get(topUpId) ?? { refunds: [], disputes: [], warnings: [] };
    payments.set(topUpId, known);
    return known;
  };
  const { topUpId: refunded } = cardRefunds;
  for (const row of await db
    .select()
    .from(cardRefunds)
    .where(inArray(refunded, topUpIds))
    .orderBy(cardRefunds.refundId))
    of(row.topUpId).refunds.push(row);
  const { topUpId: disputed } = cardDisputes;
  for (const row of await db
    .select()
    .from(cardDisputes)
    .where(inArray(disputed, topUpIds))
    .orderBy(cardDisputes.disputeId))
    of(row.topUpId).disputes.push(row);
  const { topUpId: warned, warnedAt, warningId } = earlyFraudWarnings;
  const warnings = db.select().from(earlyFraudWarnings).where(inArray(warned, topUpIds));
  for (const row of await warnings.orderBy(warnedAt, warningId)) of(row.topUpId).warnings.push(row);
  return payments;
}

/** The row of the state of a payment, or of its page, as a top-up keeps it. */
export function paymentStateOf(paymentState: string): StripeState<'open' | 'paid' | 'abandoned'> {
  return paymentState.startsWith(INTENT_PREFIX)
    ? stateOf(PAYMENT_INTENT, paymentState.slice(INTENT_PREFIX.length), 'open')
    : stateOf(CHECKOUT_SESSION, paymentState.slice(SESSION_PREFIX.length), 'open');
}

/** For one from before Stripe's word was kept, our own stands. */
export function refundStateOf({ state, stripeStatus }: CardPayment['refunds'][number]) {
  return stateOf(REFUND, stripeStatus ?? state, state);
}

const OUR_WORD = {
  inquiry: 'warning_needs_response',
  open: 'needs_response',
  won: 'won',
  lost: 'lost',
} as const;

export function disputeStateOf({ state, stripeStatus }: CardPayment['disputes'][number]) {
  const told = stateOf(CARD_DISPUTE, stripeStatus ?? OUR_WORD[state], state);
  // One that was prevented by giving the money back is lost here.
  return told.stored === state ? told : stateOf(CARD_DISPUTE, OUR_WORD[state], state);
}

export function warningStateOf({ isActionable }: { isActionable: boolean }) {
  const word = isActionable ? 'actionable' : 'not_actionable';
  return stateOf(EARLY_FRAUD_WARNING, word, word);
}
