import type { Json } from '../base/json.ts';
import { parseCredits } from '../base/money.ts';
import { Problem } from '../base/problem.ts';

/** What the buyer says about a purchase beside its arguments. */
export type PurchaseTerms = { idempotencyKey?: string; maxMicros?: bigint };

/** One of the places terms can be given, with the name it is told by. */
export type GivenTerm = { from: string; value: Json | undefined };

/**
 * Reads the terms wherever they were given: header, `_meta`, or the arguments of `sentinel_call`. Throws
 * INVALID_INPUT when one is malformed or two places contradict each other.
 */
export function readTerms(given: { idempotencyKeys: GivenTerm[]; maxCredits: GivenTerm[] }): PurchaseTerms {
  const idempotencyKey = agreed(given.idempotencyKeys);
  const maxCredits = agreed(given.maxCredits);
  return {
    ...(idempotencyKey === undefined ? {} : { idempotencyKey: checkIdempotencyKey(idempotencyKey) }),
    ...(maxCredits === undefined ? {} : { maxMicros: checkMaxCredits(maxCredits) }),
  };
}

type Found = { from: string; value: Json };

function agreed(given: GivenTerm[]): Found | undefined {
  let found: Found | undefined;
  for (const { from, value } of given) {
    if (value === undefined) continue;
    if (found !== undefined && found.value !== value)
      throw refused(from, `says something else than ${found.from}; give it once`);
    found = { from, value };
  }
  return found;
}

function checkIdempotencyKey({ from, value }: Found): string {
  if (typeof value === 'string' && /^[\x21-\x7e]{16,128}$/.test(value)) return value;
  throw refused(from, 'must be 16 to 128 printable ASCII characters without blanks');
}

function checkMaxCredits({ from, value }: Found): bigint {
  const micros = typeof value === 'string' ? parseCredits(value) : undefined;
  if (micros !== undefined) return micros;
  throw refused(from, 'must be an amount of credits as a decimal string such as "12.5"');
}

function refused(from: string, message: string): Problem {
  return new Problem('INVALID_INPUT', `${from} ${message}.`, {
    faults: [{ path: '', message: `${from} ${message}` }],
  });
}
