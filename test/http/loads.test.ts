import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eq } from 'drizzle-orm';
import { events } from '../../src/audit/tables.ts';
import { assertDescribed } from '../support/events.ts';
import { startStripe, type StripeStandIn } from '../support/stripe.ts';
import { startRestGateway, type Member, type RestGateway } from './rest-gateway.ts';

let stripe: StripeStandIn;
let rest: RestGateway;
before(async () => {
  stripe = await startStripe();
  rest = await startRestGateway({ stripe: stripe.options });
});
after(async () => {
  await rest.close();
  await stripe.close();
});

const newBuyer = (): Promise<Member> =>
  rest.newMember('0', { currency: 'test', scopes: ['billing:read', 'billing:write'] });

const load = (key: string, body: unknown, headers: Record<string, string> = {}) =>
  rest.send('POST', '/v1/billing/load', { key, body, headers });

/** The person pays on Stripe's page, and Stripe tells us. */
async function pay(paymentUrl: string): Promise<string> {
  const before = stripe.events.length;
  const intent = stripe.pay(paymentUrl.slice(paymentUrl.lastIndexOf('/') + 1));
  for (const event of stripe.events.slice(before)) {
    assert.equal((await stripe.deliver(event, rest.url)).status, 200);
  }
  return intent.id;
}

test('from the load to the credits, over the wire alone', async () => {
  const { key } = await newBuyer();
  const { status, body } = await load(key, { amount_usd: 25 });
  assert.equal(status, 201);
  assert.match(body.load_id, /^top_[0-9a-f]{32}$/);
  assert.equal(body.amount_usd, '25.00');
  assert.equal(body.credits, '2500');
  assert.equal(body.status, 'open');
  assert.ok(Date.parse(body.expires_at) > Date.now());
  await pay(body.payment_url);

  const balance = await rest.send('GET', '/v1/billing/balance', { key });
  assert.equal(balance.body.credits, '2500');
  const one = await rest.send('GET', `/v1/billing/loads/${body.load_id}`, { key });
  assert.equal(one.body.status, 'paid');
  assert.equal(one.body.payment_url, null);
  assert.match(one.body.receipt_url, /^http/);
  assert.deepEqual(one.body.calls_affected, []);
  const invoices = await rest.send('GET', '/v1/billing/invoices', { key });
  assert.equal(invoices.body.items.length, 1);
  assert.match(invoices.body.items[0].invoice_url, /\/i\/in_/);
  const transactions = await rest.send('GET', '/v1/billing/transactions', { key });
  assert.equal(transactions.body.items[0].type, 'top_up');
});

test('credits that were loaded are told with their amount, their dollars and their currency', async () => {
  const { key, organizationId } = await newBuyer();
  const { body } = await load(key, { amount_usd: 25 });
  await pay(body.payment_url);
  const { db } = rest.gateway.database;
  const [told, ...more] = await db.select().from(events).where(eq(events.organizationId, organizationId));
  assert.equal(told?.type, 'credits.loaded');
  assert.deepEqual(more, []);
  assertDescribed(told.type, told.data);
  assert.deepEqual(told.data, {
    load_id: body.load_id,
    credits: '2500',
    amount_usd: '25.00',
    is_automatic: false,
    balance: '2500',
    currency: 'test',
  });
});

test('an amount is dollars with at most two decimals, as a number or a string, from 5 to 10,000', async () => {
  const { key } = await newBuyer();
  for (const [amount, usd] of [
    [5, '5.00'],
    ['5.00', '5.00'],
    [12.1, '12.10'],
    ['9999.99', '9999.99'],
    [10_000, '10000.00'],
  ] as const) {
    const { status, body } = await load(key, { amount_usd: amount });
    assert.equal(status, 201, String(amount));
    assert.equal(body.amount_usd, usd);
  }
  for (const amount of [
    4.99,
    '4.99',
    10_000.01,
    0,
    -5,
    5.001,
    '5.001',
    '1e2',
    1e21,
    ' 5',
    '5,00',
    '',
    null,
    true,
    '05',
  ]) {
    const { status, body } = await load(key, { amount_usd: amount });
    assert.equal(status, 400, String(amount));
    assert.equal(body.code, 'INVALID_INPUT');
    assert.equal(body.faults[0].path, '/amount_usd');
  }
  const { body } = await load(key, {});
  assert.deepEqual(body.faults, [{ path: '/amount_usd', message: 'is required' }]);
  assert.equal((await load(key, { amount_usd: 5, amount: 5 })).status, 400);
});

test('the same Idempotency-Key answers the same load; another amount is a conflict; a short one is refused', async () => {
  const { key } = await newBuyer();
  const headers = { 'idempotency-key': 'my-very-own-load-key' };
  const [one, two] = [
    await load(key, { amount_usd: 5 }, headers),
    await load(key, { amount_usd: '5.00' }, headers),
  ];
  assert.equal(one.body.load_id, two.body.load_id);
  assert.equal(one.body.payment_url, two.body.payment_url);
  const other = await load(key, { amount_usd: 6 }, headers);
  assert.equal(other.status, 409);
  assert.equal(other.body.code, 'IDEMPOTENCY_CONFLICT');
  assert.equal((await load(key, { amount_usd: 5 }, { 'idempotency-key': 'short' })).status, 400);
});

test('a live key buys nothing from a Stripe in test mode but at a stand-in', async () => {
  const { key } = await rest.newMember('0', { currency: 'live', scopes: ['billing:write'] });
  assert.equal((await load(key, { amount_usd: 5 })).status, 201);
});

test('a forged event is refused and changes nothing', async () => {
  const { key } = await newBuyer();
  const { body } = await load(key, { amount_usd: 5 });
  const before = stripe.events.length;
  stripe.pay(body.payment_url.slice(body.payment_url.lastIndexOf('/') + 1));
  const [event] = stripe.events.slice(before);
  assert.ok(event);
  const signed = stripe.sign(event);
  const send = (text: string, headers: Record<string, string>) =>
    rest.send('POST', '/v1/billing/webhooks/stripe', { body: text, headers });
  for (const [text, headers] of [
    [signed.body, {}],
    [signed.body, { 'stripe-signature': 't=1,v1=0' }],
    [signed.body.replace('500', '50000'), signed.headers],
    [signed.body, stripe.sign(event, Date.now() - 600_000).headers],
    ['', signed.headers],
  ] as const) {
    const answer = await send(text, { ...headers });
    assert.equal(answer.status, 400);
    assert.match(answer.body.detail, /Stripe-Signature/);
  }
  assert.equal((await rest.send('GET', '/v1/billing/balance', { key })).body.credits, '0');
  assert.equal((await send(signed.body, signed.headers)).status, 200);
  assert.equal((await rest.send('GET', '/v1/billing/balance', { key })).body.credits, '500');
});

test('what a card took back is shown with the load', async () => {
  const { key } = await newBuyer();
  const { body } = await load(key, { amount_usd: 10 });
  const intent = await pay(body.payment_url);
  const before = stripe.events.length;
  stripe.refund(intent, 250);
  for (const event of stripe.events.slice(before)) await stripe.deliver(event, rest.url);
  const one = await rest.send('GET', `/v1/billing/loads/${body.load_id}`, { key });
  assert.equal(one.body.refunded_usd, '2.50');
  assert.equal(one.body.reversed_credits, '250');
  assert.equal(one.body.owed_credits, '0');
  assert.equal(one.body.calls_affected_count, 0);
  assert.equal((await rest.send('GET', '/v1/billing/balance', { key })).body.credits, '750');
});

test('a refund that failed is shown with the load, and what came back among the transactions', async () => {
  const { key } = await newBuyer();
  const { body } = await load(key, { amount_usd: 10 });
  const intent = await pay(body.payment_url);
  const before = stripe.events.length;
  stripe.endRefund(stripe.refund(intent, 250).id, 'failed');
  for (const event of stripe.events.slice(before)) await stripe.deliver(event, rest.url);
  const one = await rest.send('GET', `/v1/billing/loads/${body.load_id}`, { key });
  assert.equal(one.body.refunded_usd, '0.00');
  assert.equal(one.body.failed_refund_usd, '2.50');
  assert.equal(one.body.reversed_credits, '0');
  const moved = await rest.send('GET', '/v1/billing/transactions?type=top_up_restored', { key });
  assert.deepEqual(
    moved.body.items.map((each: Record<string, string>) => [each['credits'], each['subject']]),
    [['250', body.load_id]],
  );
  assert.match(moved.body.items[0].description, /refund to the card failed/);
  assert.equal((await rest.send('GET', '/v1/billing/balance', { key })).body.credits, '1000');
});

test('what Stripe says of a payment, an inquiry about it and a fraud warning is shown with the load', async () => {
  const { key } = await newBuyer();
  const { body } = await load(key, { amount_usd: 10 });
  assert.equal(body.payment, null);
  const before = stripe.events.length;
  const intent = await pay(body.payment_url);
  const inquiry = stripe.openDispute(intent, 400, 'warning_needs_response');
  const warning = stripe.warnFraud(intent);
  for (const event of stripe.events.slice(before)) {
    assert.equal((await stripe.deliver(event, rest.url)).status, 200);
  }
  const one = (await rest.send('GET', `/v1/billing/loads/${body.load_id}`, { key })).body;
  assert.deepEqual(
    [one.payment.stripe_status, one.payment.next_step, one.card_dispute, one.frozen_credits],
    ['payment_intent.succeeded', null, 'none', '0'],
  );
  const [dispute] = one.card_disputes;
  assert.deepEqual(
    [dispute.dispute_id, dispute.amount_usd, dispute.state, dispute.stripe_status],
    [inquiry.id, '4.00', 'inquiry', 'warning_needs_response'],
  );
  assert.match(dispute.meaning, /No money was taken/);
  const [warned] = one.fraud_warnings;
  assert.deepEqual(
    [warned.warning_id, warned.fraud_type, warned.actionable],
    [warning.id, 'made_with_stolen_card', true],
  );
  assert.match(warned.next_step, /tell your bank/);
  const [listed] = (await rest.send('GET', '/v1/billing/loads', { key })).body.items;
  assert.deepEqual(
    [listed.payment, listed.card_disputes, listed.fraud_warnings, listed.card_refunds],
    [one.payment, one.card_disputes, one.fraud_warnings, []],
  );
});

test('a thin event that Stripe has signed is acknowledged', async () => {
  const thin = { id: 'evt_thin', object: 'v2.core.event', type: 'v2.core.account.updated', livemode: false };
  const { body, headers } = stripe.sign(thin as never);
  const send = (signed: Record<string, string>) =>
    fetch(`${rest.url}/v1/billing/webhooks/stripe`, { method: 'POST', body, headers: signed });
  const heard = await send(headers);
  assert.deepEqual([heard.status, await heard.json()], [200, { received: true }]);
  assert.equal((await send({ ...headers, 'stripe-signature': 't=1,v1=0' })).status, 400);
});

test('loads are listed page by page, by status, and only to their owner in their currency', async () => {
  const buyer = await newBuyer();
  const ids: string[] = [];
  for (let i = 0; i < 3; i += 1) ids.unshift((await load(buyer.key, { amount_usd: 5 })).body.load_id);
  const first = await rest.send('GET', '/v1/billing/loads?limit=2', { key: buyer.key });
  const second = await rest.send('GET', `/v1/billing/loads?limit=2&cursor=${first.body.next_cursor}`, {
    key: buyer.key,
  });
  const seen = [...first.body.items, ...second.body.items].map((each: { load_id: string }) => each.load_id);
  assert.deepEqual(seen, ids);
  assert.equal(second.body.next_cursor, null);
  const paid = await rest.send('GET', '/v1/billing/loads?status=paid', { key: buyer.key });
  assert.deepEqual(paid.body.items, []);
  assert.equal((await rest.send('GET', '/v1/billing/loads?cursor=nonsense', { key: buyer.key })).status, 400);

  const stranger = await newBuyer();
  const live = await rest.newKey(buyer.organizationId, { currency: 'live', scopes: ['billing:read'] });
  const headers = { 'x-request-id': 'same' };
  const missing = await rest.send('GET', `/v1/billing/loads/top_${'0'.repeat(32)}`, {
    key: stranger.key,
    headers,
  });
  assert.equal(missing.status, 404);
  for (const key of [stranger.key, live.key]) {
    const answer = await rest.send('GET', `/v1/billing/loads/${ids[0]}`, { key, headers });
    assert.equal(answer.text, missing.text);
    assert.deepEqual((await rest.send('GET', '/v1/billing/loads', { key })).body.items, []);
  }
});

test('automatic top-ups are set, shown and stopped, with every fault of a wish named', async () => {
  const { key } = await newBuyer();
  const path = '/v1/billing/auto-top-up';
  const nothing = await rest.send('GET', path, { key });
  assert.equal(nothing.body.enabled, false);
  assert.equal(nothing.body.card, null);
  const wish = { threshold_credits: '200', amount_usd: 10, monthly_ceiling_usd: '50' };
  const cardless = await rest.send('PUT', path, { key, body: wish });
  assert.equal(cardless.status, 409);
  assert.match(cardless.body.detail, /save_card/);
  await pay((await load(key, { amount_usd: 5, save_card: true })).body.payment_url);

  const faulty = await rest.send('PUT', path, { key, body: { ...wish, monthly_ceiling_usd: 9 } });
  assert.equal(faulty.status, 400);
  assert.equal(faulty.body.faults[0].path, '/monthly_ceiling_usd');
  const set = await rest.send('PUT', path, { key, body: wish });
  assert.equal(set.status, 200);
  assert.deepEqual(set.body, {
    enabled: true,
    threshold_credits: '200',
    amount_usd: '10.00',
    monthly_ceiling_usd: '50.00',
    charged_this_month_usd: '0.00',
    card: { brand: 'visa', last_four: '4242' },
    failure: null,
  });
  assert.equal((await rest.send('DELETE', path, { key })).body.enabled, false);
  assert.notEqual((await rest.send('GET', path, { key })).body.card, null);
  assert.equal((await rest.send('DELETE', '/v1/billing/card', { key })).body.card, null);
});

test('the pages people come back to say what happens next, and load nothing', async () => {
  for (const path of ['/billing/paid', '/billing/cancelled']) {
    const page = await rest.send('GET', path);
    assert.equal(page.status, 200);
    assert.match(page.headers.get('content-type') ?? '', /^text\/html/);
    assert.match(page.headers.get('content-security-policy') ?? '', /default-src 'none'/);
    assert.match(page.text, /close this page/);
    assert.doesNotMatch(page.text, /<script|https?:\/\//);
  }
});

test('without Stripe what needs it answers 503 STRIPE_NOT_CONFIGURED, and everything else works', async () => {
  const bare = await startRestGateway();
  try {
    const { key } = await bare.newMember('100', { scopes: ['billing:read', 'billing:write'] });
    const wish = { threshold_credits: '200', amount_usd: 10, monthly_ceiling_usd: 50 };
    for (const [method, path, body] of [
      ['POST', '/v1/billing/load', { amount_usd: 5 }],
      ['PUT', '/v1/billing/auto-top-up', wish],
      ['POST', '/v1/billing/webhooks/stripe', {}],
    ] as const) {
      const answer = await bare.send(method, path, { key, body });
      assert.equal(answer.status, 503, path);
      assert.equal(answer.body.code, 'STRIPE_NOT_CONFIGURED');
    }
    for (const path of ['balance', 'transactions', 'loads', 'invoices', 'auto-top-up']) {
      assert.equal((await bare.send('GET', `/v1/billing/${path}`, { key })).status, 200, path);
    }
    assert.equal((await bare.send('DELETE', '/v1/billing/card', { key })).status, 200);
  } finally {
    await bare.close();
  }
  const deaf = await startRestGateway({ stripe: { ...stripe.options, webhookSecrets: [] } });
  try {
    const answer = await deaf.send('POST', '/v1/billing/webhooks/stripe', { body: {} });
    assert.equal(answer.status, 503);
    assert.match(answer.body.detail, /STRIPE_WEBHOOK_SECRET/);
  } finally {
    await deaf.close();
  }
});

test('an organization has at most ten open loads in a currency; one that is repeated or paid makes no eleventh', async () => {
  const { key } = await newBuyer();
  const repeated = { 'idempotency-key': 'the-very-first-load' };
  const { body: first } = await load(key, { amount_usd: 5 }, repeated);
  const others = await Promise.all(Array.from({ length: 12 }, () => load(key, { amount_usd: 5 })));
  const refused = others.filter(({ status }) => status !== 201);
  assert.equal(refused.length, 3);
  for (const { status, body } of refused) {
    assert.deepEqual([status, body.code], [409, 'CONFLICT']);
    assert.match(body.detail, /payment_url/);
  }
  const again = await load(key, { amount_usd: 5 }, repeated);
  assert.deepEqual([again.status, again.body.load_id], [201, first.load_id]);
  assert.equal((await load((await newBuyer()).key, { amount_usd: 5 })).status, 201);
  await pay(first.payment_url);
  assert.equal((await load(key, { amount_usd: 5 })).status, 201);
});
