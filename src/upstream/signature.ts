import { hash, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { systemClock } from '../base/clock.ts';
import type { Clock } from '../base/clock.ts';
import { trimBlanks } from '../base/http-fields.ts';
import { invariant } from '../base/invariant.ts';
import type { Sign } from '../base/signer.ts';

/** The call a request belongs to. Both ids are ours. */
export type CallIdentity = { callId: string; requestId: string };

/** Signs a JSON POST, or a DELETE without a body: answers the headers that carry the signature. */
export type RequestSigner = (
  url: string,
  body: Buffer,
  identity: CallIdentity,
  method?: 'POST' | 'DELETE',
) => Promise<Record<string, string>>;

/**
 * Signs requests to agents with Ed25519 (RFC 9421), over the method, the URL, the body's digest (RFC 9530), its
 * type and the two ids. An agent that has our JWKS knows that the call is ours, meant for it, whole and recent.
 */
export function createRequestSigner(options: { keyId: string; sign: Sign; clock?: Clock }): RequestSigner {
  const { keyId, sign, clock = systemClock } = options;
  // A structured-field string (RFC 8941 section 3.3.3) without anything that needs an escape.
  invariant(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/.test(keyId), 'a key id is plain ASCII without quotes');
  const paramsEnd = `;keyid="${keyId}";alg="ed25519"`;

  return async (url, body, identity, method = 'POST') => {
    const digest = contentDigest(body);
    const params = `${COVERED};created=${Math.floor(clock.now() / 1_000)}${paramsEnd}`;
    const base = signatureBase(method, url, digest, JSON_TYPE, identity, params);
    const signature = (await sign(base)).toString('base64');
    return {
      'content-digest': digest,
      'signature-input': `${LABEL}=${params}`,
      signature: `${LABEL}=:${signature}:`,
    };
  };
}

/** The headers that tell an agent which call this is, signed when there is a signer. */
export async function identify(
  signer: RequestSigner | undefined,
  url: string,
  body: Buffer,
  identity: CallIdentity,
  method: 'POST' | 'DELETE' = 'POST',
): Promise<Record<string, string>> {
  const { callId, requestId } = identity;
  // Visible ASCII only: no id, whoever made it, can end a header line or add one.
  invariant(HEADER_TOKEN.test(callId) && HEADER_TOKEN.test(requestId), 'ids are visible ASCII');
  const ids = { 'x-sentinel-request-id': requestId, 'x-sentinel-call-id': callId };
  return signer ? { ...ids, ...(await signer(url, body, identity, method)) } : ids;
}

export type SignedRequest = {
  method: string;
  /** The URL the agent is listed under, as the gateway wrote it, and not what a proxy in between made of it. */
  url: string;
  /** Lower-case names, as `node:http` gives them. */
  headers: Record<string, string | string[] | undefined>;
  /** The bytes received, before any parsing. */
  body: Uint8Array;
};

export type SignatureVerdict =
  { kind: 'valid'; keyId: string; callId: string; requestId: string } | { kind: 'invalid'; reason: string };

/**
 * For sellers: whether a request came from the gateway just now, unchanged.
 *
 * `findKey` answers the public key of a `kid` in the gateway's JWKS. A signature older than `maxAgeSeconds` (300)
 * is refused; remember `requestId` for that long and a copy of the request is refused too.
 *
 *     const verdict = verifyRequestSignature({ method, url, headers, body }, { findKey });
 *     if (verdict.kind === 'invalid') return new Response(verdict.reason, { status: 401 });
 */
export function verifyRequestSignature(
  request: SignedRequest,
  options: { findKey: (keyId: string) => KeyObject | undefined; maxAgeSeconds?: number; clock?: Clock },
): SignatureVerdict {
  const { findKey, maxAgeSeconds = 300, clock = systemClock } = options;
  const header = (name: string): string => {
    const value = request.headers[name];
    return typeof value === 'string' ? trimBlanks(value) : '';
  };

  const input = SIGNATURE_INPUT.exec(header('signature-input'));
  const signature = SIGNATURE.exec(header('signature'));
  if (!input?.[1] || !signature?.[1]) return invalid('the request is not signed by a Sentinel gateway');
  const [, params, created, keyId] = input as unknown as [string, string, string, string];

  const age = clock.now() / 1_000 - Number(created);
  if (age > maxAgeSeconds || age < -maxAgeSeconds)
    return invalid('the signature is too old or from the future');
  const digest = header('content-digest');
  if (digest !== contentDigest(request.body)) return invalid('the body is not the one that was signed');
  const key = findKey(keyId);
  if (!key) return invalid('the key is not one of the gateway');

  const identity = { callId: header('x-sentinel-call-id'), requestId: header('x-sentinel-request-id') };
  const type = header('content-type');
  const base = signatureBase(request.method, request.url, digest, type, identity, params);
  if (!verify(null, Buffer.from(base), key, Buffer.from(signature[1], 'base64'))) {
    return invalid('the signature does not fit the request');
  }
  return { kind: 'valid', keyId, ...identity };
}

const LABEL = 'sentinel';
const JSON_TYPE = 'application/json';
const COVERED =
  '("@method" "@target-uri" "content-digest" "content-type" "x-sentinel-call-id" "x-sentinel-request-id")';
const HEADER_TOKEN = /^[\x21-\x7e]{1,200}$/;
// Exactly what `createRequestSigner` writes: a signature that covers less than all of it is none.
const SIGNATURE_INPUT = new RegExp(
  String.raw`^${LABEL}=(${COVERED.replaceAll(/[()]/g, String.raw`\$&`)};created=(\d{1,12});keyid="([^"\\]+)";alg="ed25519")$`,
);
const SIGNATURE = new RegExp(String.raw`^${LABEL}=:([A-Za-z0-9+/]{86}==):$`);

/** RFC 9421 section 2.5. */
function signatureBase(
  method: string,
  url: string,
  digest: string,
  type: string,
  identity: CallIdentity,
  params: string,
): string {
  return (
    `"@method": ${method}\n"@target-uri": ${url}\n"content-digest": ${digest}\n"content-type": ${type}\n` +
    `"x-sentinel-call-id": ${identity.callId}\n"x-sentinel-request-id": ${identity.requestId}\n` +
    `"@signature-params": ${params}`
  );
}

/** RFC 9530 section 2. */
function contentDigest(body: Uint8Array): string {
  return `sha-256=:${hash('sha256', body, 'base64')}:`;
}

function invalid(reason: string): SignatureVerdict {
  return { kind: 'invalid', reason };
}
