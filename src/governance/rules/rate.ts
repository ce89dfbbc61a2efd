import { Problem } from '../../base/problem.ts';
import type { Rule } from '../facts.ts';

/** Calls a minute, and calls at once. */
export const rate: Rule = ({ gate }) => {
  if (gate.kind === 'rate_limited') {
    const seconds = Math.max(1, Math.ceil(gate.retryAfterMs / 1_000));
    return new Problem(
      'RATE_LIMITED',
      `This key may make ${gate.ratePerMinute} calls a minute. Try again in ${seconds} s.`,
      { retry_after_seconds: seconds },
    );
  }
  if (gate.kind === 'too_many_at_once') {
    return new Problem(
      'RATE_LIMITED',
      `This key may have ${gate.maxConcurrent} calls running at once, and they are. Try again when one has ended.`,
      { retry_after_seconds: 1 },
    );
  }
  return undefined;
};
