import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { newId } from '../../src/base/ids.ts';
import { formatCredits } from '../../src/base/money.ts';
import { listAffectedCalls } from '../../src/billing/affected-calls.ts';
import { reconcileTopUps } from '../../src/billing/reconcile-top-ups.ts';
import { startTopUp } from '../../src/billing/start-top-up.ts';
import { handleStripeEvent, verifyStripeEvent } from '../../src/billing/stripe-events.ts';
import { openStripe, stripeMoves } from '../../src/billing/stripe.ts';
import { topUpId } from '../../src/billing/top-ups.ts';
import { grantCredits } from '../../src/ledger/accounts.ts';
import { openTill, type Till } from './till.ts';

let till: Till;
before(async () => {
  till = await openTill();
});
after(() => till.close());

test('a load grants nothing until Stripe says that it is paid, and then exactly what was paid', async () => {
  const buyer = await till.newBuyer();
  const topUp = await till.load(buyer, 2_500);
  assert.equal(topUp.status, 'open');
  assert.match(topUp.paymentUrl ?? '', /^http:\/\/127\.0\.0\.1/);
  assert.equal((await till.money(buyer)).balance, 0);
  till.stripe.pay(topUp.sessionId ?? '');
  await till.deliverAll();
  assert.equal((await till.money(buyer)).balance, 2_500);
  const paid = await till.read(topUp);
  assert.equal(paid.status, 'paid');
  assert.match(paid.receiptUrl ?? '', /receipts/);
  assert.match(paid.invoiceUrl ?? '', /\/i\/in_/);
  assert.deepEqual(await till.faults(buyer), []);
});

test('everything Stripe makes of a load bears its id, and every parameter is what the buyer asked for', async () => {
  const buyer = await till.newBuyer();
  const topUp = await till.load(buyer, 1_250, { savesCard: true });
  const asked = till.stripe.requests.findLast(({ path }) => path === '/v1/checkout/sessions');
  const id = topUpId(topUp);
  assert.equal(asked?.key, id);
  const { params } = asked;
  assert.equal(params['client_reference_id'], id);
  assert.deepEqual(params['metadata'], { top_up: id });
  const intent = params['payment_intent_data'] as Record<string, unknown>;
  assert.deepEqual(intent['metadata'], { top_up: id });
  assert.equal(intent['setup_future_usage'], 'off_session');
  assert.equal(params['success_url'], 'https://sentinel.example.com/billing/paid');
  const line = (params['line_items'] as Record<string, Record<string, Record<string, unknown>>>)['0'];
  assert.equal(line?.['price_data']?.['unit_amount'], '1250');
});

test('the same event ten times, five of them at once, loads the credits once', async () => {
  const buyer = await till.newBuyer();
  await till.paidLoad(buyer, 500);
  const events = till.takeEvents();
  for (const event of events) {
    await Promise.all(Array.from({ length: 5 }, () => handleStripeEvent(till.deps, event)));
    for (let i = 0; i < 5; i += 1) assert.equal(await handleStripeEvent(till.deps, event), 'repeated');
  }
  assert.equal((await till.money(buyer)).balance, 500);
  assert.deepEqual(await till.faults(buyer), []);
});

test('two different events of one payment, at the same moment, load the credits once', async () => {
  const buyer = await till.newBuyer();
  await till.paidLoad(buyer, 700);
  await Promise.all(till.takeEvents().map((event) => handleStripeEvent(till.deps, event)));
  assert.equal((await till.money(buyer)).balance, 700);
  assert.deepEqual(await till.faults(buyer), []);
});

test('a declined card leaves the page open, and the next card pays', async () => {
  const buyer = await till.newBuyer();
  const topUp = await till.load(buyer, 900);
  till.stripe.pay(topUp.sessionId ?? '', 'declined');
  await till.deliverAll();
  const declined = await till.read(topUp);
  assert.equal(declined.status, 'open');
  assert.match(declined.failure ?? '', /insufficient funds/);
  till.stripe.pay(topUp.sessionId ?? '');
  await till.deliverAll();
  const paid = await till.read(topUp);
  assert.equal(paid.status, 'paid');
  assert.equal(paid.failure, null);
  assert.equal((await till.money(buyer)).balance, 900);
});

test('a payment that takes days is granted when it arrives, and not when it does not', async () => {
  for (const arrives of [true, false]) {
    const buyer = await till.newBuyer();
    const topUp = await till.load(buyer, 600);
    till.stripe.pay(topUp.sessionId ?? '', 'processing');
    await till.deliverAll();
    assert.equal((await till.read(topUp)).status, 'open');
    till.stripe.finishLatePayment(topUp.sessionId ?? '', arrives);
    await till.deliverAll();
    assert.equal((await till.read(topUp)).status, arrives ? 'paid' : 'failed');
    assert.equal((await till.money(buyer)).balance, arrives ? 600 : 0);
  }
});

test('an expired page is abandoned; money that came all the same is granted', async () => {
  const buyer = await till.newBuyer();
  const topUp = await till.load(buyer, 500);
  const other = await till.load(buyer, 500);
  till.stripe.expire(topUp.sessionId ?? '');
  await till.deliverAll();
  assert.equal((await till.read(topUp)).status, 'abandoned');
  till.stripe.pay(other.sessionId ?? '');
  const events = till.takeEvents();
  const expired = structuredClone(events.find(({ type }) => type === 'checkout.session.completed'));
  assert.ok(expired);
  Object.assign(expired, { id: 'evt_out_of_order', type: 'checkout.session.expired' });
  Object.assign(expired.data.object, { status: 'expired', payment_status: 'unpaid', payment_intent: null });
  await handleStripeEvent(till.deps, expired);
  assert.equal((await till.read(other)).status, 'abandoned');
  for (const event of events) await handleStripeEvent(till.deps, event);
  assert.equal((await till.read(other)).status, 'paid');
  assert.equal((await till.money(buyer)).balance, 500);
});

test('a payment of another amount or currency grants nothing and is called an error', async () => {
  for (const change of [{ amount_total: 100 }, { currency: 'jpy' }]) {
    const buyer = await till.newBuyer();
    const topUp = await till.load(buyer, 500);
    till.stripe.pay(topUp.sessionId ?? '');
    const event = till.takeEvents().find(({ type }) => type === 'checkout.session.completed');
    assert.ok(event);
    Object.assign(event.data.object, change);
    till.lines.length = 0;
    assert.equal(await handleStripeEvent(till.deps, event), 'recorded');
    assert.deepEqual(till.lines, ['error: a payment contradicts its top-up']);
    assert.equal((await till.read(topUp)).status, 'open');
    assert.equal((await till.money(buyer)).balance, 0);
  }
});

test('a second payment that names the same load is not granted, and its refund takes nothing back', async () => {
  const buyer = await till.newBuyer();
  const { topUp } = await till.paidLoad(buyer, 500);
  await till.deliverAll();
  const client = till.deps.stripe?.client;
  assert.ok(client);
  const card = till.stripe.newCard('cus_other');
  const second = await client.paymentIntents.create({
    amount: 500,
    currency: 'usd',
    customer: 'cus_other',
    payment_method: card,
    confirm: true,
    metadata: { top_up: topUpId(topUp) },
  });
  till.stripe.refund(second.id);
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 500, frozen: 0, reversed: 0, owed: 0 });
});

test('events about payments that are not ours, and of kinds we do not know, are acknowledged', async () => {
  const client = till.deps.stripe?.client;
  assert.ok(client);
  const card = till.stripe.newCard('cus_other');
  const base = { amount: 500, currency: 'usd', customer: 'cus_other', payment_method: card, confirm: true };
  const foreign = await client.paymentIntents.create(base);
  till.stripe.openDispute(foreign.id);
  const gone = await client.paymentIntents.create({ ...base, metadata: { top_up: `top_${'0'.repeat(32)}` } });
  till.stripe.refund(gone.id);
  const handled = await till.deliverAll();
  assert.deepEqual([...new Set(handled)], ['ignored']);
});

test('what is signed and is no event is acknowledged, and nothing is done about it', async () => {
  const shapeless = { id: 'evt_1', object: 'event', type: 'charge.succeeded', livemode: false };
  for (const body of [null, 1, [], {}, shapeless, { ...shapeless, data: null }, { ...shapeless, data: {} }]) {
    const { body: text, headers } = till.stripe.sign(body as never);
    const event = await verifyStripeEvent(till.deps, Buffer.from(text), headers['stripe-signature']);
    assert.equal(await handleStripeEvent(till.deps, event), 'ignored', text);
  }
});

test('a forged, altered, old or missing signature is refused, and a good one is not', async () => {
  await till.paidLoad(await till.newBuyer(), 500);
  const [event] = till.takeEvents();
  assert.ok(event);
  const { body, headers } = till.stripe.sign(event);
  const good = headers['stripe-signature'];
  assert.equal((await verifyStripeEvent(till.deps, Buffer.from(body), good)).id, event.id);
  const old = till.stripe.sign(event, till.clock.now() - 301_000).headers['stripe-signature'];
  const refused = [
    [body, undefined],
    [body, ''],
    [body, 't=1,v1=00'],
    [body, old],
    [body, good?.replace(/.$/, (last) => (last === '0' ? '1' : '0'))],
    [`${body} `, good],
    [body.replace('500', '999'), good],
  ] as const;
  for (const [text, signature] of refused) {
    await assert.rejects(
      verifyStripeEvent(till.deps, Buffer.from(text), signature),
      (error: { code?: string }) => error.code === 'INVALID_INPUT',
    );
  }
});

test('each of the endpoints in Stripe signs with a secret of its own, and any of them is accepted', async () => {
  await till.paidLoad(await till.newBuyer(), 500);
  const [event] = till.takeEvents();
  assert.ok(event);
  const { body, headers } = till.stripe.sign(event);
  const verify = async (webhookSecrets: string[]): Promise<string> => {
    const verified = await verifyStripeEvent(
      till.openDeps({ ...till.stripe.options, webhookSecrets }),
      Buffer.from(body),
      headers['stripe-signature'],
    );
    return verified.id;
  };
  const [own] = till.stripe.options.webhookSecrets;
  assert.ok(own);
  assert.equal(await verify([own, 'whsec_other']), event.id);
  assert.equal(await verify(['whsec_other', own]), event.id);
  await assert.rejects(verify(['whsec_other', 'whsec_third']), { code: 'INVALID_INPUT' });
});

test('what a connected account writes on its own payments loads nothing and takes nothing back', async () => {
  const buyer = await till.newBuyer();
  const { intentId } = await till.paidLoad(buyer, 500);
  const payment = till.takeEvents();
  for (const event of payment) {
    assert.equal(await handleStripeEvent(till.deps, { ...event, account: 'acct_seller' }), 'ignored');
  }
  assert.equal((await till.money(buyer)).balance, 0);
  for (const event of payment) await handleStripeEvent(till.deps, event);
  till.stripe.refund(intentId);
  till.stripe.openDispute(intentId);
  for (const event of till.takeEvents()) {
    assert.equal(await handleStripeEvent(till.deps, { ...event, account: 'acct_seller' }), 'ignored');
  }
  assert.deepEqual(await till.money(buyer), { balance: 500, frozen: 0, reversed: 0, owed: 0 });
});

test('a charge that is still pending loads nothing, though it is called paid', async () => {
  const buyer = await till.newBuyer();
  await till.paidLoad(buyer, 500);
  const events = till.takeEvents();
  const charged = events.find(({ type }) => type === 'charge.succeeded');
  assert.ok(charged);
  const pending = structuredClone(charged);
  Object.assign(pending, { id: 'evt_pending', type: 'charge.updated' });
  Object.assign(pending.data.object, { status: 'pending' });
  assert.equal(await handleStripeEvent(till.deps, pending), 'ignored');
  const intent = structuredClone(events.find(({ type }) => type === 'payment_intent.succeeded'));
  assert.ok(intent);
  Object.assign(intent, { id: 'evt_processing', type: 'payment_intent.payment_failed' });
  Object.assign(intent.data.object, { status: 'processing', latest_charge: pending.data.object });
  await handleStripeEvent(till.deps, intent);
  assert.equal((await till.money(buyer)).balance, 0);
  await handleStripeEvent(till.deps, charged);
  assert.equal((await till.money(buyer)).balance, 500);
});

test('only a stand-in on this machine sells live credits for test money; a proxy on the way to Stripe does not', () => {
  const mayBuy = (apiBase: string | undefined, secretKey = 'sk_test_x'): boolean =>
    stripeMoves(openStripe({ secretKey, webhookSecrets: [], apiBase }), 'live');
  for (const host of ['localhost', '127.0.0.1', '127.8.9.10', '[::1]']) {
    assert.equal(mayBuy(`http://${host}:12111`), true, host);
  }
  const elsewhere = [
    'https://api.stripe.com',
    'http://10.0.0.3:8080',
    'https://egress.example.com',
    'http://127.0.0.1.example.com',
    'http://localhost.example.com',
    'http://[::2]',
  ];
  for (const apiBase of [undefined, ...elsewhere]) assert.equal(mayBuy(apiBase), false, apiBase);
  assert.equal(mayBuy('https://egress.example.com', 'sk_live_x'), true);
});

test('a payment in test mode never becomes live credits, nor the other way round', async () => {
  const live = await openTill({ isLive: true });
  try {
    const tester = await live.newBuyer('test');
    await assert.rejects(live.load(tester, 500), { code: 'CONFLICT' });
    const buyer = await live.newBuyer('live');
    await live.paidLoad(buyer, 500);
    const events = live.takeEvents();
    for (const event of events) {
      assert.equal(await handleStripeEvent(live.deps, { ...event, livemode: false }), 'ignored');
    }
    assert.equal((await live.money(buyer)).balance, 0);
    for (const event of events) await handleStripeEvent(live.deps, event);
    assert.equal((await live.money(buyer)).balance, 500);
  } finally {
    await live.close();
  }
  // The same row, named by a payment in Stripe's own test mode: nobody paid anything.
  const buyer = await till.newBuyer('live');
  const topUp = await till.load(buyer, 500);
  till.stripe.pay(topUp.sessionId ?? '');
  const stripe = till.deps.stripe;
  assert.ok(stripe);
  const real = { ...till.deps, stripe: { ...stripe, isStripe: true } };
  for (const event of till.takeEvents()) assert.equal(await handleStripeEvent(real, event), 'ignored');
  assert.equal((await till.money(buyer)).balance, 0);
  await assert.rejects(
    startTopUp(real, { ...buyer, amountCents: 500n, savesCard: false, idempotencyKey: undefined }),
    { code: 'CONFLICT' },
  );
});

test('the same Idempotency-Key is the same load, also for two at once; another amount is a conflict', async () => {
  const buyer = await till.newBuyer();
  const idempotencyKey = 'key-of-the-buyer-1';
  const loads = await Promise.all(Array.from({ length: 4 }, () => till.load(buyer, 500, { idempotencyKey })));
  assert.equal(new Set(loads.map(({ id }) => id)).size, 1);
  assert.equal(new Set(loads.map(({ sessionId }) => sessionId)).size, 1);
  await assert.rejects(till.load(buyer, 600, { idempotencyKey }), { code: 'IDEMPOTENCY_CONFLICT' });
  const other = await till.load(await till.newBuyer(), 600, { idempotencyKey });
  assert.notEqual(other.id, loads[0]?.id);
});

test('a refund takes the lot back, part by part, and names the calls it had paid for', async () => {
  const buyer = await till.newBuyer();
  const { topUp, intentId } = await till.paidLoad(buyer, 1_000);
  await till.deliverAll();
  const first = await till.spend(buyer, 100);
  await till.paidLoad(buyer, 500);
  await till.deliverAll();
  const second = await till.spend(buyer, 950);
  till.stripe.refund(intentId, 200);
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 250, frozen: 0, reversed: 200, owed: 0 });
  const calls = await listAffectedCalls(till.deps.db, topUp);
  assert.deepEqual(
    calls.map(({ callId, micros }) => [callId, formatCredits(micros)]),
    [
      [first, '100'],
      [second, '900'],
    ],
  );
  till.stripe.refund(intentId);
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 0, frozen: 0, reversed: 450, owed: 550 });
  assert.deepEqual(await till.faults(buyer), []);
});

test('a dispute freezes what is left, and won, gives it back', async () => {
  const buyer = await till.newBuyer();
  const { intentId } = await till.paidLoad(buyer, 1_000);
  await till.deliverAll();
  await till.spend(buyer, 300);
  const dispute = till.stripe.openDispute(intentId);
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 0, frozen: 700, reversed: 0, owed: 0 });
  till.stripe.closeDispute(dispute.id, 'won');
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 700, frozen: 0, reversed: 0, owed: 0 });
  assert.deepEqual(await till.faults(buyer), []);
});

test('a lost dispute takes what is frozen, and what was spent is set off against the next credits loaded', async () => {
  const buyer = await till.newBuyer();
  const { topUp, intentId } = await till.paidLoad(buyer, 1_000);
  await till.deliverAll();
  await till.spend(buyer, 300);
  const dispute = till.stripe.openDispute(intentId);
  till.stripe.closeDispute(dispute.id, 'lost');
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 0, frozen: 0, reversed: 700, owed: 300 });
  await till.paidLoad(buyer, 500);
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 200, frozen: 0, reversed: 1_000, owed: 0 });
  assert.equal((await till.read(topUp)).owedMicros, 0n);
  assert.deepEqual(await till.faults(buyer), []);
});

test('two disputes of one payment are two: each freezes, is lost or won on its own, and never more than the lot', async () => {
  const buyer = await till.newBuyer();
  const { topUp, intentId } = await till.paidLoad(buyer, 1_000);
  const first = till.stripe.openDispute(intentId, 400);
  const second = till.stripe.openDispute(intentId, 300);
  const disputes = async () => {
    await till.deliverAll();
    const { cardDispute, cardDisputeCents, lostCents } = await till.read(topUp);
    const { balance, frozen, reversed } = await till.money(buyer);
    return [cardDispute, cardDisputeCents, lostCents, balance, frozen, reversed];
  };
  assert.deepEqual(await disputes(), ['open', 700n, 0n, 300, 700, 0]);
  till.stripe.closeDispute(first.id, 'lost');
  assert.deepEqual(await disputes(), ['open', 300n, 400n, 300, 300, 400]);
  till.stripe.closeDispute(second.id, 'won');
  assert.deepEqual(await disputes(), ['lost', 400n, 400n, 600, 0, 400]);
  const third = till.stripe.openDispute(intentId, 900);
  assert.deepEqual(await disputes(), ['open', 900n, 400n, 0, 600, 400]);
  till.stripe.closeDispute(third.id, 'lost');
  assert.deepEqual(await disputes(), ['lost', 1_000n, 1_000n, 0, 0, 1_000]);
  assert.deepEqual(await till.faults(buyer), []);
});

test('an inquiry takes no money, so nothing is frozen; when it becomes a dispute, it is', async () => {
  const buyer = await till.newBuyer();
  const { intentId } = await till.paidLoad(buyer, 500);
  till.stripe.openDispute(intentId, 500, 'warning_needs_response');
  await till.deliverAll();
  assert.equal((await till.money(buyer)).frozen, 0);
  till.stripe.openDispute(intentId, 500);
  await till.deliverAll();
  assert.equal((await till.money(buyer)).frozen, 500);
});

test('a dispute that is the first we hear of a payment loads its credits and freezes them', async () => {
  const buyer = await till.newBuyer();
  const { topUp, intentId } = await till.paidLoad(buyer, 800);
  till.takeEvents();
  till.stripe.openDispute(intentId);
  await till.deliverAll();
  assert.equal((await till.read(topUp)).status, 'paid');
  assert.deepEqual(await till.money(buyer), { balance: 0, frozen: 800, reversed: 0, owed: 0 });
  assert.deepEqual(await till.faults(buyer), []);
});

test('a dispute of a payment that took days, and of whose arrival we did not hear, loads and freezes it too', async () => {
  const buyer = await till.newBuyer();
  const topUp = await till.load(buyer, 800);
  const sessionId = topUp.sessionId ?? '';
  const intent = till.stripe.pay(sessionId, 'processing');
  await till.deliverAll();
  till.stripe.finishLatePayment(sessionId, true);
  till.takeEvents();
  till.stripe.openDispute(intent.id);
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 0, frozen: 800, reversed: 0, owed: 0 });
});

test('a lot that was taken back unspent has paid for nothing, and an older one still has its calls', async () => {
  const buyer = await till.newBuyer();
  const [older, newer] = [await till.paidLoad(buyer, 1_000), await till.paidLoad(buyer, 500)];
  await till.deliverAll();
  till.stripe.refund(newer.intentId);
  await till.deliverAll();
  const callId = await till.spend(buyer, 1_000);
  assert.deepEqual(await listAffectedCalls(till.deps.db, newer.topUp), []);
  assert.deepEqual(await listAffectedCalls(till.deps.db, older.topUp), [{ callId, micros: 1_000_000_000n }]);
});

test('what is owed is also taken from credits that came another way, when payments are reconciled', async () => {
  const buyer = await till.newBuyer();
  const { intentId } = await till.paidLoad(buyer, 500);
  await till.deliverAll();
  await till.spend(buyer, 500);
  till.stripe.refund(intentId);
  await till.deliverAll();
  assert.equal((await till.money(buyer)).owed, 500);
  await till.deps.db.transaction((tx) =>
    grantCredits(tx, { ...buyer, id: newId('txn'), amountMicros: 800_000_000n }),
  );
  await reconcileTopUps(till.deps);
  assert.deepEqual(await till.money(buyer), { balance: 300, frozen: 0, reversed: 500, owed: 0 });
});

test('without Stripe a load is refused by name, and reconciling does nothing', async () => {
  const deps = till.openDeps(null);
  const buyer = await till.newBuyer();
  const wish = { ...buyer, amountCents: 500n, savesCard: false, idempotencyKey: undefined };
  await assert.rejects(startTopUp(deps, wish), { code: 'STRIPE_NOT_CONFIGURED' });
  assert.equal((await reconcileTopUps(deps)).checked, 0);
});
