import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { invariant } from './invariant.ts';
import type { Json } from './json.ts';

/** The one spelling of a JSON value: RFC 8785 (JCS). */
export function canonicalJson(value: Json): string {
  const text = canonicalize(value);
  invariant(text !== undefined, 'a JSON value has a canonical form');
  return text;
}

/** SHA-256 of the canonical form, as lower-case hex: two values are equal exactly when these are. */
export function hashJson(value: Json): string {
  return hash('sha256', canonicalJson(value), 'hex');
}
