import { formatCredits } from '../../base/money.ts';
import { Problem } from '../../base/problem.ts';
import type { Rule } from '../facts.ts';

/** A balance that the ledger saw a moment ago, and that is not enough. The ledger has the last word on every other. */
export const seenBalance: Rule = ({ gate, priceMaxMicros }) =>
  gate.kind === 'insufficient' ? paymentRequired(gate.availableMicros, priceMaxMicros) : undefined;

/** The refusal of a call the balance cannot cover, with what is missing and where to get it. */
export function paymentRequired(availableMicros: bigint, neededMicros: bigint): Problem {
  const balance = formatCredits(availableMicros);
  const needed = formatCredits(neededMicros);
  return new Problem(
    'PAYMENT_REQUIRED',
    `The call may cost ${needed} credits and the balance has ${balance} to spend. Nothing was charged.`,
    {
      balance,
      needed,
      top_up: 'POST /v1/billing/load, or ask the operator for a grant: sentinel credits grant ORG AMOUNT',
    },
  );
}
