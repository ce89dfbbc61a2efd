import { formatCredits, parseCredits } from '../base/money.ts';
import type { Usage } from './upstream.ts';

/**
 * `{ "quantity": 12.5 }` or `{ "quantity": "12.5" }` → what a metered agent says it used. A quantity has the
 * form of an amount of credits: a plain non-negative decimal of at most six places. Nothing is rounded: a seller
 * who sends `0.30000000000000004` must decide what that means.
 */
export function parseUsage(quantity: unknown): Usage | undefined {
  if (typeof quantity !== 'string' && typeof quantity !== 'number') return undefined;
  const micros = parseCredits(String(quantity));
  return micros === undefined ? undefined : { quantity: formatCredits(micros) };
}

/** Why an answer with such a usage is invalid. */
export const USAGE_INVALID = 'the usage is not a non-negative decimal of at most six places';
