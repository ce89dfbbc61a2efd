import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { invariant } from './invariant.ts';
import type { Json } from './json.ts';

/**
 * The one spelling of a JSON value: RFC 8785 (JCS). It is what `JSON.stringify` writes where the members are in order
 * already, but for what has no such spelling and is refused: half a surrogate pair, a number beyond the doubles.
 */
export function canonicalJson(value: Json): string {
  if (isSorted(value)) return JSON.stringify(value);
  const text = canonicalize(value);
  invariant(text !== undefined, 'a JSON value has a canonical form');
  return text;
}

/** Whether the value is what it should be throughout: plain members in order, finite numbers, whole characters. */
function isSorted(value: Json): boolean {
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value === 'boolean' || value === null) return true;
  if (Array.isArray(value)) return value.every(isSorted);
  let before: string | undefined;
  for (const name in value) {
    // By UTF-16 code units, as RFC 8785 sorts and as `<=` compares.
    if ((before !== undefined && name <= before) || !name.isWellFormed() || !isSorted(value[name] ?? null)) {
      return false;
    }
    before = name;
  }
  return true;
}

/** SHA-256 of the canonical form, as lower-case hex: two values are equal exactly when these are. */
export function hashJson(value: Json): string {
  return hashText(canonicalJson(value));
}

/** The same of a value that is in its canonical form already. */
export function hashText(canonicalText: string): string {
  return hash('sha256', canonicalText, 'hex');
}
