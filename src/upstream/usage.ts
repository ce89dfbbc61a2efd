import { formatCredits, parseCredits } from '../base/money.ts';
import type { Usage } from './upstream.ts';

/**
 * `{ "quantity": 12.5 }` or `{ "quantity": "12.5" }` → what a metered agent says it used. A quantity has the
 * form of an amount of credits: a plain non-negative decimal of at most six places. Nothing is rounded: a seller
 * who sends `0.30000000000000004` must decide what that means. Beside it, `"unit": "page"` may say what was counted.
 */
export function parseUsage(quantity: unknown, unit?: unknown): Usage | undefined {
  if (typeof quantity !== 'string' && typeof quantity !== 'number') return undefined;
  if (unit !== undefined && typeof unit !== 'string') return undefined;
  const micros = parseCredits(String(quantity));
  if (micros === undefined) return undefined;
  return { quantity: formatCredits(micros), ...(unit === undefined ? {} : { unit }) };
}

/** Why an answer with such a usage is invalid. */
export const USAGE_INVALID =
  'the usage is not a non-negative decimal of at most six places, or its unit no text';
