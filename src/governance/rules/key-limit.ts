import { formatCredits } from '../../base/money.ts';
import { Problem } from '../../base/problem.ts';
import type { Rule } from '../facts.ts';

/** The most one call of this key may cost. Caps that need counting are the ledger's to hold. */
export const keyLimit: Rule = ({ caps, priceMaxMicros }) => {
  const { maxPerCallMicros } = caps;
  if (maxPerCallMicros === undefined || priceMaxMicros <= maxPerCallMicros) return undefined;
  const [price, limit] = [formatCredits(priceMaxMicros), formatCredits(maxPerCallMicros)];
  return new Problem(
    'BUDGET_EXCEEDED',
    `The call may cost ${price} credits, and this key allows at most ${limit} for one call.`,
    { needed: price, limit },
  );
};
