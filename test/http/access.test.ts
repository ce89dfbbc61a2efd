import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { manifestOf } from '../support/gateway.ts';
import { startRestGateway, type Member, type RestGateway } from './rest-gateway.ts';

/** Every route there is, with a request it would accept; `scope` is what a key needs. */
const ROUTES: [method: string, path: string, scope: string | undefined, body?: unknown][] = [
  ['GET', '/health', undefined],
  ['GET', '/ready', undefined],
  ['GET', '/metrics', undefined],
  ['GET', '/schemas/manifest.json', undefined],
  ['GET', '/.well-known/jwks.json', undefined],
  ['GET', '/v1/agents/search', 'agents:read'],
  ['GET', '/v1/agents/{id}', 'agents:read'],
  ['POST', '/v1/agents/{id}/invoke', 'agents:invoke', { inputs: { text: 'hi' } }],
  ['POST', '/v1/agents', 'agents:publish', { manifest: {} }],
  ['GET', '/v1/agents', 'agents:read'],
  ['POST', '/v1/agents/{id}/verification', 'operator', { trust_score: 80 }],
  ['PUT', '/v1/agents/{id}/suspension', 'operator'],
  ['DELETE', '/v1/agents/{id}/suspension', 'operator'],
  ['GET', '/v1/calls/{id}', 'calls:read'],
  ['GET', '/v1/calls', 'calls:read'],
  ['GET', '/v1/billing/balance', 'billing:read'],
  ['GET', '/v1/billing/transactions', 'billing:read'],
  ['POST', '/v1/billing/load', 'billing:write', { amount_usd: 5 }],
  ['GET', '/v1/billing/loads', 'billing:read'],
  ['GET', '/v1/billing/loads/{id}', 'billing:read'],
  ['GET', '/v1/billing/invoices', 'billing:read'],
  ['GET', '/v1/billing/auto-top-up', 'billing:read'],
  [
    'PUT',
    '/v1/billing/auto-top-up',
    'billing:write',
    { threshold_credits: '100', amount_usd: 5, monthly_ceiling_usd: 50 },
  ],
  ['DELETE', '/v1/billing/auto-top-up', 'billing:write'],
  ['DELETE', '/v1/billing/card', 'billing:write'],
  ['POST', '/v1/billing/webhooks/stripe', undefined],
  ['GET', '/v1/billing/usage', 'billing:read'],
  ['GET', '/v1/billing/holds', 'billing:read'],
  ['GET', '/v1/billing/statement', 'billing:read'],
  ['GET', '/v1/billing/budget', 'billing:read'],
  ['PUT', '/v1/billing/budget', 'billing:write', { cap_day: '1' }],
  ['GET', '/v1/billing/keys', 'billing:read'],
  ['PUT', '/v1/billing/keys/{id}/caps', 'billing:write', { cap_day: '1' }],
  ['GET', '/v1/billing/alerts', 'billing:read'],
  ['PUT', '/v1/billing/alerts', 'billing:write', { balance_below: '1' }],
  ['GET', '/v1/billing/receipts', 'billing:read'],
  ['GET', '/v1/billing/earnings', 'billing:read'],
  ['GET', '/v1/billing/earnings/calls', 'billing:read'],
  ['POST', '/v1/billing/payouts/account', 'billing:write'],
  ['GET', '/v1/billing/payouts/account', 'billing:read'],
  ['PUT', '/v1/billing/payouts/account', 'billing:write', { schedule: 'manual', minimum_credits: '1' }],
  ['POST', '/v1/billing/payouts', 'billing:write', {}],
  ['GET', '/v1/billing/payouts', 'billing:read'],
  ['GET', '/v1/billing/payouts/{id}', 'billing:read'],
  ['GET', '/v1/billing/receipts/{call}', 'billing:read'],
  ['GET', '/v1/billing/proof', 'billing:read'],
  [
    'POST',
    '/v1/billing/disputes',
    'billing:write',
    { call_id: `call_${'0'.repeat(32)}`, reason: 'other', description: 'x' },
  ],
  ['GET', '/v1/billing/disputes', 'billing:read'],
  ['GET', '/v1/billing/disputes/{id}', 'billing:read'],
  ['POST', '/v1/billing/disputes/{id}/answer', 'billing:write', { decision: 'refund', explanation: 'x' }],
  ['POST', '/v1/billing/disputes/{id}/decision', 'operator', { decision: 'refund', explanation: 'x' }],
  ['POST', '/v1/webhooks', 'billing:write', { url: 'https://example.com/' }],
  ['GET', '/v1/webhooks', 'billing:read'],
  ['GET', '/v1/webhooks/{id}', 'billing:read'],
  ['PATCH', '/v1/webhooks/{id}', 'billing:write', {}],
  ['DELETE', '/v1/webhooks/{id}', 'billing:write'],
  ['POST', '/v1/webhooks/{id}/rotate-secret', 'billing:write'],
  ['POST', '/v1/webhooks/{id}/test', 'billing:write'],
  ['GET', '/v1/webhooks/{id}/deliveries', 'billing:read'],
  ['GET', '/v1/webhooks/deliveries/{id}', 'billing:read'],
  ['POST', '/v1/webhooks/deliveries/{id}/replay', 'billing:write'],
  ['POST', '/v1/orgs', 'operator', { name: 'x' }],
  ['GET', '/v1/orgs', 'operator'],
  ['POST', '/v1/keys', 'operator', { organization_id: 'org_x' }],
  ['GET', '/v1/keys', 'operator'],
  ['DELETE', '/v1/keys/{id}', 'operator'],
  ['POST', '/v1/credits/grants', 'operator', { organization_id: 'org_x', amount: '1' }],
  ['GET', '/v1/status', 'operator'],
  ['GET', '/v1/reconciliation', 'operator'],
];

const ALL_BUT_OPERATOR = [
  'agents:read',
  'agents:invoke',
  'agents:publish',
  'calls:read',
  'billing:read',
  'billing:write',
] as const;

let rest: RestGateway;
before(async () => {
  rest = await startRestGateway();
  await rest.publish(manifestOf('hidden', 'http://127.0.0.1:9/'));
});
after(() => rest.close());

const at = (path: string): string =>
  path.replace('{id}', path.includes('agents') ? 'agt_hidden_v1' : 'key_x');

test('the table of routes here is the whole table of the API', async () => {
  const { body } = await rest.send('GET', '/openapi.json');
  const offered = Object.entries<Record<string, unknown>>(body.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  assert.deepEqual(offered.sort(), ROUTES.map(([method, path]) => `${method} ${path}`).sort());
});

for (const [method, path, scope, body] of ROUTES.filter(([, , scope]) => scope !== undefined)) {
  test(`${method} ${path} wants a valid key`, async () => {
    for (const key of [undefined, 'sk_live_nonsense', `sk_live_${'0'.repeat(40)}`]) {
      const answer = await rest.send(method, at(path), { ...(key === undefined ? {} : { key }), body });
      assert.equal(answer.status, 401);
      assert.equal(answer.body.code, 'UNAUTHENTICATED');
      assert.match(answer.headers.get('www-authenticate') ?? '', /^Bearer/);
      if (key !== undefined) assert.ok(!answer.text.includes(key));
    }
  });

  test(`${method} ${path} wants the scope ${scope}, and is told before anything else is looked at`, async () => {
    const scopes = ALL_BUT_OPERATOR.filter((each) => each !== scope);
    const { key } = await rest.newMember('10', { scopes });
    const answer = await rest.send(method, at(path), { key, body });
    assert.equal(answer.status, 403);
    assert.equal(answer.body.code, 'FORBIDDEN');
    assert.match(answer.body.detail, new RegExp(scope ?? ''));
  });
}

test('a key in X-API-Key is as good as one in Authorization', async () => {
  const { key } = await rest.newMember();
  const { status } = await rest.send('GET', '/v1/billing/balance', { headers: { 'x-api-key': key } });
  assert.equal(status, 200);
});

test("another organization's call, and one that never was, answer the same byte for byte", async () => {
  const [mine, theirs] = [await rest.newMember('10'), await rest.newMember('10')];
  await rest.send('POST', '/v1/agents/agt_none_v1/invoke', { key: mine.key, body: { inputs: {} } });
  const { body } = await rest.send('GET', '/v1/calls', { key: mine.key });
  const headers = { 'x-request-id': 'same' };
  const ask = (member: Member, id: string) =>
    rest.send('GET', `/v1/calls/${id}`, { key: member.key, headers });
  assert.equal((await ask(mine, body.items[0].call_id)).status, 200);
  const notYours = await ask(theirs, body.items[0].call_id);
  const missing = await ask(theirs, `call_${'0'.repeat(32)}`);
  const nonsense = await ask(theirs, 'nonsense');
  assert.equal(notYours.status, 404);
  assert.equal(notYours.text, missing.text);
  assert.equal(notYours.text, nonsense.text);
  assert.deepEqual((await rest.send('GET', '/v1/calls', { key: theirs.key })).body.items, []);
});

test('an agent that is not for sale, and one that never was, answer the same byte for byte', async () => {
  const { key } = await rest.newMember();
  const ask = (id: string) =>
    rest.send('GET', `/v1/agents/${id}`, { key, headers: { 'x-request-id': 'same' } });
  const [hidden, missing] = [await ask('agt_hidden_v1'), await ask('agt_missing_v1')];
  assert.equal(hidden.status, 404);
  assert.equal(hidden.text, missing.text);
  const invoke = (id: string) =>
    rest.send('POST', `/v1/agents/${id}/invoke`, {
      key,
      body: { inputs: { text: 'x' } },
      headers: { 'x-request-id': 'same' },
    });
  assert.equal((await invoke('agt_hidden_v1')).text, (await invoke('agt_missing_v1')).text);
});

test('a seller sees its own agents before they are for sale; nobody else does', async () => {
  const seller = await rest.newKey(rest.sellerId, { scopes: ['agents:read', 'agents:publish'] });
  const own = await rest.send('GET', '/v1/agents', { key: seller.key });
  assert.deepEqual(
    own.body.items.map((each: { agent_id: string }) => each.agent_id),
    ['agt_hidden_v1'],
  );
  const detail = await rest.send('GET', '/v1/agents/agt_hidden_v1', { key: seller.key });
  assert.equal(detail.body.standing.status, 'published');
  assert.equal(detail.body.trust_score, null);
  const other = await rest.newMember();
  assert.deepEqual((await rest.send('GET', '/v1/agents', { key: other.key })).body.items, []);
  const asked = await rest.send('GET', `/v1/agents?organization_id=${rest.sellerId}`, { key: other.key });
  assert.equal(asked.status, 403);
});

test('nobody publishes for another organization but the operator', async () => {
  const seller = await rest.newMember('0', { scopes: ['agents:publish'] });
  const body = { manifest: manifestOf('theirs', 'http://127.0.0.1:9/'), organization_id: rest.sellerId };
  assert.equal((await rest.send('POST', '/v1/agents', { key: seller.key, body })).status, 403);
  assert.equal((await rest.send('POST', '/v1/agents', { key: rest.operator.key, body })).status, 201);
});

test('a revoked key is refused at its very next use', async () => {
  const member = await rest.newMember();
  assert.equal((await rest.send('GET', '/v1/calls', { key: member.key })).status, 200);
  const revoked = await rest.send('DELETE', `/v1/keys/${member.keyId}`, { key: rest.operator.key });
  assert.equal(revoked.status, 200);
  assert.equal((await rest.send('GET', '/v1/calls', { key: member.key })).status, 401);
});

test('the metrics of a gateway with a public address are for the operator', async () => {
  const open = await startRestGateway({ publicUrl: 'https://sentinel.example.com' });
  try {
    assert.equal((await open.send('GET', '/metrics')).status, 401);
    const buyer = await open.newMember();
    assert.equal((await open.send('GET', '/metrics', { key: buyer.key })).status, 403);
    assert.equal((await open.send('GET', '/metrics', { key: open.operator.key })).status, 200);
  } finally {
    await open.close();
  }
});
