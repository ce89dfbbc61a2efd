import { Problem } from '../base/problem.ts';
import type { Decision, DecisionFacts, Rule } from './facts.ts';
import { buyerLimit } from './rules/buyer-limit.ts';
import { keyLimit } from './rules/key-limit.ts';
import { rate } from './rules/rate.ts';
import { seenBalance } from './rules/seen-balance.ts';

/** In the order in which they are told: a buyer learns first of what no waiting changes. */
const RULES: readonly Rule[] = [keyLimit, buyerLimit, rate, seenBalance];

/** May this call happen? Pure: the same facts always get the same answer, and whatever is not allowed is denied. */
export function decide(facts: DecisionFacts): Decision {
  for (const rule of RULES) {
    const problem = rule(facts);
    if (problem) return { kind: 'deny', problem };
  }
  if (facts.gate.kind === 'entered') return { kind: 'allow' };
  const problem = new Problem('POLICY_DENIED', 'The call could not be judged, so it is not allowed.');
  return { kind: 'deny', problem };
}
