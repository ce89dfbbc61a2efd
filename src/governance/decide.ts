import { formatCredits } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import type { KeyCaps } from '../identity/caller.ts';
import type { GateAnswer } from './gate.ts';

/** Everything a decision looks at, already loaded. */
export type DecisionFacts = {
  /** The most the call may cost. */
  priceMaxMicros: bigint;
  caps: KeyCaps;
  /** The most the buyer will pay for this call, if they said so. */
  requestMaxMicros: bigint | undefined;
  /** What the rate and concurrency gate said. */
  gate: GateAnswer;
};

export type Decision = { kind: 'allow' } | { kind: 'deny'; problem: Problem };

/** May this call happen? Pure: the same facts always get the same answer, and whatever is not allowed is denied. */
export function decide(facts: DecisionFacts): Decision {
  const { maxPerCallMicros } = facts.caps;
  if (maxPerCallMicros !== undefined && facts.priceMaxMicros > maxPerCallMicros) {
    const price = formatCredits(facts.priceMaxMicros);
    return deny(
      'BUDGET_EXCEEDED',
      `The call may cost ${price} credits, and this key allows at most ${formatCredits(maxPerCallMicros)} for one call.`,
      { needed: price, limit: formatCredits(maxPerCallMicros) },
    );
  }
  if (facts.requestMaxMicros !== undefined && facts.priceMaxMicros > facts.requestMaxMicros) {
    const price = formatCredits(facts.priceMaxMicros);
    return deny(
      'BUDGET_EXCEEDED',
      `The call may cost ${price} credits, more than the ${formatCredits(facts.requestMaxMicros)} you allowed with max_credits.`,
      { needed: price, limit: formatCredits(facts.requestMaxMicros) },
    );
  }
  switch (facts.gate.kind) {
    case 'entered':
      return { kind: 'allow' };
    case 'rate_limited': {
      const seconds = Math.max(1, Math.ceil(facts.gate.retryAfterMs / 1_000));
      return deny(
        'RATE_LIMITED',
        `This key may make ${facts.gate.ratePerMinute} calls a minute. Try again in ${seconds} s.`,
        { retry_after_seconds: seconds },
      );
    }
    case 'too_many_at_once':
      return deny(
        'RATE_LIMITED',
        `This key may have ${facts.gate.maxConcurrent} calls running at once, and they are. Try again when one has ended.`,
        { retry_after_seconds: 1 },
      );
    case 'insufficient':
      return { kind: 'deny', problem: paymentRequired(facts.gate.availableMicros, facts.priceMaxMicros) };
    default:
      return deny('POLICY_DENIED', 'The call could not be judged, so it is not allowed.', {});
  }
}

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

function deny(code: Problem['code'], detail: string, extras: Problem['extras']): Decision {
  return { kind: 'deny', problem: new Problem(code, detail, extras) };
}
