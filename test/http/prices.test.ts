import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';
import { startRestGateway, type Answer, type Member, type RestGateway } from './rest-gateway.ts';

let rest: RestGateway;
let seller: TestSeller;
before(async () => {
  rest = await startRestGateway();
  seller = await startSeller(({ text }) => ({ text }));
});
after(async () => {
  await rest.close();
  await seller.close();
});

let published = 0;

async function sell(
  credits: string,
  slug = `priced_${(published += 1)}`,
  minor = 0,
  freeCalls = 0,
): Promise<string> {
  const pricing = { model: 'per_call', credits_per_call: credits, free_tier_calls: freeCalls } as const;
  const agentId = await rest.publish(manifestOf(slug, seller.url, { version: `1.${minor}.0`, pricing }), 80);
  return agentId;
}

const get = (member: Member, path: string): Promise<Answer> => rest.send('GET', path, { key: member.key });
function invoke(member: Member, agentId: string, body: object = {}, headers = {}): Promise<Answer> {
  return rest.send('POST', `/v1/agents/${agentId}/invoke`, {
    key: member.key,
    body: { inputs: { text: 'x' }, ...body },
    headers,
  });
}

describe('a call costs no more than the key was last shown', () => {
  const WAYS: [title: string, path: (agentId: string) => string][] = [
    ['GET /v1/agents/search', () => '/v1/agents/search?q=priced&limit=100'],
    ['GET /v1/agents/{id}', (agentId) => `/v1/agents/${agentId}`],
  ];
  for (const [title, path] of WAYS) {
    test(`by ${title}`, async () => {
      const buyer = await rest.newMember('100');
      const agentId = await sell('5');
      assert.equal((await get(buyer, path(agentId))).status, 200);
      await sell('9', agentId.slice(4, -3), 1);
      assert.equal((await invoke(buyer, agentId)).body.credits_charged, '5');
      assert.equal((await invoke(buyer, agentId, { max_credits: '4.9' })).body.code, 'BUDGET_EXCEEDED');
      await get(buyer, path(agentId));
      assert.equal((await invoke(buyer, agentId)).body.credits_charged, '9');
    });
  }

  test('and an agent the filters hide is not shown', async () => {
    const buyer = await rest.newMember('100');
    const agentId = await sell('5');
    await get(buyer, `/v1/agents/${agentId}`);
    await sell('9', agentId.slice(4, -3), 1);
    assert.equal((await get(buyer, `/v1/agents/${agentId}?min_trust_score=81`)).status, 404);
    assert.equal((await invoke(buyer, agentId)).body.credits_charged, '5');
  });

  test('the seller, who is shown its own agent, like everybody else', async () => {
    const own = await rest.newKey(rest.sellerId);
    const agentId = await sell('5');
    await get(own, `/v1/agents/${agentId}`);
    await sell('9', agentId.slice(4, -3), 1);
    // Without a credit, what is refused says what was needed.
    assert.equal((await invoke(own, agentId)).body.needed, '5');
  });
});

test('a price that counts in another way than it was shown is a 409 with today’s', async () => {
  const buyer = await rest.newMember('100');
  const agentId = await sell('5');
  await get(buyer, `/v1/agents/${agentId}`);
  const pricing = { model: 'per_unit', unit: 'page', credits_per_unit: '1', max: '20' } as const;
  await rest.publish(manifestOf(agentId.slice(4, -3), seller.url, { version: '1.1.0', pricing }), 80);
  const { status, body } = await invoke(buyer, agentId);
  assert.equal(status, 409);
  assert.deepEqual(
    [body.code, body.charged, body.needed, body.price.unit],
    ['PRICE_CHANGED', '0', '20', 'page'],
  );
});

test('an agent says how many of its free calls are left', async () => {
  const buyer = await rest.newMember('100');
  const agentId = await sell('5', undefined, 0, 1);
  const left = async (): Promise<unknown> => (await get(buyer, `/v1/agents/${agentId}`)).body.free_remaining;
  assert.equal(await left(), 1);
  const { body } = await invoke(buyer, agentId);
  assert.deepEqual([body.credits_charged, body.receipt.held], ['0', '0']);
  assert.equal(await left(), 0);
  assert.equal((await invoke(buyer, agentId)).body.credits_charged, '5');
});

test('buyer and seller are told of a report beyond the most an agent may cost', async () => {
  const buyer = await rest.newMember('100');
  const pricing = { model: 'per_unit', unit: 'page', credits_per_unit: '1', max: '2' } as const;
  const greedy = await startSeller(({ text }, _, response) => {
    response.setHeader('x-sentinel-usage', String(text));
    return { text };
  });
  try {
    const agentId = await rest.publish(manifestOf('greedy', greedy.url, { pricing }), 80);
    const flags: unknown[] = [];
    for (const text of ['2', '3']) {
      const { body } = await invoke(buyer, agentId, { inputs: { text } });
      assert.equal(body.credits_charged, '2');
      flags.push((await get(buyer, `/v1/calls/${body.call_id}`)).body.over_reported);
    }
    assert.deepEqual(flags, [false, true]);
    const earned = await get(await rest.newKey(rest.sellerId), '/v1/billing/earnings/calls?limit=2');
    assert.deepEqual(
      earned.body.items.map((item: { over_reported: boolean }) => item.over_reported),
      [true, false],
    );
    const { text } = await rest.send('GET', '/metrics', { key: rest.operator.key });
    assert.match(text, /^sentinel_over_reports_total 1$/m);
  } finally {
    await greedy.close();
  }
});

test('session and caller are recorded as the headers name them', async () => {
  const buyer = await rest.newMember('100');
  const agentId = await sell('5');
  const headers = { 'x-sentinel-session': 'run 7', 'x-sentinel-caller': 'mia@acme' };
  const { body } = await invoke(buyer, agentId, {}, headers);
  const call = await get(buyer, `/v1/calls/${body.call_id}`);
  assert.deepEqual([call.body.session, call.body.caller], ['run 7', 'mia@acme']);
  assert.equal(call.body.over_reported, false);
  const [listed] = (await get(buyer, '/v1/calls')).body.items;
  assert.deepEqual([listed.session, listed.caller], ['run 7', 'mia@acme']);

  const refused = await invoke(buyer, agentId, {}, { 'x-sentinel-caller': 'x'.repeat(129) });
  assert.equal(refused.body.code, 'INVALID_INPUT');
  assert.deepEqual(refused.body.faults, [
    { path: '/x-sentinel-caller', message: 'must be 1 to 128 printable ASCII characters' },
  ]);
});
