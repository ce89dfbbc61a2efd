import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Webhook } from 'standardwebhooks';
import { EVENT_TYPES, insertEvent } from '../../src/audit/events.ts';
import { dispatchWebhooks } from '../../src/webhooks/dispatch.ts';
import { assertDescribed } from '../support/events.ts';
import { startSeller, manifestOf, type TestSeller } from '../support/gateway.ts';
import { startReceiver, type Receiver } from '../webhooks/receiver.ts';
import { startRestGateway, type Member, type RestGateway } from './rest-gateway.ts';

const SCOPES = ['billing:read', 'billing:write', 'agents:invoke'] as const;

let rest: RestGateway;
let receiver: Receiver;
before(async () => {
  rest = await startRestGateway();
  receiver = await startReceiver();
});
after(async () => {
  await rest.close();
  await receiver.close();
});

const newMember = (wish: { currency?: 'live' | 'test' } = {}): Promise<Member> =>
  rest.newMember('100', { scopes: [...SCOPES], ...wish });
const send = (member: Member, method: string, path: string, body?: unknown) =>
  rest.send(method, path, { key: member.key, body });
const create = async (member: Member, body: object = {}) => {
  const answer = await send(member, 'POST', '/v1/webhooks', { url: receiver.url, ...body });
  assert.equal(answer.status, 201, answer.text);
  return answer.body;
};

test('a webhook is made, shown, changed and deleted; its secret is shown once', async () => {
  const member = await newMember();
  const made = await create(member, { events: ['payout.paid', 'payout.paid'], description: 'Books' });
  assert.match(made.id, /^whe_[0-9a-f]{32}$/);
  assert.match(made.secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
  const { secret, ...shown } = made;
  assert.deepEqual(shown, {
    id: made.id,
    url: receiver.url,
    description: 'Books',
    events: ['payout.paid'],
    currency: 'live',
    disabled: false,
    disabled_reason: null,
    previous_secret_expires_at: null,
    created_at: made.created_at,
  });
  assert.deepEqual((await send(member, 'GET', `/v1/webhooks/${made.id}`)).body, shown);
  const list = await send(member, 'GET', '/v1/webhooks');
  assert.deepEqual(list.body, { items: [shown], next_cursor: null });
  assert.ok(!list.text.includes(secret));

  const changed = await send(member, 'PATCH', `/v1/webhooks/${made.id}`, { events: [], disabled: true });
  assert.deepEqual(changed.body, { ...shown, events: [...EVENT_TYPES], disabled: true });
  assert.equal((await send(member, 'DELETE', `/v1/webhooks/${made.id}`)).status, 200);
  assert.equal((await send(member, 'GET', `/v1/webhooks/${made.id}`)).status, 404);
  assert.deepEqual((await send(member, 'GET', '/v1/webhooks')).body.items, []);
});

test('a rotated secret is shown once, and what is sent verifies with it and with the one before', async () => {
  const member = await newMember();
  const made = await create(member);
  const rotated = await send(member, 'POST', `/v1/webhooks/${made.id}/rotate-secret`);
  assert.notEqual(rotated.body.secret, made.secret);
  assert.ok(Date.parse(rotated.body.previous_secret_expires_at) - Date.now() > 23 * 3_600_000);
  const seen = receiver.visits.length;
  const sent = await send(member, 'POST', `/v1/webhooks/${made.id}/test`);
  assert.equal(sent.status, 202);
  await dispatchWebhooks(rest.gateway.webhooks);
  const visit = await receiver.visit(seen);
  for (const secret of [made.secret, rotated.body.secret]) {
    new Webhook(secret).verify(visit.body, visit.headers as Record<string, string>);
  }
  const told = JSON.parse(visit.body) as { type: string; data: unknown };
  assertDescribed(told.type, told.data);
});

test('a paid call is told to its buyer and its seller, and the delivery log shows it', async () => {
  const seller: TestSeller = await startSeller(({ text }) => ({ text }));
  try {
    const agentId = await rest.publish(manifestOf('told', seller.url), 80);
    const buyer = await newMember();
    const made = await create(buyer, { events: ['call.settled'] });
    const call = await send(buyer, 'POST', `/v1/agents/${agentId}/invoke`, { inputs: { text: 'hi' } });
    assert.equal(call.status, 200, call.text);
    const seen = receiver.visits.length;
    await dispatchWebhooks(rest.gateway.webhooks);
    const visit = await receiver.visit(seen);
    const told = new Webhook(made.secret).verify(visit.body, visit.headers as Record<string, string>) as {
      type: string;
      data: Record<string, unknown>;
    };
    assert.equal(told.type, 'call.settled');
    assertDescribed(told.type, told.data);
    assert.equal(told.data['agent_id'], agentId);
    assert.equal(told.data['charged'], '5');
    assert.equal(told.data['key_id'], buyer.keyId);

    const { body } = await send(buyer, 'GET', `/v1/webhooks/${made.id}/deliveries`);
    assert.equal(body.items.length, 1);
    assert.equal(body.items[0].webhook_id, visit.headers['webhook-id']);
    assert.equal(body.items[0].status, 'delivered');
    const detail = await send(buyer, 'GET', `/v1/webhooks/deliveries/${body.items[0].id}`);
    assert.deepEqual(detail.body.payload, JSON.parse(visit.body));
    assert.equal(detail.body.log.length, 1);

    const replayed = await send(buyer, 'POST', `/v1/webhooks/deliveries/${body.items[0].id}/replay`);
    assert.deepEqual([replayed.status, replayed.body.status], [202, 'pending']);
    await dispatchWebhooks(rest.gateway.webhooks);
    const again = await receiver.visit(seen + 1);
    assert.equal(again.headers['webhook-id'], visit.headers['webhook-id']);
  } finally {
    await seller.close();
  }
});

test('deliveries are listed by status and in pages, newest first', async () => {
  const member = await newMember();
  const made = await create(member, { events: ['credits.loaded'] });
  const { db } = rest.gateway.database;
  for (let n = 0; n < 5; n += 1) {
    await db.transaction((tx) =>
      insertEvent(tx, {
        organizationId: member.organizationId,
        currency: 'live',
        type: 'credits.loaded',
        data: { n },
      }),
    );
  }
  await dispatchWebhooks(rest.gateway.webhooks);
  const path = `/v1/webhooks/${made.id}/deliveries`;
  const ids: string[] = [];
  let cursor: string | null = '';
  for (let page = 0; page < 3; page += 1) {
    const { body } = await send(member, 'GET', `${path}?limit=2${cursor ? `&cursor=${cursor}` : ''}`);
    ids.push(...body.items.map((item: { id: string }) => item.id));
    cursor = body.next_cursor;
  }
  assert.equal(cursor, null);
  assert.equal(new Set(ids).size, 5);
  assert.deepEqual(ids, ids.toSorted().toReversed());
  const failed = await send(member, 'GET', `${path}?status=failed`);
  assert.deepEqual(failed.body, { items: [], next_cursor: null });
  assert.equal((await send(member, 'GET', `${path}?status=delivered`)).body.items.length, 5);
  const bad = await send(member, 'GET', `${path}?cursor=whe_1`);
  assert.deepEqual([bad.status, bad.body.code], [400, 'INVALID_INPUT']);
});

test('a URL nothing may be sent to, an unknown event and an unknown member are refused by name', async () => {
  const member = await newMember();
  const refusals: [body: object, path: string, message: RegExp][] = [
    [{}, '/url', /is required|must be a URL/],
    [{ url: 'http://example.com/' }, '/url', /must start with https/],
    [{ url: 'https://169.254.169.254/' }, '/url', /private or reserved/],
    [{ url: 'https://localhost/' }, '/url', /public host name/],
    [{ url: receiver.url, events: ['call.opened'] }, '/events/0', /one of/],
    [{ url: receiver.url, secret: 'whsec_mine' }, '/secret', /not known/],
  ];
  for (const [body, path, message] of refusals) {
    const answer = await send(member, 'POST', '/v1/webhooks', body);
    assert.deepEqual([answer.status, answer.body.code], [400, 'INVALID_INPUT'], answer.text);
    assert.equal(answer.body.faults[0].path, path);
    assert.match(answer.body.faults[0].message, message);
  }
  const detailOf = async (url: string): Promise<string> =>
    (await send(member, 'POST', '/v1/webhooks', { url })).body.detail;
  const variable = /The operator .* SENTINEL_ALLOW_PRIVATE_ENDPOINTS=true/;
  for (const url of ['http://example.com/', 'https://10.0.0.1/', 'https://localhost/']) {
    assert.match(await detailOf(url), variable, url);
  }
  // What no operator can allow does not send anybody to one.
  for (const url of ['ftp://example.com/', 'https://me:too@10.0.0.1/', 'example.com']) {
    assert.doesNotMatch(await detailOf(url), /SENTINEL/, url);
  }
  const made = await create(member);
  const changed = await send(member, 'PATCH', `/v1/webhooks/${made.id}`, { url: 'https://10.0.0.1/' });
  assert.equal(changed.status, 400);
  assert.equal((await send(member, 'GET', `/v1/webhooks/${made.id}`)).body.url, receiver.url);
});

test('an organization has at most 20 webhooks, however many it makes at once', async () => {
  const member = await newMember();
  const answers = await Promise.all(
    Array.from({ length: 24 }, () => send(member, 'POST', '/v1/webhooks', { url: receiver.url })),
  );
  assert.equal(answers.filter(({ status }) => status === 201).length, 20);
  const refused = answers.find(({ status }) => status !== 201);
  assert.deepEqual([refused?.status, refused?.body.code], [409, 'CONFLICT']);
  assert.match(refused?.body.detail, /at most 20/);
});

test("another organization's webhook, one of the other currency and one that never was answer the same byte for byte", async () => {
  const owner = await newMember();
  const stranger = await newMember();
  const testKey = await rest.newKey(owner.organizationId, { scopes: [...SCOPES], currency: 'test' });
  const made = await create(owner);
  const { body: delivery } = await send(owner, 'POST', `/v1/webhooks/${made.id}/test`);
  const routes: [method: string, path: (endpoint: string, delivery: string) => string, body?: object][] = [
    ['GET', (id) => `/v1/webhooks/${id}`],
    ['PATCH', (id) => `/v1/webhooks/${id}`, { disabled: true }],
    ['DELETE', (id) => `/v1/webhooks/${id}`],
    ['POST', (id) => `/v1/webhooks/${id}/rotate-secret`],
    ['POST', (id) => `/v1/webhooks/${id}/test`],
    ['GET', (id) => `/v1/webhooks/${id}/deliveries`],
    ['GET', (_, id) => `/v1/webhooks/deliveries/${id}`],
    ['POST', (_, id) => `/v1/webhooks/deliveries/${id}/replay`],
  ];
  for (const [method, path, body] of routes) {
    const ask = async (key: string, endpoint: string, sent: string) => {
      const headers = { 'x-request-id': 'same' };
      return rest.send(method, path(endpoint, sent), { key, headers, ...(body ? { body } : {}) });
    };
    const missing = await ask(stranger.key, `whe_${'0'.repeat(32)}`, `whd_${'0'.repeat(32)}`);
    const nonsense = await ask(stranger.key, 'nonsense', 'nonsense');
    const notYours = await ask(stranger.key, made.id, delivery.id);
    const otherCurrency = await ask(testKey.key, made.id, delivery.id);
    assert.equal(missing.status, 404, `${method} ${path('x', 'y')}`);
    for (const other of [nonsense, notYours, otherCurrency]) assert.equal(other.text, missing.text);
  }
  for (const key of [stranger.key, testKey.key]) {
    assert.deepEqual((await rest.send('GET', '/v1/webhooks', { key })).body.items, []);
  }
  const untouched = await send(owner, 'GET', `/v1/webhooks/${made.id}`);
  assert.deepEqual([untouched.body.disabled, untouched.body.previous_secret_expires_at], [false, null]);
});

test('nothing is sent to a disabled webhook, and whoever asks for it is told so', async () => {
  const member = await newMember();
  const made = await create(member);
  await send(member, 'PATCH', `/v1/webhooks/${made.id}`, { disabled: true });
  const answer = await send(member, 'POST', `/v1/webhooks/${made.id}/test`);
  assert.deepEqual([answer.status, answer.body.code], [409, 'CONFLICT']);
  assert.match(answer.body.detail, /disabled/);
});

test('at most five tests of a webhook are on their way at once', async () => {
  const member = await newMember();
  const [made, other] = [await create(member), await create(member)];
  const path = `/v1/webhooks/${made.id}/test`;
  const sent = await Promise.all(Array.from({ length: 8 }, () => send(member, 'POST', path)));
  const refused = sent.filter(({ status }) => status !== 202);
  assert.equal(refused.length, 3);
  for (const { status, body } of refused) {
    assert.deepEqual([status, body.code, body.retry_after_seconds], [429, 'RATE_LIMITED', 60]);
  }
  assert.equal((await send(member, 'POST', `/v1/webhooks/${other.id}/test`)).status, 202);
  await dispatchWebhooks(rest.gateway.webhooks);
  assert.equal((await send(member, 'POST', path)).status, 202);
});
