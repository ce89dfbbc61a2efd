import type { Price } from './agent.ts';

/** What a call costs a key that was shown one price while another is today's. */
export type PriceInForce = {
  price: Price;
  /**
   * The two count differently and today's may turn out dearer than what was shown: a call at `price` is only
   * right for a buyer who knows it.
   */
  hasChanged: boolean;
};

/** The cheaper of both, in every part. What one of them gives for free is free. */
export function priceInForce(listed: Price, today: Price): PriceInForce {
  const freeTierCalls =
    listed.freeTierCalls > today.freeTierCalls ? listed.freeTierCalls : today.freeTierCalls;
  const maxMicros = least(listed.maxMicros, today.maxMicros);
  if (listed.kind === 'per_call' && today.kind === 'per_call') {
    return { price: { ...today, maxMicros, freeTierCalls }, hasChanged: false };
  }
  if (listed.kind === 'per_unit' && today.kind === 'per_unit' && listed.unit === today.unit) {
    // min(used × a, most of a, used × b, most of b) is this price's charge, whatever is used.
    const unitMicros = least(listed.unitMicros, today.unitMicros);
    return { price: { ...today, unitMicros, maxMicros, freeTierCalls }, hasChanged: false };
  }
  // What was shown as one amount for any work is kept to while today's most is no more. A price by the unit
  // may have come to nothing, so nothing that counts otherwise is known to be as cheap.
  const isCovered = listed.kind === 'per_call' && today.maxMicros <= listed.maxMicros;
  return { price: { ...today, freeTierCalls }, hasChanged: !isCovered };
}

/** Whether somebody who was shown `earlier` is better off with it, or has at least to be asked, than with today's. */
export function isBetter(earlier: Price, today: Price): boolean {
  const { price, hasChanged } = priceInForce(earlier, today);
  return hasChanged || !isSamePrice(price, today);
}

export function isSamePrice(a: Price, b: Price): boolean {
  return (
    a.maxMicros === b.maxMicros &&
    a.freeTierCalls === b.freeTierCalls &&
    (a.kind === 'per_unit' && b.kind === 'per_unit'
      ? a.unit === b.unit && a.unitMicros === b.unitMicros
      : a.kind === b.kind)
  );
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
