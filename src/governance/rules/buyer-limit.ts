import { formatCredits } from '../../base/money.ts';
import { Problem } from '../../base/problem.ts';
import type { Rule } from '../facts.ts';

/** The most the buyer said this call may cost. */
export const buyerLimit: Rule = ({ requestMaxMicros, priceMaxMicros }) => {
  if (requestMaxMicros === undefined || priceMaxMicros <= requestMaxMicros) return undefined;
  const [price, limit] = [formatCredits(priceMaxMicros), formatCredits(requestMaxMicros)];
  return new Problem(
    'BUDGET_EXCEEDED',
    `The call may cost ${price} credits, more than the ${limit} you allowed with max_credits.`,
    { needed: price, limit },
  );
};
