import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { scheduleKey } from '../../src/billing/payout-jobs.ts';
import { DISPUTE_WINDOW_MS } from '../../src/billing/dispute-window.ts';
import { releaseEarnings } from '../../src/billing/earnings.ts';
import { openDatabaseClock } from '../support/database-clock.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';
import { startStripe, type StripeStandIn } from '../support/stripe.ts';
import { startRestGateway, type Member, type RestGateway } from './rest-gateway.ts';

let stripe: StripeStandIn;
let rest: RestGateway;
let agent: TestSeller;
let agentId: string;
before(async () => {
  stripe = await startStripe();
  rest = await startRestGateway({ stripe: stripe.options });
  agent = await startSeller(({ text }) => ({ text }));
  agentId = await rest.publish(manifestOf('earning', agent.url), 80);
});
after(async () => {
  await rest.close();
  await agent.close();
  await stripe.close();
});

const SCOPES = ['billing:read', 'billing:write'] as const;
const account = '/v1/billing/payouts/account';

/** Sells calls at 5 credits each; what they brought can be paid out when `isReleased`. */
async function sellCalls(count: number, isReleased: boolean): Promise<void> {
  const buyer = await rest.newMember('1000');
  for (let n = 0; n < count; n += 1) {
    const answer = await rest.send('POST', `/v1/agents/${agentId}/invoke`, {
      key: buyer.key,
      body: { inputs: { text: `call ${n}` } },
    });
    assert.equal(answer.status, 200, answer.text);
  }
  if (!isReleased) return;
  const through = Date.now() + 1;
  while (Date.now() <= through) await new Promise(setImmediate);
  const clock = openDatabaseClock(rest.gateway.database);
  await clock.at(through + DISPUTE_WINDOW_MS, () => releaseEarnings(rest.gateway.billing));
}

async function newSellerKey(test = false): Promise<Member> {
  return rest.newKey(rest.sellerId, { scopes: [...SCOPES], currency: test ? 'test' : 'live' });
}

function pay(key: string, body?: unknown, idempotencyKey = `payout-${Math.random()}-${Date.now()}`) {
  return rest.send('POST', '/v1/billing/payouts', {
    key,
    ...(body === undefined ? {} : { body }),
    headers: { 'idempotency-key': idempotencyKey },
  });
}

test('a seller sells, is onboarded, waits a week and is paid', async () => {
  const { key } = await newSellerKey();
  const fresh = await rest.send('GET', account, { key });
  assert.deepEqual(fresh.body, {
    currency: 'live',
    connected: false,
    ready: false,
    requirements: [],
    schedule: 'weekly',
    minimum_credits: '1000',
  });
  await sellCalls(3, false);
  const pending = await rest.send('GET', '/v1/billing/earnings', { key });
  const { next_release_at: nextReleaseAt, ...amounts } = pending.body;
  assert.deepEqual(amounts, {
    currency: 'live',
    available: '0',
    pending: '14.55',
    in_dispute: '0',
    paid_out: '0',
    reversed: '0',
    lifetime: '14.55',
  });
  assert.ok(Date.parse(nextReleaseAt) > Date.now() + 6 * 86_400_000);
  await sellCalls(1, true);

  const early = await pay(key);
  assert.equal(early.status, 409);
  assert.match(early.body.detail, /POST \/v1\/billing\/payouts\/account/);
  const link = await rest.send('POST', account, { key });
  assert.equal(link.status, 200, link.text);
  assert.ok(URL.canParse(link.body.url) && Date.parse(link.body.expires_at) > Date.now());
  stripe.completeOnboarding(stripe.all('account')[0]?.id ?? '');
  assert.deepEqual((await rest.send('GET', account, { key })).body.ready, true);

  const paid = await pay(key, { amount: '7.9' });
  assert.equal(paid.status, 201, paid.text);
  assert.deepEqual(
    [paid.body.amount, paid.body.status, paid.body.returned, paid.body.failure],
    ['7', 'paid', '0', null],
  );
  const rest1 = await pay(key);
  assert.equal(rest1.body.amount, '12');
  const after = await rest.send('GET', '/v1/billing/earnings', { key });
  assert.deepEqual([after.body.available, after.body.paid_out, after.body.lifetime], ['0.4', '19', '19.4']);

  const list = await rest.send('GET', '/v1/billing/payouts?limit=1', { key });
  assert.equal(list.body.items[0].payout_id, rest1.body.payout_id);
  const older = await rest.send('GET', `/v1/billing/payouts?limit=1&cursor=${list.body.next_cursor}`, {
    key,
  });
  assert.deepEqual(older.body, { items: [paid.body], next_cursor: null });
  const one = await rest.send('GET', `/v1/billing/payouts/${paid.body.payout_id}`, { key });
  assert.deepEqual(one.body, paid.body);
});

test('the statement of calls is the same in JSON and in CSV, page by page', async () => {
  const { key } = await newSellerKey();
  await sellCalls(2, false);
  const { body } = await rest.send('GET', '/v1/billing/earnings/calls', { key });
  const first = await rest.send('GET', '/v1/billing/earnings/calls?limit=1', { key });
  const second = await rest.send(
    'GET',
    `/v1/billing/earnings/calls?limit=1&cursor=${first.body.next_cursor}`,
    { key },
  );
  assert.deepEqual([...first.body.items, ...second.body.items], body.items.slice(0, 2));
  assert.deepEqual(
    [
      body.items[0].agent_id,
      body.items[0].price,
      body.items[0].fee,
      body.items[0].proceeds,
      body.items[0].state,
    ],
    [agentId, '5', '0.15', '4.85', 'pending'],
  );
  const csv = await rest.send('GET', '/v1/billing/earnings/calls?limit=1&format=csv', { key });
  assert.match(csv.headers.get('content-type') ?? '', /^text\/csv/);
  assert.match(csv.headers.get('link') ?? '', /earnings\/calls\?.*cursor=\d+>; rel="next"/);
  const [head, row] = csv.text.split('\r\n');
  assert.equal(
    head,
    'call_id,agent_id,settled_at,price,fee,proceeds,reversed,in_dispute,state,release_at,over_reported',
  );
  assert.equal(row, Object.values(body.items[0]).join(','));
  assert.equal((await rest.send('GET', '/v1/billing/earnings/calls?cursor=x', { key })).status, 400);
  const none = await rest.send('GET', '/v1/billing/earnings/calls?to=2020-01-01', { key });
  assert.deepEqual(none.body.items, []);
});

test('bad input is told by name: no key, a bad amount, an unknown schedule', async () => {
  const { key } = await newSellerKey();
  const faultsOf = (answer: { body: { faults: { path: string; message: string }[] } }) =>
    answer.body.faults.map(({ path }) => path);
  const noKey = await rest.send('POST', '/v1/billing/payouts', { key, body: {} });
  assert.equal(noKey.status, 400);
  assert.match(noKey.text, /is required: must be 16 to 128 printable characters/);
  assert.deepEqual(faultsOf(await pay(key, { amount: '-1' })), ['/amount']);
  assert.deepEqual(faultsOf(await pay(key, { amount: '0' })), ['/amount']);
  assert.deepEqual(faultsOf(await pay(key, { sum: '1' })), ['/sum']);
  assert.equal((await pay(key, {}, 'short')).status, 400);
  const put = await rest.send('PUT', account, { key, body: { schedule: 'hourly', minimum_credits: '0.5' } });
  assert.deepEqual(faultsOf(put).sort(), ['/minimum_credits', '/schedule']);
});

test('schedule and minimum are what was last said', async () => {
  const { key } = await newSellerKey();
  const body = { schedule: 'monthly', minimum_credits: '250' };
  const changed = await rest.send('PUT', account, { key, body });
  assert.deepEqual([changed.body.schedule, changed.body.minimum_credits], ['monthly', '250']);
  assert.deepEqual((await rest.send('GET', account, { key })).body, changed.body);
});

test('the same Idempotency-Key is one payout, and another amount under it a conflict', async () => {
  await sellCalls(2, true);
  const { key } = await newSellerKey();
  const idempotencyKey = 'one-payout-and-no-more';
  const both = await Promise.all([1, 2, 3, 4].map(() => pay(key, { amount: '3' }, idempotencyKey)));
  assert.deepEqual([...new Set(both.map(({ status }) => status))], [201]);
  assert.equal(new Set(both.map(({ body }) => body.payout_id)).size, 1);
  const other = await pay(key, { amount: '4' }, idempotencyKey);
  assert.deepEqual([other.status, other.body.code], [409, 'IDEMPOTENCY_CONFLICT']);
});

test('no client can send the key that a scheduled payout bears', async () => {
  const { key } = await newSellerKey();
  const { status, body } = await pay(key, undefined, scheduleKey('2026-11-23'));
  assert.deepEqual([status, body.code], [400, 'INVALID_INPUT']);
});

test("another organization's payout, one in the other currency, and one that never was, answer the same", async () => {
  const { key } = await newSellerKey();
  const [mine] = (await rest.send('GET', '/v1/billing/payouts', { key })).body.items;
  const [theirs, test] = [await rest.newMember('0', { scopes: [...SCOPES] }), await newSellerKey(true)];
  const ask = (member: { key: string }, id: string) =>
    rest.send('GET', `/v1/billing/payouts/${id}`, { key: member.key, headers: { 'x-request-id': 'same' } });
  const missing = await ask(theirs, `pay_${'0'.repeat(32)}`);
  assert.equal(missing.status, 404);
  for (const member of [theirs, test]) {
    assert.equal((await ask(member, mine.payout_id)).text, missing.text);
    assert.equal((await ask(member, 'nonsense')).text, missing.text);
    assert.deepEqual((await rest.send('GET', '/v1/billing/payouts', { key: member.key })).body.items, []);
    const calls = await rest.send('GET', '/v1/billing/earnings/calls', { key: member.key });
    assert.deepEqual(calls.body.items, []);
    const earnings = await rest.send('GET', '/v1/billing/earnings', { key: member.key });
    assert.equal(earnings.body.lifetime, '0');
    assert.equal((await rest.send('GET', account, { key: member.key })).body.connected, false);
  }
});

test('a reversal that Stripe tells by its webhook gives the credits back, once', async () => {
  await sellCalls(1, true);
  const { key } = await newSellerKey();
  const paid = await pay(key, { amount: '2' });
  stripe.reverseTransfer(paid.body.transfer_id);
  const event = stripe.events.at(-1);
  assert.ok(event?.type === 'transfer.reversed');
  for (let n = 0; n < 3; n += 1) assert.equal((await stripe.deliver(event, rest.url)).status, 200);
  const { body } = await rest.send('GET', `/v1/billing/payouts/${paid.body.payout_id}`, { key });
  assert.deepEqual([body.status, body.returned], ['failed', '2']);
});

test('a seller whose Stripe account is gone sees why, and is onboarded again', async () => {
  await sellCalls(1, true);
  const { key } = await newSellerKey();
  const lost = stripe.all('account').at(-1)?.id ?? '';
  stripe.deauthorize(lost);
  const event = stripe.events.at(-1);
  assert.ok(event?.type === 'account.application.deauthorized');
  for (let n = 0; n < 2; n += 1) assert.equal((await stripe.deliver(event, rest.url)).status, 200);

  const { body } = await rest.send('GET', account, { key });
  assert.deepEqual([body.connected, body.ready], [false, false]);
  const { since, meaning, ...disabled } = body.disabled;
  assert.deepEqual(disabled, {
    status: 'gone',
    reason: 'account.deauthorized',
    next_step: 'Connect a new account with POST /v1/billing/payouts/account.',
  });
  assert.ok(Date.parse(since) <= Date.now() && meaning.length > 0);
  const refused = await pay(key);
  assert.equal(refused.status, 409);
  assert.match(refused.body.detail, /Connect a new account/);

  assert.equal((await rest.send('POST', account, { key })).status, 200);
  const next = stripe.all('account').at(-1)?.id ?? '';
  assert.notEqual(next, lost);
  const waiting = await rest.send('GET', account, { key });
  assert.deepEqual([waiting.body.connected, waiting.body.disabled.reason], [true, 'requirements.past_due']);
  stripe.completeOnboarding(next);
  const ready = await rest.send('GET', account, { key });
  assert.deepEqual([ready.body.connected, ready.body.ready, ready.body.disabled], [true, true, undefined]);
  assert.equal((await pay(key)).body.status, 'paid');
});

test('the pages Stripe sends a person back to say what comes next, and load nothing', async () => {
  for (const path of ['/billing/payouts/onboarded', '/billing/payouts/link-expired']) {
    const page = await rest.send('GET', path);
    assert.equal(page.status, 200);
    assert.match(page.text, /\/v1\/billing\/payouts\/account/);
    assert.match(page.headers.get('content-security-policy') ?? '', /default-src 'none'/);
  }
});

test('without a Stripe key earnings are shown, and a payout says what is missing', async () => {
  const plain = await startRestGateway();
  try {
    const { key } = await plain.newKey(plain.sellerId, { scopes: [...SCOPES] });
    assert.equal((await plain.send('GET', '/v1/billing/earnings', { key })).status, 200);
    assert.equal((await plain.send('GET', account, { key })).status, 200);
    const headers = { 'idempotency-key': 'a-payout-without-stripe' };
    for (const answer of [
      await plain.send('POST', '/v1/billing/payouts', { key, headers }),
      await plain.send('POST', account, { key }),
    ]) {
      assert.deepEqual([answer.status, answer.body.code], [503, 'STRIPE_NOT_CONFIGURED']);
    }
  } finally {
    await plain.close();
  }
});
