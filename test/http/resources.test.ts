import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Manifest } from '../../src/catalog/agent.ts';
import { OPERATOR_MAY_ALLOW } from '../../src/http/words.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';
import { startRestGateway, type Answer, type Member, type RestGateway, type Send } from './rest-gateway.ts';

let rest: RestGateway;
let seller: TestSeller;
before(async () => {
  rest = await startRestGateway();
  seller = await startSeller((input) => ({ text: input['text'] }));
  for (const [slug, score] of [
    ['alpha', 90],
    ['beta', 70],
    ['gamma', 55],
  ] as const) {
    await rest.publish(manifestOf(slug, seller.url), score);
  }
});
after(async () => {
  await rest.close();
  await seller.close();
});

const operate = (method: string, path: string, send: Send = {}): Promise<Answer> =>
  rest.send(method, path, { ...send, key: rest.operator.key });
const invoke = (member: Member, text: unknown = 'x'): Promise<Answer> =>
  rest.send('POST', '/v1/agents/agt_alpha_v1/invoke', { key: member.key, body: { inputs: { text } } });

/** Every item of a list, two at a time, by its cursors. */
async function follow(member: Member, path: string): Promise<Record<string, string>[]> {
  const items: Record<string, string>[] = [];
  let cursor: string | null = '';
  for (let page = 0; cursor !== null && page < 20; page += 1) {
    const query: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const { status, body } = await rest.send('GET', `${path}limit=2${query}`, { key: member.key });
    assert.equal(status, 200);
    assert.ok(body.items.length <= 2);
    items.push(...body.items);
    cursor = body.next_cursor;
  }
  return items;
}

test('a search finds, filters and pages', async () => {
  const buyer = await rest.newMember();
  const all = await follow(buyer, '/v1/agents/search?');
  assert.deepEqual(
    all.map((each) => each['agent_id']),
    ['agt_alpha_v1', 'agt_beta_v1', 'agt_gamma_v1'],
  );
  assert.ok(!('endpoint' in (all[0] ?? {})));
  const { body } = await rest.send('GET', '/v1/agents/search?min_trust_score=60&q=agent', { key: buyer.key });
  assert.equal(body.total, 2);
});

for (const path of [
  '/v1/agents/search?min_trust_score=101',
  '/v1/agents/search?badge=gold',
  '/v1/agents/search?limit=0',
  '/v1/agents/search?cursor=nonsense',
  '/v1/agents/search?trust=1',
  '/v1/agents/agt_alpha_v1?fields=all',
  '/v1/agents?limit=101',
  '/v1/agents?limit=1&limit=2',
  '/v1/calls?outcome=lost',
  '/v1/calls?cursor=nonsense',
  '/v1/calls?since=yesterday',
  '/v1/calls/call_x?full=1',
  '/v1/billing/balance?currency=live',
  '/v1/billing/transactions?from=yesterday',
  '/v1/billing/transactions?type=gift',
  '/v1/billing/transactions?cursor=nonsense',
  '/v1/billing/transactions?format=xml',
  '/v1/orgs?limit=ten',
  '/v1/keys?org=x',
  '/v1/status?verbose=1',
  '/health?verbose=1',
]) {
  test(`GET ${path} is refused with the name of what is wrong`, async () => {
    const { status, body } = await operate('GET', path);
    assert.equal(status, 400);
    assert.equal(body.code, 'INVALID_INPUT');
    assert.ok(body.faults.length > 0);
    const name = /[?&](\w+)=[^&]*$/.exec(path)?.[1];
    assert.ok(
      body.faults.every((fault: { path: string }) => fault.path === `/${name}`),
      JSON.stringify(body.faults),
    );
  });
}

test('publishing, verifying, suspending and resuming show at once', async () => {
  const publisher = await rest.newKey(rest.sellerId, { scopes: ['agents:publish', 'agents:read'] });
  const buyer = await rest.newMember();
  const detail = (): Promise<Answer> => rest.send('GET', '/v1/agents/agt_delta_v1', { key: buyer.key });
  const published = await rest.send('POST', '/v1/agents', {
    key: publisher.key,
    body: { manifest: manifestOf('delta', seller.url) },
  });
  assert.equal(published.status, 201);
  assert.deepEqual(published.body, { agent_id: 'agt_delta_v1', version: '1.0.0' });
  assert.equal((await detail()).status, 404);

  const verified = await operate('POST', '/v1/agents/agt_delta_v1/verification', {
    body: { trust_score: 76 },
  });
  assert.deepEqual(verified.body, { agent_id: 'agt_delta_v1', trust_score: 76, badge: 'standard' });
  assert.equal((await detail()).body.trust_score, 76);

  const suspended = await operate('PUT', '/v1/agents/agt_delta_v1/suspension');
  assert.deepEqual(suspended.body, { agent_id: 'agt_delta_v1', status: 'suspended' });
  assert.equal((await detail()).status, 404);

  const resumed = await operate('DELETE', '/v1/agents/agt_delta_v1/suspension');
  assert.deepEqual(resumed.body, { agent_id: 'agt_delta_v1', status: 'verified' });
  assert.equal((await detail()).status, 200);
});

test('publishing warns of what was left out, and of an endpoint where the agent is not found', async () => {
  const publishTo = async (slug: string, changes: Partial<Manifest>): Promise<Answer> => {
    const manifest = manifestOf(slug, seller.url, changes);
    const answer = await operate('POST', '/v1/agents', {
      body: { manifest, organization_id: rest.sellerId },
    });
    assert.equal(answer.status, 201, answer.text);
    return answer;
  };
  const input_schema = { type: 'object', properties: { text: { type: 'string', 'x-unit': 'words' } } };
  const seen = seller.requests;
  const vendor = await publishTo('vendor', { input_schema });
  assert.deepEqual(vendor.body.warnings, [
    {
      path: '/input_schema/properties/text/x-unit',
      message: 'is not a JSON Schema keyword and was left out',
    },
  ]);
  assert.equal(seller.requests, seen, 'an http agent is not called');

  const gone = await publishTo('gone', { endpoint: { protocol: 'http', url: 'http://127.0.0.1:1/' } });
  assert.deepEqual(gone.body.warnings, [
    { path: '/endpoint/url', message: 'could not be reached: it refused the connection' },
  ]);

  const long = await publishTo('acme_project_tracker_create_recurring_subtask', {});
  assert.match(long.body.agent_id, /^agt_acme_project_tracker_h[0-9a-f]{6}_v1$/);
  assert.equal(long.body.warnings[0].path, '/agent_id');
});

test('a manifest with faults is refused with every one of them and its place', async () => {
  const manifest = { ...manifestOf('wrong', 'http://10.0.0.1/'), category: 'cats', colour: 'red' };
  const { status, body } = await operate('POST', '/v1/agents', { body: { manifest } });
  assert.equal(status, 400);
  const paths = body.faults.map((fault: { path: string }) => fault.path);
  for (const path of ['/category', '/colour', '/endpoint/url']) assert.ok(paths.includes(path), path);
});

test('a private endpoint is refused with the setting by which the operator allows it', async () => {
  const manifest = manifestOf('private', 'http://10.0.0.1/');
  const { status, body } = await operate('POST', '/v1/agents', { body: { manifest } });
  assert.equal(status, 400);
  assert.deepEqual(body.faults, [
    {
      path: '/endpoint/url',
      message: `must start with https://. ${OPERATOR_MAY_ALLOW}`,
    },
  ]);
  assert.match(OPERATOR_MAY_ALLOW, /SENTINEL_ALLOW_PRIVATE_ENDPOINTS=true/);
});

test('a version that does not rise is a conflict', async () => {
  const manifest = manifestOf('alpha', seller.url, { display_name: 'Other' });
  const body = { manifest, organization_id: rest.sellerId };
  const { status, body: problem } = await operate('POST', '/v1/agents', { body });
  assert.deepEqual([status, problem.code], [409, 'CONFLICT']);
});

for (const [method, path, body] of [
  ['POST', '/v1/agents/agt_none_v1/verification', { trust_score: 50 }],
  ['PUT', '/v1/agents/agt_none_v1/suspension', undefined],
  ['DELETE', '/v1/agents/agt_none_v1/suspension', undefined],
  ['GET', '/v1/agents/agt_none_v1', undefined],
  ['GET', '/v1/calls/call_none', undefined],
  ['DELETE', '/v1/keys/key_none', undefined],
  ['POST', '/v1/keys', { organization_id: 'org_none' }],
  ['POST', '/v1/credits/grants', { organization_id: 'org_none', amount: '1' }],
  ['POST', '/v1/agents', { manifest: {}, organization_id: 'org_none' }],
] as const) {
  test(`${method} ${path} of something that is not there is a 404`, async () => {
    const answer = await operate(method, path, body === undefined ? {} : { body });
    assert.deepEqual([answer.status, answer.body.code], [404, 'NOT_FOUND']);
  });
}

for (const [path, body, places] of [
  ['/v1/agents/agt_alpha_v1/verification', { trust_score: 101 }, ['/trust_score']],
  ['/v1/agents/agt_alpha_v1/verification', { trust_score: 1.5, score: 1 }, ['/score', '/trust_score']],
  ['/v1/orgs', { name: '  ' }, ['/name']],
  ['/v1/orgs', {}, ['/name']],
  ['/v1/keys', { organization_id: 'org_x', scopes: ['root'], cap_day: '-1' }, ['/cap_day', '/scopes/0']],
  ['/v1/keys', { organization_id: 'org_x', rate_per_minute: 0 }, ['/rate_per_minute']],
  ['/v1/credits/grants', { organization_id: 'org_x', amount: '0' }, ['/amount']],
  ['/v1/credits/grants', { organization_id: 'org_x', amount: '1000000001' }, ['/amount']],
  ['/v1/credits/grants', { organization_id: 'org_x', amount: '1', grant_id: 'x' }, ['/grant_id']],
] as const) {
  test(`POST ${path} with ${JSON.stringify(body)} names ${places.join(' and ')}`, async () => {
    const answer = await operate('POST', path, { body });
    assert.equal(answer.status, 400);
    assert.deepEqual(answer.body.faults.map((fault: { path: string }) => fault.path).sort(), places);
  });
}

test('calls are listed newest first, by agent and by outcome, and pages miss none', async () => {
  const buyer = await rest.newMember('100');
  for (const text of ['a', 1, 'b', 2, 'c']) await invoke(buyer, text);
  const calls = await follow(buyer, '/v1/calls?');
  const outcomes = calls.map((call) => call['outcome']);
  assert.deepEqual(outcomes, ['settled', 'refused', 'settled', 'refused', 'settled']);
  assert.equal(new Set(calls.map((call) => call['call_id'])).size, 5);
  const refused = await rest.send('GET', '/v1/calls?outcome=refused', { key: buyer.key });
  assert.equal(refused.body.items.length, 2);
  const none = await rest.send('GET', '/v1/calls?agent_id=agt_beta_v1', { key: buyer.key });
  assert.deepEqual(none.body, { items: [], next_cursor: null });
});

test('a call can be read the moment it has been answered', async () => {
  const buyer = await rest.newMember('100');
  const { body } = await invoke(buyer);
  const { status, body: call } = await rest.send('GET', `/v1/calls/${body.call_id}`, { key: buyer.key });
  assert.equal(status, 200);
  assert.deepEqual([call.outcome, call.charged, call.wire, call.delivered], ['settled', '5', 'rest', true]);
  assert.equal(call.result, null, 'a delivered answer without an idempotency key is not kept');
});

test('the movements of a balance sum up to the balance', async () => {
  const buyer = await rest.newMember('100');
  for (let call = 0; call < 3; call += 1) await invoke(buyer);
  const movements = await follow(buyer, '/v1/billing/transactions?');
  assert.deepEqual(
    movements.map((each) => [each['type'], each['credits']]),
    [
      ['settle', '-5'],
      ['settle', '-5'],
      ['settle', '-5'],
      ['grant', '100'],
    ],
  );
  assert.match(movements[0]?.['id'] ?? '', /^call_/);
  assert.match(movements[3]?.['id'] ?? '', /^txn_/);
  const { body } = await rest.send('GET', '/v1/billing/balance', { key: buyer.key });
  assert.deepEqual([body.credits, body.escrow_credits, body.usd_equivalent], ['85', '0', '0.85']);
  assert.equal(body.currency, 'live');

  const grants = await rest.send('GET', '/v1/billing/transactions?type=grant', { key: buyer.key });
  assert.equal(grants.body.items.length, 1);
  const future = await rest.send('GET', '/v1/billing/transactions?from=2999-01-01', { key: buyer.key });
  assert.deepEqual(future.body.items, []);
  const past = await rest.send('GET', '/v1/billing/transactions?to=2001-01-01T00:00:00Z', { key: buyer.key });
  assert.deepEqual(past.body.items, []);
});

test('movements come as CSV when asked for, and the next page is in the Link header', async () => {
  const buyer = await rest.newMember('100');
  for (let call = 0; call < 2; call += 1) await invoke(buyer);
  const first = await rest.send('GET', '/v1/billing/transactions?limit=2', {
    key: buyer.key,
    headers: { accept: 'text/csv' },
  });
  assert.match(first.headers.get('content-type') ?? '', /^text\/csv/);
  const lines = first.text.split('\r\n');
  assert.equal(lines[0], 'id,type,credits,agent_id,key_id,description,created_at,subject');
  assert.match(lines[1] ?? '', /^call_\w+,settle,-5,agt_alpha_v1,/);
  const next = /<([^>]+)>; rel="next"/.exec(first.headers.get('link') ?? '')?.[1];
  const path = (next ?? '').slice(rest.url.length);
  const second = await rest.send('GET', `${path}&format=csv`, { key: buyer.key });
  assert.match(second.text.split('\r\n')[1] ?? '', /^txn_\w+,grant,100,/);
  assert.equal(second.headers.get('link'), null);
});

test('test credits and live credits are two balances', async () => {
  const live = await rest.newMember('10');
  const testKey = await rest.newKey(live.organizationId, { currency: 'test' });
  const granted = await operate('POST', '/v1/credits/grants', {
    body: { organization_id: live.organizationId, amount: '2.5', test: true },
  });
  assert.equal(granted.status, 201);
  assert.equal(granted.body.balance, '2.5');
  const balance = async (member: Member) =>
    (await rest.send('GET', '/v1/billing/balance', { key: member.key })).body;
  assert.equal((await balance(live)).credits, '10');
  assert.deepEqual([(await balance(testKey)).credits, (await balance(testKey)).currency], ['2.5', 'test']);
});

test('the same grant sent twice happens once, and another one under its id is refused', async () => {
  const { organizationId: organization_id } = await rest.newMember('0');
  const grant_id = `txn_${'1'.repeat(32)}`;
  const grant = (amount: string): Promise<Answer> =>
    operate('POST', '/v1/credits/grants', { body: { organization_id, amount, grant_id } });
  assert.deepEqual((await grant('5')).body, { grant_id, balance: '5' });
  assert.deepEqual((await grant('5')).body, { grant_id, balance: '5' });
  const other = await grant('6');
  assert.deepEqual([other.status, other.body.code], [409, 'CONFLICT']);
});

test('the operator makes organizations and keys, and their caps bind', async () => {
  const organization = await operate('POST', '/v1/orgs', { body: { name: ' Acme ' } });
  assert.equal(organization.status, 201);
  assert.equal(organization.body.name, 'Acme');
  const organization_id = organization.body.id;
  await operate('POST', '/v1/credits/grants', { body: { organization_id, amount: '100' } });
  const issued = await operate('POST', '/v1/keys', {
    body: { organization_id, name: 'capped', cap_day: '7' },
  });
  assert.equal(issued.status, 201);
  assert.match(issued.body.key, /^sk_live_[0-9a-f]{40}$/);
  const member = { organizationId: organization_id, keyId: issued.body.id, key: issued.body.key };
  assert.equal((await invoke(member)).status, 200);
  const second = await invoke(member);
  assert.deepEqual([second.status, second.body.code], [403, 'BUDGET_EXCEEDED']);

  const { body: keys, text } = await operate('GET', `/v1/keys?organization_id=${organization_id}`);
  assert.equal(keys.items.length, 1);
  assert.equal(keys.items[0].name, 'capped');
  assert.ok(!text.includes(issued.body.key));
  const all = await follow(rest.operator, '/v1/orgs?');
  assert.ok(all.some((each) => each['id'] === organization_id));
  assert.equal(new Set(all.map((each) => each['id'])).size, all.length);
});

test("the operator's status counts what is open", async () => {
  const { body } = await operate('GET', '/v1/status');
  assert.equal(body.agents >= 3, true);
  assert.deepEqual([body.open_holds, body.held, body.queue_depth, body.limits], [0, '0', 0, 'local']);
});
