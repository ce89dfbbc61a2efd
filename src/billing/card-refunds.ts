import { and, eq, inArray, ne } from 'drizzle-orm';
import { insertEvent } from '../audit/events.ts';
import { formatCredits, formatUsd, MICROS_PER_CREDIT } from '../base/money.ts';
import type { Tx } from '../db/db.ts';
import type { PaymentFacts, RefundFact, RefundState } from './stripe-facts.ts';
import { placeOf, REFUND } from './stripe-states.ts';
import { cardRefunds } from './card-tables.ts';
import { topUpId, type TopUp } from './top-ups.ts';

type RefundSums = Pick<TopUp, 'refundedCents' | 'failedRefundCents'>;

// A refund may be heard of in any order; how far it is never goes back. One that succeeded may still fail.
const RANK = { pending: 0, succeeded: 1, canceled: 2, failed: 3 } as const;

/** True for a refund that never reached the card, or came back from it. */
export function isFailed({ state }: { state: RefundState }): boolean {
  return state === 'failed' || state === 'canceled';
}

/**
 * Adds what Stripe told of the refunds of one payment, each under its own id, to what is known of them. The
 * top-up is locked. Says which of them are now known to have failed, and what all of them come to.
 */
export async function addRefunds(
  tx: Tx,
  topUp: Pick<TopUp, 'id' | 'amountCents' | 'refundedCents'>,
  facts: Pick<PaymentFacts, 'refunds' | 'refundedCents'>,
): Promise<{ newlyFailed: RefundFact[]; sums: RefundSums }> {
  const rows = await tx.select().from(cardRefunds).where(eq(cardRefunds.topUpId, topUp.id));
  const known = new Map(rows.map((row) => [row.refundId, row]));
  const newlyFailed: RefundFact[] = [];
  for (const told of facts.refunds ?? []) {
    const before = known.get(told.id);
    const values = {
      ...(before && isFurther(before, told)
        ? { state: before.state, stripeStatus: before.stripeStatus }
        : { state: told.state, stripeStatus: told.status }),
      cents: before && before.cents > told.cents ? before.cents : told.cents,
    };
    const row = { refundId: told.id, topUpId: topUp.id, ...values };
    await tx
      .insert(cardRefunds)
      .values(row)
      .onConflictDoUpdate({ target: cardRefunds.refundId, set: values });
    known.set(told.id, row);
    if (isFailed(row) && !(before && isFailed(before))) newlyFailed.push(told);
  }
  return { newlyFailed, sums: sumRefunds(topUp, [...known.values()], facts.refundedCents) };
}

/** Whether what is known of a refund is further than what was told. */
function isFurther(known: typeof cardRefunds.$inferSelect, told: RefundFact): boolean {
  if (RANK[known.state] !== RANK[told.state]) return RANK[known.state] > RANK[told.state];
  return known.stripeStatus !== null && placeOf(REFUND, known.stripeStatus) > placeOf(REFUND, told.status);
}

/**
 * What the refunds of one payment ever came to, and what of that never reached the card: both only rise, so
 * their difference, what the card was given back, is the same whatever was told first. A total that is above all
 * refunds known by id stands for some that are not known yet, and counts until they are.
 */
function sumRefunds(
  topUp: Pick<TopUp, 'amountCents' | 'refundedCents'>,
  refunds: readonly { state: RefundState; cents: bigint }[],
  toldCents = 0n,
): RefundSums {
  const sum = (of: typeof refunds): bigint => of.reduce((total, { cents }) => total + cents, 0n);
  // A card never gets back more than it paid, fees of a network aside.
  const total = toldCents < topUp.amountCents ? toldCents : topUp.amountCents;
  return {
    refundedCents: [topUp.refundedCents, total, sum(refunds)].reduce((a, b) => (a > b ? a : b)),
    failedRefundCents: sum(refunds.filter(isFailed)),
  };
}

/** Any of these refunds that is known to be of another payment. */
export async function findRefundOfAnother(
  tx: Tx,
  topUp: Pick<TopUp, 'id'>,
  refunds: readonly RefundFact[],
): Promise<string | undefined> {
  if (refunds.length === 0) return undefined;
  const ids = refunds.map(({ id }) => id);
  const [row] = await tx
    .select({ id: cardRefunds.refundId })
    .from(cardRefunds)
    .where(and(inArray(cardRefunds.refundId, ids), ne(cardRefunds.topUpId, topUp.id)))
    .limit(1);
  return row?.id;
}

/** Tells the buyer of each refund that failed, and how much of what it had taken is given back. */
export async function tellFailedRefunds(
  tx: Tx,
  topUp: TopUp,
  failed: readonly RefundFact[],
  { returnedMicros, availableMicros }: { returnedMicros: bigint; availableMicros: bigint },
): Promise<void> {
  let left = returnedMicros;
  for (const { state, cents } of failed) {
    const amountMicros = cents * MICROS_PER_CREDIT;
    const own = amountMicros < left ? amountMicros : left;
    left -= own;
    await insertEvent(tx, {
      organizationId: topUp.organizationId,
      currency: topUp.currency,
      type: 'card_refund.failed',
      data: {
        load_id: topUpId(topUp),
        amount_usd: formatUsd(amountMicros),
        state,
        credits_returned: formatCredits(own),
        owed_credits: formatCredits(topUp.owedMicros),
        balance: formatCredits(availableMicros),
      },
    });
  }
}
