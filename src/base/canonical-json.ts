import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { isRawNumber } from './exact-json.ts';
import { invariant } from './invariant.ts';
import { isJsonObject, type Json } from './json.ts';

/**
 * The one spelling of a JSON value: RFC 8785 (JCS). It is what `JSON.stringify` writes where the members are in order
 * already, but for what has no such spelling and is refused: half a surrogate pair, a number beyond the doubles.
 * The one thing RFC 8785 does not know is a number that was read as it was written because no double holds it
 * (`exact-json.ts`): it stands as it was written.
 */
export function canonicalJson(value: Json): string {
  if (isSorted(value)) return JSON.stringify(value);
  if (hasRawNumber(value)) return writeWithRawNumbers(value);
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
  if (isRawNumber(value)) return true;
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

function hasRawNumber(value: Json): boolean {
  if (Array.isArray(value)) return value.some(hasRawNumber);
  return isJsonObject(value) ? Object.values(value).some(hasRawNumber) : isRawNumber(value);
}

function writeWithRawNumbers(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(writeWithRawNumbers).join(',')}]`;
  if (!isJsonObject(value)) return isRawNumber(value) ? JSON.stringify(value) : canonicalJson(value);
  const members = Object.keys(value)
    .sort()
    .map((name) => `${canonicalJson(name)}:${writeWithRawNumbers(value[name] ?? null)}`);
  return `{${members.join(',')}}`;
}

/** SHA-256 of the canonical form, as lower-case hex: two values are equal exactly when these are. */
export function hashJson(value: Json): string {
  return hashText(canonicalJson(value));
}

/** The same of a value that is in its canonical form already. */
export function hashText(canonicalText: string): string {
  return hash('sha256', canonicalText, 'hex');
}
