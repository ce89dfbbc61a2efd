import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { compactVerify, createLocalJWKSet } from 'jose';
import { canonicalJson, hashJson } from '../../src/base/canonical-json.ts';
import type { Json, JsonObject } from '../../src/base/json.ts';
import { readReceipt, receiptPayload, receiptTemplate } from '../../src/audit/receipts.ts';
import { findReceipts, readJson } from '../../src/client/find-receipts.ts';
import { readKeySet } from '../../src/client/key-set.ts';
import { NotVerified } from '../../src/client/not-verified.ts';
import { assertHashOf, verifyReceipt } from '../../src/client/verify-receipt.ts';
import { testSigningKey } from '../support/signing.ts';
import { chainOf, factsOf, HEADER, jwsOf, keys, newKey, receipts } from './receipt-book.ts';

const [payload = ''] = chainOf(1);
const receipt = readReceipt(await receipts.sign('call_1', payload));
const { jws, ...shown } = receipt;
const KEY_SET = { keys: [{ ...testSigningKey.publicJwk }] };

function refused(found: { jws: string; shown?: JsonObject }, why: RegExp, by = keys): void {
  assert.throws(
    () => verifyReceipt(found, by),
    (error) => error instanceof NotVerified && why.test(error.message) && !error.message.includes('\n'),
  );
}

/** The payload with other members, signed by the right key. */
function signed(changes: Record<string, Json | undefined>): { jws: string } {
  const told = Object.fromEntries(
    Object.entries({ ...JSON.parse(payload), ...changes }).filter(([, value]) => value !== undefined),
  ) as JsonObject;
  return { jws: jwsOf(HEADER, canonicalJson(told)) };
}

test('an independent implementation of JWS accepts a receipt and reads the same members', async () => {
  const { payload: bytes, protectedHeader } = await compactVerify(jws, createLocalJWKSet(KEY_SET), {
    algorithms: ['EdDSA'],
  });
  assert.deepEqual(protectedHeader, HEADER);
  assert.deepEqual(JSON.parse(Buffer.from(bytes).toString()), shown);
  assert.deepEqual(verifyReceipt({ jws, shown }, keys).receipt, shown);
});

test('what is signed is canonical JSON, for every kind of receipt', () => {
  for (const text of chainOf(3)) assert.equal(text, canonicalJson(JSON.parse(text) as Json));
});

test('a receipt altered in any byte is refused, whatever the byte becomes', () => {
  const bytes = Buffer.from(jws);
  for (let at = 0; at < bytes.length; at += 1) {
    for (const mask of [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80]) {
      const altered = Buffer.from(bytes);
      altered[at] = (bytes[at] ?? 0) ^ mask;
      assert.throws(() => verifyReceipt({ jws: altered.toString() }, keys), `byte ${at}, bit ${mask}`);
    }
    const shorter = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]).toString();
    assert.throws(() => verifyReceipt({ jws: shorter }, keys), `byte ${at} removed`);
    const longer = Buffer.concat([bytes.subarray(0, at), Buffer.from('A'), bytes.subarray(at)]).toString();
    assert.throws(() => verifyReceipt({ jws: longer }, keys), `a byte before ${at}`);
  }
});

test('nothing may stand before or after a receipt, and base64url has one spelling', () => {
  for (const altered of [
    `${jws}A`,
    `${jws}=`,
    `${jws}.`,
    ` ${jws}`,
    `${jws}\n`,
    `.${jws}`,
    `${jws}.${jws}`,
  ]) {
    refused({ jws: altered }, /not a compact JWS|signature is wrong/);
  }
  // The last character of 64 bytes carries four bits that mean nothing.
  const twin = `${jws.slice(0, -1)}${String.fromCharCode(jws.charCodeAt(jws.length - 1) + 1)}`;
  assert.deepEqual(
    Buffer.from(twin.split('.')[2] ?? '', 'base64url'),
    Buffer.from(jws.split('.')[2] ?? '', 'base64url'),
  );
  refused({ jws: twin }, /not strict base64url/);
});

test('no algorithm but Ed25519 is accepted, least of all one the header chooses', () => {
  const input = (header: object): string =>
    [JSON.stringify(header), payload].map((part) => Buffer.from(part).toString('base64url')).join('.');
  refused({ jws: `${input({ ...HEADER, alg: 'none' })}.` }, /not strict|not a compact|Ed25519/);
  const hmac = input({ ...HEADER, alg: 'HS256' });
  // The classic: the public key used as the secret of a MAC.
  const secret = Buffer.from(testSigningKey.publicJwk.x, 'base64url');
  refused({ jws: `${hmac}.${createHmac('sha256', secret).update(hmac).digest('base64url')}` }, /Ed25519/);
  for (const alg of ['ES256', 'eddsa', 'Ed448', 1, null]) {
    refused({ jws: jwsOf({ ...HEADER, alg }, payload) }, /Ed25519/);
  }
  // RFC 9864's name of the same algorithm.
  verifyReceipt({ jws: jwsOf({ ...HEADER, alg: 'Ed25519' }, payload) }, keys);
});

test('a header with a member more, such as crit or a key of its own, is refused', () => {
  const stranger = newKey();
  for (const extra of [
    { crit: ['exp'] },
    { b64: false },
    { jwk: stranger.publicJwk },
    { jku: 'https://evil.example/jwks.json' },
    { x5c: [] },
  ]) {
    const [name] = Object.keys(extra);
    refused({ jws: jwsOf({ ...HEADER, ...extra }, payload, stranger) }, new RegExp(`"${name}"`));
    refused({ jws: jwsOf({ ...HEADER, ...extra }, payload) }, new RegExp(`"${name}"`));
  }
});

test("a stranger's key is refused, under its own name and under ours", () => {
  const stranger = newKey();
  refused({ jws: jwsOf({ ...HEADER, kid: stranger.keyId }, payload, stranger) }, /not in the key set/);
  refused({ jws: jwsOf(HEADER, payload, stranger) }, /signature is wrong/);
  refused({ jws: jwsOf({ alg: 'EdDSA', typ: HEADER.typ }, payload) }, /with which key/);
});

test('another kind of statement signed with the same key is no receipt', () => {
  for (const typ of ['sentinel-proof+jws', 'JWT', undefined]) {
    refused({ jws: jwsOf({ ...HEADER, typ }, payload) }, /another kind of document/);
  }
});

test('a payload that is not a receipt is refused, though it is signed', () => {
  refused({ jws: jwsOf(HEADER, 'hello') }, /not a JSON object/);
  refused({ jws: jwsOf(HEADER, Buffer.of(0x7b, 0xff, 0x7d)) }, /not a JSON object/);
  refused({ jws: jwsOf(HEADER, ` ${payload}`) }, /not canonical/);
  refused({ jws: jwsOf(HEADER, payload.replace('{', '{"charged":"0",')) }, /not canonical/);
  for (const name of Object.keys(JSON.parse(payload) as object)) {
    refused(signed({ [name]: undefined }), new RegExp(`"${name}"`));
    refused(signed({ [name]: ['x'] }), new RegExp(`"${name}"`));
  }
  refused(signed({ charge: '1' }), /"charge" is not known/);
  refused(signed({ __proto__x: 1 }), /is not known/);
  for (const charged of ['1.50', '-1', '1e1', '01', '', ' 1']) refused(signed({ charged }), /"charged"/);
  for (const seq of [0, -1, 1.5, 2 ** 60]) refused(signed({ seq }), /"seq"/);
});

test('a receipt whose money contradicts itself is refused', () => {
  refused(signed({ charged: '11' }), /more than was held/);
  refused(signed({ charged: '1', fee: '2' }), /fee is more/);
  refused(signed({ code: 'TIMEOUT' }), /code of a failure/);
  refused(signed({ outcome: 'refunded', output_hash: null }), /does not say why/);
  refused(signed({ outcome: 'refunded', code: 'TIMEOUT', output_hash: null }), /charges something/);
  const free = { outcome: 'refunded', code: 'TIMEOUT', charged: '0', fee: '0' };
  refused(signed(free), /has an answer/);
  verifyReceipt(signed({ ...free, output_hash: null }), keys);
});

test('what is shown beside the signature must be what is signed, no more and no less', () => {
  const asShown = (changes: Record<string, Json>): JsonObject => ({ ...shown, ...changes });
  refused({ jws, shown: asShown({ charged: '0' }) }, /shows "0" as "charged"; what is signed is "9.5"/);
  refused({ jws, shown: asShown({ seq: '1' }) }, /"seq"/);
  refused({ jws, shown: asShown({ note: 'paid twice' }) }, /"note", which is not signed/);
  const { fee: _, ...fewer } = asShown({});
  refused({ jws, shown: fewer }, /does not show "fee"/);
});

test('a receipt is for the arguments and the answer whose hashes it has, whatever the order of their members', async () => {
  const [input, output] = [{ b: 1, a: [2] }, { answer: 'so' }];
  const template = receiptTemplate(factsOf({ inputHash: hashJson(input), outputHash: hashJson(output) }));
  const made = receiptPayload(template, { prev: '0'.repeat(64), seq: '1' });
  const proven = verifyReceipt({ jws: readReceipt(await receipts.sign('call_1', made)).jws }, keys).receipt;
  assertHashOf(proven, 'input', { a: [2], b: 1 });
  assertHashOf(proven, 'output', output);
  assert.throws(() => assertHashOf(proven, 'input', { a: [2], b: 2 }), /another input/);
  assert.throws(() => assertHashOf(proven, 'output', { answer: 'no' }), /another output/);
});

test('a key set is read strictly: only Ed25519 keys for signatures, and no name twice', () => {
  const { publicJwk } = testSigningKey;
  const accepts = (...set: object[]): void =>
    void verifyReceipt({ jws }, readKeySet(JSON.stringify({ keys: set })));
  accepts({ kty: 'RSA', kid: 'old', n: 'x', e: 'AQAB' }, publicJwk);
  const other = { ...newKey().publicJwk, kid: publicJwk.kid };
  assert.throws(() => accepts(publicJwk, other), /two keys named/);
  assert.throws(() => accepts({ ...publicJwk, use: 'enc' }), /no Ed25519 key/);
  assert.throws(() => accepts({ ...publicJwk, x: 'AAAA' }), /no Ed25519 key/);
  assert.throws(() => readKeySet('{"keys":{}}'), /not a JWK set/);
  assert.throws(() => readKeySet('<html>'), /not a JWK set/);
});

test('a receipt is found wherever an answer of ours carries it', () => {
  const texts = [
    jws,
    JSON.stringify(receipt, null, 2),
    JSON.stringify({ content: [], _meta: { 'xyz.sentinel/receipt': receipt } }),
    JSON.stringify({ jsonrpc: '2.0', id: 1, result: { _meta: { 'xyz.sentinel/receipt': receipt } } }),
    JSON.stringify({ call_id: 'x', output: {}, receipt }),
    JSON.stringify({ code: 'TIMEOUT', charged: '0', receipt }),
    JSON.stringify({ call_id: 'x', result: { output: {}, receipt } }),
    JSON.stringify([receipt]),
    JSON.stringify({ items: [receipt], next_cursor: null }),
    `${JSON.stringify(receipt)}\n`,
  ];
  for (const text of texts) {
    const [finding, ...more] = findReceipts(text);
    assert.ok(finding && 'found' in finding && more.length === 0, text);
    verifyReceipt(finding.found, keys);
  }
  const lines = findReceipts(`${jws}\n\n${JSON.stringify(receipt)}\r\n{"cut`);
  assert.deepEqual(
    lines.map(({ line, ...finding }) => [line, 'found' in finding]),
    [
      [1, true],
      [3, true],
      [4, false],
    ],
  );
  for (const text of ['{}', '1', 'null', '{"receipt":{}}'])
    assert.ok('fault' in (findReceipts(text)[0] ?? {}));
});

test('what is signed itself is the receipt, whatever genuine one it carries', () => {
  const others = [
    { items: [receipt] },
    { receipt },
    { result: { receipt } },
    { result: { _meta: { 'xyz.sentinel/receipt': receipt } } },
    { _meta: { 'xyz.sentinel/receipt': receipt } },
  ];
  for (const other of others) {
    const [finding, ...more] = findReceipts(JSON.stringify({ ...receipt, charged: '0', ...other }));
    assert.ok(finding && 'found' in finding && more.length === 0);
    refused(finding.found, /^It shows /);
    const unsigned = findReceipts(JSON.stringify({ ...receipt, ...other, jws: null }));
    assert.ok('fault' in (unsigned[0] ?? {}));
  }
});

test('a document nested however deep is refused in a sentence', () => {
  const deep = (open: string, close: string): string => open.repeat(200_000) + close.repeat(200_000);
  const nested = [deep('[', ']'), `{"items":${deep('[', ']')}}`, `{"jws":"${jws}","seq":${deep('[', ']')}}`];
  for (const text of nested) {
    const fault = 'It is nested more than 100 levels deep.';
    assert.deepEqual(findReceipts(text), [{ fault }]);
    assert.throws(
      () => readJson(text, 'a.json'),
      /^NotVerified: a\.json is nested more than 100 levels deep\.$/,
    );
  }
});
