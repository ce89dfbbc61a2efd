import { verify } from 'node:crypto';
import { canonicalJson } from '../base/canonical-json.ts';
import { isJsonObject, type JsonObject } from '../base/json.ts';
import type { KeySet } from './key-set.ts';
import { assertProven, NotVerified } from './not-verified.ts';

/** What was signed, and with which key. */
export type SignedText = { keyId: string; text: string; payload: JsonObject };

const SIGNATURE_BYTES = 64;

/**
 * Checks an RFC 7515 compact JWS and answers its payload. Only Ed25519, only a key of the set, only the one
 * type asked for. The header may have three members and no other: not `crit`, and none that brings a key.
 */
export function verifyCompactJws(jws: string, keys: KeySet, typ: string): SignedText {
  const parts = jws.split('.');
  assertProven(parts.length === 3, 'It is not a compact JWS: that has three parts, separated by dots.');
  const [header, payload, signature] = parts.map(decode);
  assertProven(header && payload && signature, 'It is not a compact JWS: a part is not strict base64url.');

  const { alg, kid, ...rest } = parse(header, 'header');
  assertProven(
    alg === 'EdDSA' || alg === 'Ed25519',
    'It is not signed with Ed25519, the only algorithm accepted.',
  );
  const unknown = Object.keys(rest).find((name) => name !== 'typ');
  assertProven(unknown === undefined, `Its header has the member "${unknown}", which is not accepted.`);
  assertProven(rest['typ'] === typ, `It is signed as another kind of document than ${typ}.`);
  assertProven(typeof kid === 'string', 'It does not say with which key it is signed.');
  const key = keys.get(kid);
  assertProven(key, `The key it names, ${kid}, is not in the key set.`);

  const signed = Buffer.from(jws.slice(0, jws.lastIndexOf('.')));
  assertProven(
    signature.length === SIGNATURE_BYTES && verify(null, signed, key, signature),
    'Its signature is wrong: something in it was altered.',
  );
  const text = payload.toString('utf8');
  const told = parse(payload, 'payload');
  // What is signed has one spelling, so two readers cannot read two different things in it.
  assertProven(canonicalJson(told) === text, 'Its payload is not canonical JSON (RFC 8785).');
  return { keyId: kid, text, payload: told };
}

/** Strict: one text for the same bytes, so no character can be altered without being noticed. */
function decode(part: string): Buffer | undefined {
  const bytes = Buffer.from(part, 'base64url');
  return bytes.toString('base64url') === part ? bytes : undefined;
}

function parse(bytes: Buffer, what: string): JsonObject {
  try {
    const value: unknown = JSON.parse(
      new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes),
    );
    if (isJsonObject(value)) return value;
  } catch {
    // Answered below.
  }
  throw new NotVerified(`Its ${what} is not a JSON object.`);
}
