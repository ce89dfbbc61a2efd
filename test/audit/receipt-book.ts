import { createHash, sign as signBytes } from 'node:crypto';
import {
  createReceipts,
  receiptPayload,
  receiptTemplate,
  type ReceiptFacts,
} from '../../src/audit/receipts.ts';
import { newId } from '../../src/base/ids.ts';
import type { Db } from '../../src/db/db.ts';
import { newSigningKeyPem, readSigningKey, type SigningKey } from '../../src/identity/signing-key.ts';
import { readKeySet, type KeySet } from '../../src/client/key-set.ts';
import { testKey, testSigningKey } from '../support/signing.ts';

export const ORGANIZATION = `org_${'1'.repeat(32)}`;

/** Receipts made as the gateway makes them, without a gateway: signing needs no database. */
export const receipts = createReceipts(undefined as unknown as Db, testKey);

export const keys: KeySet = readKeySet(JSON.stringify({ keys: [testSigningKey.publicJwk] }));

export function factsOf(changes: Partial<ReceiptFacts> = {}): ReceiptFacts {
  return {
    agentId: 'agt_test_v1',
    agentVersion: '1.2.3-beta+5',
    callId: newId('call'),
    chargedMicros: 9_500_000n,
    code: undefined,
    currency: 'live',
    endedAt: '2026-01-02T03:04:06.789Z',
    feeMicros: 285_000n,
    heldMicros: 10_000_000n,
    inputHash: 'a'.repeat(64),
    keyId: `key_${'2'.repeat(32)}`,
    manifestHash: 'b'.repeat(64),
    organizationId: ORGANIZATION,
    outputHash: 'c'.repeat(64),
    startedAt: '2026-01-02T03:04:05.678Z',
    ...changes,
  };
}

/** The payloads of a chain of so many receipts, every third a refund. */
export function chainOf(length: number, changes: Partial<ReceiptFacts> = {}): string[] {
  const payloads: string[] = [];
  for (let seq = 1; seq <= length; seq += 1) {
    const refund = { chargedMicros: 0n, feeMicros: 0n, code: 'TIMEOUT', outputHash: undefined };
    const facts = factsOf({ ...(seq % 3 === 0 ? refund : {}), ...changes });
    payloads.push(
      receiptPayload(receiptTemplate(facts), { prev: hashOf(payloads.at(-1)), seq: String(seq) }),
    );
  }
  return payloads;
}

/** What the next receipt carries of this one. */
export function hashOf(payload: string | undefined): string {
  return payload === undefined ? '0'.repeat(64) : createHash('sha256').update(payload).digest('hex');
}

/** A compact JWS with any header, over any bytes, by any Ed25519 key. */
export function jwsOf(header: object, payload: string | Buffer, key: SigningKey = testSigningKey): string {
  const input = [JSON.stringify(header), payload]
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.');
  return `${input}.${signBytes(null, Buffer.from(input), key.privateKey).toString('base64url')}`;
}

export const HEADER = { alg: 'EdDSA', kid: testSigningKey.keyId, typ: 'sentinel-receipt+jws' };

export function newKey(): SigningKey {
  return readSigningKey(newSigningKeyPem());
}
