import { createPublicKey, type KeyObject } from 'node:crypto';
import { isJsonObject } from '../base/json.ts';
import { NotVerified } from './not-verified.ts';

/** Public Ed25519 keys by their `kid`. */
export type KeySet = ReadonlyMap<string, KeyObject>;

const KEY_BYTES = 32;

/**
 * Reads a JWK set (RFC 7517). Keys for other algorithms or uses are left out, as its section 5 asks; a set
 * that gives one name to two keys proves nothing.
 */
export function readKeySet(text: string): KeySet {
  const keys = membersOf(text);
  const found = new Map<string, KeyObject>();
  for (const jwk of keys) {
    if (!isJsonObject(jwk) || !isForOurSignatures(jwk)) continue;
    const { kid, x } = jwk;
    if (typeof kid !== 'string' || typeof x !== 'string') continue;
    if (Buffer.from(x, 'base64url').length !== KEY_BYTES) continue;
    if (found.has(kid)) throw new NotVerified(`The key set has two keys named ${kid}.`);
    found.set(kid, createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }));
  }
  if (found.size === 0) throw new NotVerified('The key set has no Ed25519 key with a name.');
  return found;
}

function membersOf(text: string): unknown[] {
  try {
    const set: unknown = JSON.parse(text);
    if (isJsonObject(set) && Array.isArray(set['keys'])) return set['keys'];
  } catch {
    // Answered below: what is not JSON is not a key set either.
  }
  throw new NotVerified('The key set is not a JWK set: it must be JSON of the form {"keys":[…]}.');
}

function isForOurSignatures(jwk: Record<string, unknown>): boolean {
  const { kty, crv, alg, use } = jwk;
  return (
    kty === 'OKP' &&
    crv === 'Ed25519' &&
    (alg === undefined || alg === 'EdDSA' || alg === 'Ed25519') &&
    (use === undefined || use === 'sig')
  );
}
