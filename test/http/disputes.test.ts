import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';
import { startRestGateway, type Answer, type Member, type RestGateway } from './rest-gateway.ts';

const BUYER = { scopes: ['agents:invoke', 'calls:read', 'billing:read', 'billing:write'] } as const;

let rest: RestGateway;
let agent: TestSeller;
let seller: Member;
before(async () => {
  rest = await startRestGateway();
  agent = await startSeller((input) => ({ text: String(input['text']) }));
  await rest.publish(manifestOf('echo', agent.url), 80);
  await rest.publish(manifestOf('keeper', agent.url, { capabilities: { keep_running: true } }), 80);
  seller = await rest.newKey(rest.sellerId, { scopes: ['billing:read', 'billing:write'] });
});
after(async () => {
  await rest.close();
  await agent.close();
});

async function buy(member: Member, text = 'hello', headers = {}): Promise<string> {
  const body = { inputs: { text } };
  const { body: answer } = await rest.send('POST', '/v1/agents/agt_echo_v1/invoke', {
    key: member.key,
    body,
    headers,
  });
  return answer.call_id;
}

function dispute(member: Member, body: object): Promise<Answer> {
  return rest.send('POST', '/v1/billing/disputes', { key: member.key, body });
}

function answer(member: Member, id: string, body: object, verb = 'answer'): Promise<Answer> {
  return rest.send('POST', `/v1/billing/disputes/${id}/${verb}`, { key: member.key, body });
}

async function creditsOf(member: Member): Promise<string> {
  return (await rest.send('GET', '/v1/billing/balance', { key: member.key })).body.credits;
}

test('a claim goes to the seller, whose answer gives the credits back; call and receipt stay what they were', async () => {
  const buyer = await rest.newMember('100', BUYER);
  const call_id = await buy(buyer);
  const receiptOf = async () =>
    (await rest.send('GET', `/v1/billing/receipts/${call_id}`, { key: buyer.key })).text;
  const receipt = await receiptOf();
  const claim = { call_id, reason: 'output_defective', description: 'It only repeated me.', amount: '4' };
  const opened = await dispute(buyer, claim);
  assert.equal(opened.status, 201);
  assert.equal(opened.body.status, 'open');
  assert.equal(Date.parse(opened.body.answer_by) - Date.parse(opened.body.opened_at), 72 * 3_600_000);
  const again = await dispute(buyer, claim);
  assert.deepEqual([again.status, again.body], [200, opened.body]);

  const { dispute_id } = opened.body;
  const listed = await rest.send('GET', '/v1/billing/disputes?role=seller&status=open', { key: seller.key });
  assert.deepEqual(listed.body.items, [opened.body]);
  assert.ok(!listed.text.includes(buyer.organizationId), 'the seller is not told who bought');
  const shown = await rest.send('GET', `/v1/calls/${call_id}`, { key: buyer.key });
  assert.deepEqual(shown.body.dispute, { dispute_id, status: 'open', claimed: '4', refunded: null });
  const earned = async () => {
    const { body } = await rest.send('GET', '/v1/billing/earnings/calls?limit=1', { key: seller.key });
    const [{ proceeds, reversed, in_dispute, state, release_at, settled_at }] = body.items;
    assert.equal(Date.parse(release_at) - Date.parse(settled_at), 7 * 24 * 3_600_000);
    return { proceeds, reversed, in_dispute, state };
  };
  const call = { proceeds: '4.85', state: 'pending' };
  assert.deepEqual(await earned(), { ...call, in_dispute: '3.88', reversed: '0' }, 'of five credits four');

  const decided = await answer(seller, dispute_id, {
    decision: 'partial',
    amount: '2.5',
    explanation: 'Some of it was fine.',
  });
  assert.equal(decided.status, 200);
  assert.deepEqual([decided.body.refunded, decided.body.decided_by], ['2.5', 'seller']);
  assert.deepEqual(await earned(), { ...call, in_dispute: '0', reversed: '2.425' });
  assert.equal(await creditsOf(buyer), '97.5');
  const seen = await rest.send('GET', `/v1/billing/disputes/${dispute_id}`, { key: buyer.key });
  assert.deepEqual(seen.body, decided.body);
  const after = await rest.send('GET', `/v1/calls/${call_id}`, { key: buyer.key });
  assert.deepEqual([after.body.charged, after.body.dispute.status], ['5', 'refunded']);
  assert.equal(await receiptOf(), receipt);
});

test('a duplicate and an overcharge are decided in the answer to the request', async () => {
  const buyer = await rest.newMember('100', BUYER);
  await buy(buyer, 'twice');
  const second = await buy(buyer, 'twice');
  const refunded = await dispute(buyer, { call_id: second, reason: 'duplicate', description: 'twice' });
  assert.deepEqual([refunded.status, refunded.body.status, refunded.body.refunded], [201, 'refunded', '5']);
  assert.equal(await creditsOf(buyer), '95');
  const third = await buy(buyer, 'once');
  const rejected = await dispute(buyer, { call_id: third, reason: 'overcharge', description: 'too much' });
  assert.deepEqual([rejected.body.status, rejected.body.decided_by], ['rejected', 'ledger']);
  assert.match(rejected.body.explanation, /5 credits charged, 5 held, and a published price of at most 5/);
  assert.equal(await creditsOf(buyer), '90');
});

test('credits that come back can be spent at once, by a key that was refused a moment ago', async () => {
  const buyer = await rest.newMember('5', BUYER);
  const call_id = await buy(buyer);
  const body = { inputs: { text: 'more' } };
  const invoke = () => rest.send('POST', '/v1/agents/agt_echo_v1/invoke', { key: buyer.key, body });
  assert.equal((await invoke()).status, 402);
  const { body: opened } = await dispute(buyer, { call_id, reason: 'other', description: 'no' });
  await answer(seller, opened.dispute_id, { decision: 'refund', explanation: 'sorry' });
  assert.equal((await invoke()).status, 200);
});

test('the operator sees every dispute of its currency, and decides those that are open', async () => {
  const buyer = await rest.newMember('100', BUYER);
  const { body } = await dispute(buyer, { call_id: await buy(buyer), reason: 'other', description: 'no' });
  const all = await rest.send('GET', '/v1/billing/disputes?role=operator&limit=1', {
    key: rest.operator.key,
  });
  assert.deepEqual(all.body.items, [body]);
  assert.equal(all.body.next_cursor, body.dispute_id);
  assert.equal(
    (await rest.send('GET', '/v1/billing/disputes?role=operator', { key: buyer.key })).body.code,
    'FORBIDDEN',
  );
  const said = { decision: 'reject', explanation: 'it was as described' };
  const decided = await answer(rest.operator, body.dispute_id, said, 'decision');
  assert.deepEqual([decided.body.status, decided.body.decided_by], ['rejected', 'operator']);
});

test('a call that cost nothing says so, and a replayed one names the call to dispute', async () => {
  const buyer = await rest.newMember('5', BUYER);
  const headers = { 'idempotency-key': 'a-key-of-sixteen-characters' };
  const paid = await buy(buyer, 'again', headers);
  await buy(buyer, 'again', headers);
  await rest.send('POST', '/v1/agents/agt_echo_v1/invoke', {
    key: buyer.key,
    body: { inputs: { text: 'x' } },
  });
  const { body } = await rest.send('GET', '/v1/calls', { key: buyer.key });
  const idOf = (outcome: string): string =>
    body.items.find((each: { outcome: string }) => each.outcome === outcome).call_id;
  const claim = { reason: 'other', description: 'no' };
  const refused = await dispute(buyer, { ...claim, call_id: idOf('refused') });
  assert.equal(refused.status, 409);
  assert.match(refused.body.detail, /Nothing was charged/);
  const replayed = await dispute(buyer, { ...claim, call_id: idOf('replayed') });
  assert.equal(replayed.status, 409);
  assert.ok(replayed.body.detail.includes(`Dispute ${paid}.`));
});

test("another organization's call or dispute, a test key's view of a live one, and nonsense are the same 404", async () => {
  const [mine, theirs] = [await rest.newMember('100', BUYER), await rest.newMember('100', BUYER)];
  const tester = await rest.newKey(mine.organizationId, { ...BUYER, currency: 'test' });
  const call_id = await buy(mine);
  const claim = { reason: 'other', description: 'no' };
  const headers = { 'x-request-id': 'same' };
  const open = (key: string, id: string) =>
    rest.send('POST', '/v1/billing/disputes', { key, body: { ...claim, call_id: id }, headers });
  const missing = await open(theirs.key, `call_${'0'.repeat(32)}`);
  assert.equal(missing.status, 404);
  for (const [key, id] of [
    [theirs.key, call_id],
    [tester.key, call_id],
    [seller.key, call_id],
    [mine.key, 'nonsense'],
  ] as const) {
    assert.equal((await open(key, id)).text, missing.text);
  }

  const { body } = await dispute(mine, { ...claim, call_id });
  const said = { decision: 'refund', explanation: 'yes' };
  const ask = (key: string, id: string, method = 'GET') =>
    rest.send(method, `/v1/billing/disputes/${id}${method === 'GET' ? '' : '/answer'}`, {
      key,
      headers,
      ...(method === 'GET' ? {} : { body: said }),
    });
  const none = await ask(theirs.key, `dsp_${'0'.repeat(32)}`);
  assert.equal(none.status, 404);
  for (const key of [theirs.key, tester.key]) {
    for (const method of ['GET', 'POST']) {
      assert.equal((await ask(key, body.dispute_id, method)).text, none.text);
    }
  }
  const byBuyer = await ask(mine.key, body.dispute_id, 'POST');
  assert.equal(byBuyer.status, 403);
  for (const key of [theirs.key, tester.key]) {
    const { body: page } = await rest.send('GET', '/v1/billing/disputes', { key });
    assert.deepEqual(page, { items: [], next_cursor: null });
  }
});

const BAD_CLAIMS: [what: string, change: object, path: string, words: RegExp][] = [
  ['an unknown reason', { reason: 'output_incorrect' }, '/reason', /duplicate, overcharge, not_delivered/],
  ['no reason', { reason: undefined }, '/reason', /must be one of/],
  ['no description', { description: undefined }, '/description', /required/],
  ['an empty description', { description: '  ' }, '/description', /must say something/],
  ['a description too long', { description: 'x'.repeat(2_001) }, '/description', /at most 2000/],
  ['a NUL in the description', { description: 'a\0b' }, '/description', /must be text/],
  ['a number as amount', { amount: 3 }, '/amount', /decimal string/],
  ['a negative amount', { amount: '-1' }, '/amount', /decimal string/],
  ['nothing as amount', { amount: '0' }, '/amount', /more than 0 and at most 5/],
  ['more than was charged', { amount: '5.000001' }, '/amount', /more than 0 and at most 5/],
  ['an unknown member', { refund: true }, '/refund', /not known/],
];
for (const [what, change, path, words] of BAD_CLAIMS) {
  test(`a claim with ${what} is refused by name`, async () => {
    const buyer = await rest.newMember('100', BUYER);
    const call_id = await buy(buyer);
    const { status, body } = await dispute(buyer, { call_id, reason: 'other', description: 'no', ...change });
    assert.equal(status, 400);
    assert.equal(body.code, 'INVALID_INPUT');
    assert.equal(body.faults[0].path, path);
    assert.match(body.faults[0].message, words);
  });
}

test('an answer of another form is refused by name, and so are a bad cursor, role and status', async () => {
  const buyer = await rest.newMember('100', BUYER);
  const { body } = await dispute(buyer, { call_id: await buy(buyer), reason: 'other', description: 'no' });
  for (const [said, path] of [
    [{ decision: 'maybe', explanation: 'x' }, '/decision'],
    [{ decision: 'refund' }, '/explanation'],
    [{ decision: 'partial', explanation: 'x' }, '/amount'],
    [{ decision: 'refund', amount: '1', explanation: 'x' }, '/amount'],
  ] as const) {
    const refused = await answer(seller, body.dispute_id, said);
    assert.deepEqual([refused.status, refused.body.faults[0].path], [400, path]);
  }
  for (const query of ['cursor=nonsense', 'role=everyone', 'status=lost', 'limit=0', 'other=1']) {
    const refused = await rest.send('GET', `/v1/billing/disputes?${query}`, { key: buyer.key });
    assert.equal(refused.body.code, 'INVALID_INPUT', query);
  }
});
