import { eq } from 'drizzle-orm';
import { invariant } from '../base/invariant.ts';
import type { Tx } from '../db/db.ts';
import type { DisputeFact } from './stripe-facts.ts';
import { cardDisputes } from './tables.ts';
import type { TopUp } from './top-ups.ts';

type DisputeSums = Pick<TopUp, 'cardDispute' | 'cardDisputeCents' | 'lostCents'>;

// A dispute may be heard of in any order; how far it is never goes back.
const RANK = { none: 0, open: 1, won: 2, lost: 3 } as const;

/**
 * Adds what Stripe told of the disputes of one payment, each under its own id, to what is known of them. The
 * top-up is locked. Says how many were not known before, and what all of them come to.
 */
export async function addDisputes(
  tx: Tx,
  topUp: Pick<TopUp, 'id' | 'amountCents'>,
  told: readonly DisputeFact[],
): Promise<{ newDisputes: number; sums: DisputeSums }> {
  const rows = await tx.select().from(cardDisputes).where(eq(cardDisputes.topUpId, topUp.id));
  const known = new Map<string, DisputeFact>(
    rows.map(({ disputeId, state, cents }) => [disputeId, { id: disputeId, state, cents }]),
  );
  for (const { id, state, cents } of told) {
    // An inquiry is not a dispute yet.
    if (state === 'none') continue;
    const before = known.get(id);
    const next = {
      state: before && RANK[before.state] > RANK[state] ? before.state : state,
      cents: before && before.cents > cents ? before.cents : cents,
    };
    invariant(next.state !== 'none', 'only disputes are kept');
    const values = { ...next, state: next.state };
    await tx
      .insert(cardDisputes)
      .values({ disputeId: id, topUpId: topUp.id, ...values })
      .onConflictDoUpdate({ target: cardDisputes.disputeId, set: values });
    known.set(id, { id, ...next });
  }
  return { newDisputes: known.size - rows.length, sums: sumDisputes(topUp, [...known.values()]) };
}

/** What the disputes of one payment come to; a card never gets back more than it paid. */
export function sumDisputes(
  { amountCents }: Pick<TopUp, 'amountCents'>,
  disputes: readonly DisputeFact[],
): DisputeSums {
  const sum = (of: DisputeFact['state']): bigint => {
    const cents = disputes.reduce((total, each) => (each.state === of ? total + each.cents : total), 0n);
    return cents < amountCents ? cents : amountCents;
  };
  const has = (of: DisputeFact['state']): boolean => disputes.some(({ state }) => state === of);
  const cardDispute = (['open', 'lost', 'won'] as const).find(has) ?? 'none';
  return { cardDispute, cardDisputeCents: sum(cardDispute), lostCents: sum('lost') };
}
