import { eq } from 'drizzle-orm';
import type { Tx } from '../db/db.ts';
import type { DisputeFact } from './stripe-facts.ts';
import { CARD_DISPUTE, placeOf } from './stripe-states.ts';
import { cardDisputes } from './card-tables.ts';
import type { TopUp } from './top-ups.ts';

type DisputeSums = Pick<TopUp, 'cardDispute' | 'cardDisputeCents' | 'lostCents'>;

// A dispute may be heard of in any order; how far it is never goes back.
const RANK = { inquiry: 0, open: 1, won: 2, lost: 3 } as const;

type Known = Pick<DisputeFact, 'state' | 'cents'> & { status: string | null };

/**
 * Adds what Stripe told of the disputes of one payment, each under its own id, to what is known of them. The
 * top-up is locked. Says how many have become disputes that were not before, and what all of them come to.
 */
export async function addDisputes(
  tx: Tx,
  topUp: Pick<TopUp, 'id' | 'amountCents'>,
  told: readonly DisputeFact[],
): Promise<{ newDisputes: number; sums: DisputeSums }> {
  const rows = await tx.select().from(cardDisputes).where(eq(cardDisputes.topUpId, topUp.id));
  const known = new Map<string, Known>(
    rows.map(({ disputeId, state, stripeStatus, cents }) => [
      disputeId,
      { state, status: stripeStatus, cents },
    ]),
  );
  const count = (): number => [...known.values()].filter(({ state }) => state !== 'inquiry').length;
  const before = count();
  for (const { id, ...fact } of told) {
    const next = further(known.get(id), fact);
    const values = { state: next.state, stripeStatus: next.status, cents: next.cents };
    await tx
      .insert(cardDisputes)
      .values({ disputeId: id, topUpId: topUp.id, ...values })
      .onConflictDoUpdate({ target: cardDisputes.disputeId, set: values });
    known.set(id, next);
  }
  return { newDisputes: count() - before, sums: sumDisputes(topUp, [...known.values()]) };
}

function further(known: Known | undefined, told: Omit<DisputeFact, 'id'>): Known {
  if (!known) return told;
  const isFurther =
    RANK[told.state] > RANK[known.state] ||
    (RANK[told.state] === RANK[known.state] &&
      (known.status === null || placeOf(CARD_DISPUTE, told.status) >= placeOf(CARD_DISPUTE, known.status)));
  const { state, status } = isFurther ? told : known;
  return { state, status, cents: known.cents > told.cents ? known.cents : told.cents };
}

/** What the disputes of one payment come to; a card never gets back more than it paid. */
export function sumDisputes(
  { amountCents }: Pick<TopUp, 'amountCents'>,
  disputes: readonly Pick<DisputeFact, 'state' | 'cents'>[],
): DisputeSums {
  const sum = (of: DisputeFact['state'] | 'none'): bigint => {
    const cents = disputes.reduce((total, each) => (each.state === of ? total + each.cents : total), 0n);
    return cents < amountCents ? cents : amountCents;
  };
  const has = (of: DisputeFact['state']): boolean => disputes.some(({ state }) => state === of);
  const cardDispute = (['open', 'lost', 'won'] as const).find(has) ?? 'none';
  return { cardDispute, cardDisputeCents: sum(cardDispute), lostCents: sum('lost') };
}
