import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { publishProof } from '../../src/audit/proofs.ts';
import { findReceipts } from '../../src/client/find-receipts.ts';
import { readKeySet, type KeySet } from '../../src/client/key-set.ts';
import { verifyChain } from '../../src/client/verify-chain.ts';
import { verifyProof } from '../../src/client/verify-proof.ts';
import { verifyReceipt } from '../../src/client/verify-receipt.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';
import { testKey, testSigningKey } from '../support/signing.ts';
import { startRestGateway, type Member, type RestGateway } from './rest-gateway.ts';

const CHAIN = 5;

let rest: RestGateway;
let seller: TestSeller;
let keys: KeySet;
/** An organization with five receipts; the third is a refund. */
let buyer: Member;
let calls: string[];

before(async () => {
  rest = await startRestGateway();
  seller = await startSeller(({ text }) => (text === '3' ? { wrong: true } : { text }));
  await rest.publish(manifestOf('receipts', seller.url), 80);
  keys = readKeySet((await rest.send('GET', '/.well-known/jwks.json')).text);
  buyer = await rest.newMember('100');
  calls = [];
  for (let made = 1; made <= CHAIN; made += 1) calls.push(await pay(buyer, String(made)));
});
after(async () => {
  await rest.close();
  await seller.close();
});

async function pay(member: Member, text: string): Promise<string> {
  const { body } = await rest.send('POST', '/v1/agents/agt_receipts_v1/invoke', {
    key: member.key,
    body: { inputs: { text } },
  });
  return body.receipt.call_id;
}

const get = (path: string, member = buyer, headers: Record<string, string> = {}) =>
  rest.send('GET', `/v1/billing/${path}`, { key: member.key, headers });

test('a receipt is given as JSON whose members are what is signed, or as the compact JWS alone', async () => {
  for (const [index, callId] of calls.entries()) {
    const { status, body } = await get(`receipts/${callId}`);
    assert.equal(status, 200);
    const { jws, ...shown } = body;
    const { receipt } = verifyReceipt({ jws, shown }, keys);
    assert.deepEqual([receipt.call_id, receipt.seq], [callId, index + 1]);

    const alone = await get(`receipts/${callId}`, buyer, { accept: 'application/jose' });
    assert.equal(alone.headers.get('content-type'), 'application/jose');
    assert.equal(alone.text, jws);
  }
  assert.equal((await get(`receipts/${calls[2]}`)).body.outcome, 'refunded');
});

test("what is not there, another organization's, the other currency's and nonsense answer the same 404", async () => {
  const [mine = ''] = calls;
  const stranger = await rest.newMember('100');
  const ofTest = await rest.newKey(buyer.organizationId, { currency: 'test' });
  const sibling = await rest.newKey(buyer.organizationId);
  const same = { 'x-request-id': 'same' };
  const missing = await get(`receipts/call_${'0'.repeat(32)}`, buyer, same);
  assert.equal(missing.status, 404);
  for (const [member, id] of [
    [stranger, mine],
    [ofTest, mine],
    [rest.operator, mine],
    [buyer, 'nonsense'],
    [buyer, `txn_${mine.slice(5)}`],
  ] as const) {
    assert.equal((await get(`receipts/${id}`, member, same)).text, missing.text);
  }
  assert.equal((await get(`receipts/${mine}`, sibling)).status, 200);
  for (const member of [stranger, ofTest]) {
    assert.deepEqual((await get('receipts', member)).body, { items: [], next_cursor: null, chain: null });
    assert.equal((await get('receipts?format=jsonl', member)).text, '');
  }
});

test('a refused call had nothing on hold and has no receipt', async () => {
  const poor = await rest.newMember('1');
  const { body } = await rest.send('POST', '/v1/agents/agt_receipts_v1/invoke', {
    key: poor.key,
    body: { inputs: { text: 'x' } },
  });
  assert.equal(body.code, 'PAYMENT_REQUIRED');
  assert.equal((await get('receipts', poor)).body.chain, null);
});

test('the chain comes page by page from any number on, with where it ends now', async () => {
  const seen: number[] = [];
  let cursor: string | null = null;
  do {
    const page: { body: { items: { seq: number }[]; next_cursor: string | null; chain: { seq: number } } } =
      await get(`receipts?limit=2${cursor === null ? '' : `&cursor=${cursor}`}`);
    seen.push(...page.body.items.map(({ seq }) => seq));
    assert.equal(page.body.chain.seq, CHAIN);
    cursor = page.body.next_cursor;
  } while (cursor !== null);
  assert.deepEqual(seen, [1, 2, 3, 4, 5]);

  const { body } = await get('receipts?from_seq=4');
  assert.deepEqual(
    body.items.map(({ seq }: { seq: number }) => seq),
    [4, 5],
  );
  assert.equal(body.next_cursor, null);
  assert.deepEqual((await get('receipts?from_seq=6')).body.items, []);
});

test('what is not understood in the query is refused by name', async () => {
  for (const [query, path] of [
    ['from_seq=0', '/from_seq'],
    ['from_seq=x', '/from_seq'],
    ['limit=1001', '/limit'],
    ['cursor=-1', '/cursor'],
    ['format=xml', '/format'],
    ['seq=1', '/seq'],
  ] as const) {
    const { status, body } = await get(`receipts?${query}`);
    assert.equal(status, 400, query);
    assert.deepEqual([body.code, body.faults[0].path], ['INVALID_INPUT', path]);
  }
  const { status, body } = await get('proof?day=yesterday');
  assert.deepEqual([status, body.faults[0].path], [400, '/day']);
});

test('the whole chain comes as one file of lines and is a whole chain', async () => {
  const file = await get('receipts?format=jsonl');
  assert.equal(file.headers.get('content-type'), 'application/jsonl');
  assert.match(file.headers.get('content-disposition') ?? '', /attachment; filename="receipts-live.jsonl"/);
  const proven = findReceipts(file.text).map((finding) => {
    assert.ok('found' in finding);
    return verifyReceipt(finding.found, keys);
  });
  assert.equal(proven.length, CHAIN);
  const { chain } = (await get('receipts?limit=1')).body;
  verifyChain(proven, [{ kind: 'head', head: chain.head }]);
  assert.equal((await get('receipts', buyer, { accept: 'application/jsonl' })).text, file.text);
  assert.equal((await get('receipts?format=jsonl&from_seq=5')).text.split('\n').length, 2);
});

test('a chain longer than what is read at a time comes whole', async () => {
  const many = await rest.newMember('100000', { ratePerMinute: 1_000_000, maxConcurrent: 1_000 });
  const count = 450;
  for (let made = 0; made < count; made += 50) {
    await Promise.all(Array.from({ length: 50 }, (_, index) => pay(many, `${made} ${index}`)));
  }
  const { text } = await get('receipts?format=jsonl', many);
  const proven = findReceipts(text).map((finding) => {
    assert.ok('found' in finding);
    return verifyReceipt(finding.found, keys);
  });
  assert.equal(proven.length, count);
  verifyChain(proven);
});

test('the proof of a day is there once it was made, shows each organization its own end, and is checked offline', async () => {
  const none = await get('proof');
  assert.equal(none.status, 404);
  assert.match(none.body.detail, /once a day/);
  const made = await publishProof({ db: rest.gateway.deps.db, issuer: rest.url, key: testKey });
  assert.equal(made, true);
  const { body } = await get('proof');
  const proofKeys = readKeySet(JSON.stringify({ keys: [testSigningKey.publicJwk] }));
  const { chain, day } = verifyProof(body, proofKeys);
  assert.deepEqual([chain?.organizationId, chain?.seq], [buyer.organizationId, CHAIN]);
  assert.deepEqual((await get(`proof?day=${day}`)).body, body);
  assert.equal((await get('proof?day=2020-01-01')).status, 404);

  const stranger = await rest.newMember('0');
  const theirs = await get('proof', stranger);
  assert.equal(theirs.body.chain, null);
  assert.equal(theirs.body.jws, body.jws);
});
