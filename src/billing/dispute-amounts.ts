import { invariant } from '../base/invariant.ts';

/** Credits that were paid for a call, and what of them was the platform's fee; the rest is the seller's. */
export type Paid = { totalMicros: bigint; feeMicros: bigint };

/**
 * A part of what was paid, with its share of the fee. The share rounds down, and all of it has all of the fee.
 * Neither share of a part is ever larger than the same share of the whole, so what is taken from seller and
 * platform is always there: ⌈fee × rest ÷ total⌉ is at most the rest, because the fee is at most the total.
 */
export function partOf(paid: Paid, totalMicros: bigint): Paid {
  invariant(paid.feeMicros >= 0n && paid.feeMicros <= paid.totalMicros, 'a fee is part of what was paid');
  invariant(totalMicros >= 0n && totalMicros <= paid.totalMicros, 'a part is at most the whole');
  if (totalMicros === 0n) return { totalMicros, feeMicros: 0n };
  return { totalMicros, feeMicros: (paid.feeMicros * totalMicros) / paid.totalMicros };
}

/** What of it is the seller's. */
export function sellersShare({ totalMicros, feeMicros }: Paid): bigint {
  return totalMicros - feeMicros;
}

/** Where a decided claim goes. The first and the last sum up to what was set aside from the seller. */
export type Division = { reversalMicros: bigint; feeReversalMicros: bigint; returnedMicros: bigint };

/** Divides a claim whose seller's share is set aside: `refundedMicros` of it go back to the buyer. */
export function divideClaim(claim: Paid, refundedMicros: bigint): Division {
  const refunded = partOf(claim, refundedMicros);
  const reversalMicros = sellersShare(refunded);
  return {
    reversalMicros,
    feeReversalMicros: refunded.feeMicros,
    returnedMicros: sellersShare(claim) - reversalMicros,
  };
}
