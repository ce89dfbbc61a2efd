import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { listAffectedCalls } from '../../src/billing/affected-calls.ts';
import { compareTopUps } from '../../src/billing/compare-top-ups.ts';
import { reconcileTopUps } from '../../src/billing/reconcile-top-ups.ts';
import { handleStripeEvent } from '../../src/billing/stripe-events.ts';
import { cardRefundCents, topUpId, type TopUp } from '../../src/billing/top-ups.ts';
import { assertDescribed } from '../support/events.ts';
import { openTill, type Buyer, type Till } from './till.ts';

let till: Till;
before(async () => {
  till = await openTill();
});
after(() => till.close());

type Event = Till['stripe']['events'][number];

async function paid(cents: number): Promise<{ buyer: Buyer; topUp: TopUp; intentId: string }> {
  const buyer = await till.newBuyer();
  const { topUp, intentId } = await till.paidLoad(buyer, cents);
  await till.deliverAll();
  return { buyer, topUp, intentId };
}

/** Delivers what has happened since the last time, but for what is lost on the way. */
async function deliver(isLost: (event: Event) => boolean): Promise<void> {
  for (const event of till.takeEvents()) if (!isLost(event)) await handleStripeEvent(till.deps, event);
}

const namesRefund = (event: Event): boolean => event.type.includes('refund.');

/** How far each refund of a load is known to be, and what it was, oldest first. */
async function refundsOf(topUp: TopUp): Promise<string[]> {
  const { rows } = await till.database.pool.query<{ refund: string }>(
    `SELECT state || ' ' || cents AS refund FROM card_refunds WHERE top_up_id = $1 ORDER BY cents`,
    [topUp.id],
  );
  return rows.map(({ refund }) => refund);
}

async function toldOf(buyer: Buyer): Promise<unknown[]> {
  const { rows } = await till.database.pool.query<{ data: object }>(
    `SELECT data FROM events WHERE organization_id = $1 AND type = 'card_refund.failed' ORDER BY id`,
    [buyer.organizationId],
  );
  for (const { data } of rows) assertDescribed('card_refund.failed', data);
  return rows.map(({ data }) => data);
}

test('a refund that fails weeks later gives back what it took, once, and the buyer is told', async () => {
  const { buyer, topUp, intentId } = await paid(1_000);
  const { id } = till.stripe.refund(intentId, 400);
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 600, frozen: 0, reversed: 400, owed: 0 });
  till.stripe.endRefund(id, 'failed');
  const events = till.takeEvents();
  for (const event of [...events, ...events]) await handleStripeEvent(till.deps, event);
  assert.deepEqual(await till.money(buyer), { balance: 1_000, frozen: 0, reversed: 0, owed: 0 });
  const known = await till.read(topUp);
  assert.deepEqual([cardRefundCents(known), known.failedRefundCents], [0n, 400n]);
  assert.deepEqual(await refundsOf(topUp), ['failed 400']);
  assert.deepEqual(await toldOf(buyer), [
    {
      load_id: topUpId(topUp),
      amount_usd: '4.00',
      state: 'failed',
      credits_returned: '400',
      owed_credits: '0',
      currency: 'test',
      balance: '1000',
    },
  ]);
  assert.deepEqual(await till.faults(buyer), []);
});

test('a failure stands when the refund it is about is told afterwards, as it was before', async () => {
  const { buyer, topUp, intentId } = await paid(500);
  const { id } = till.stripe.refund(intentId, 200, 'pending');
  till.stripe.endRefund(id, 'succeeded');
  till.stripe.endRefund(id, 'failed');
  for (const event of till.takeEvents().toReversed()) {
    await handleStripeEvent(till.deps, event);
    assert.equal((await till.money(buyer)).balance, 500);
  }
  assert.deepEqual(await refundsOf(topUp), ['failed 200']);
  assert.deepEqual(await till.faults(buyer), []);
});

for (const type of ['refund.failed', 'refund.updated', 'charge.refund.updated']) {
  test(`a failure that is told by ${type} alone gives back what the refund took`, async () => {
    const { buyer, intentId } = await paid(500);
    const { id } = till.stripe.refund(intentId, 200);
    await till.deliverAll();
    till.stripe.endRefund(id, 'failed');
    await deliver((event) => event.type !== type);
    assert.equal((await till.money(buyer)).balance, 500);
  });
}

test('whoever waits for credits hears that they came back', async () => {
  const { buyer, intentId } = await paid(500);
  const { id } = till.stripe.refund(intentId);
  await till.deliverAll();
  const client = await till.database.pool.connect();
  try {
    const heard: unknown[] = [];
    client.on('notification', ({ payload }) => heard.push(payload));
    await client.query('LISTEN sentinel_changes');
    till.stripe.endRefund(id, 'failed');
    await till.deliverAll();
    // What was said before comes with the answer.
    await client.query('SELECT 1');
    assert.deepEqual(heard, [`credits:${buyer.accountId}`]);
  } finally {
    client.release(true);
  }
});

test('a refund that waits for its buyer, or is in a state that Stripe has yet to invent, takes the credits', async () => {
  for (const status of ['requires_action', 'postponed', null]) {
    const { buyer, topUp, intentId } = await paid(500);
    till.stripe.refund(intentId, 200);
    const created = till.takeEvents().find(({ type }) => type === 'refund.created');
    assert.ok(created);
    Object.assign(created.data.object, { status });
    await handleStripeEvent(till.deps, created);
    assert.deepEqual(await refundsOf(topUp), ['pending 200']);
    assert.equal((await till.money(buyer)).balance, 300);
  }
});

test('a refund on its way takes the credits, and canceled, gives them back', async () => {
  const { buyer, topUp, intentId } = await paid(500);
  const { id } = till.stripe.refund(intentId, 200, 'pending');
  await till.deliverAll();
  assert.equal((await till.money(buyer)).balance, 300);
  till.stripe.endRefund(id, 'canceled');
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 500, frozen: 0, reversed: 0, owed: 0 });
  assert.deepEqual(await refundsOf(topUp), ['canceled 200']);
  assert.equal((await toldOf(buyer)).length, 1);
  assert.deepEqual(await till.faults(buyer), []);
});

test('what could not be taken is no longer owed when the refund fails, and only what was taken comes back', async () => {
  const { buyer, intentId } = await paid(1_000);
  await till.spend(buyer, 800);
  const small = till.stripe.refund(intentId, 300);
  const large = till.stripe.refund(intentId, 700);
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 0, frozen: 0, reversed: 200, owed: 800 });
  till.stripe.endRefund(large.id, 'failed');
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 0, frozen: 0, reversed: 200, owed: 100 });
  till.stripe.endRefund(small.id, 'failed');
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 200, frozen: 0, reversed: 0, owed: 0 });
  const told = (await toldOf(buyer)) as { credits_returned: string; owed_credits: string }[];
  assert.deepEqual(
    told.map((each) => [each.credits_returned, each.owed_credits]),
    [
      ['0', '100'],
      ['200', '0'],
    ],
  );
  assert.deepEqual(await till.faults(buyer), []);
});

test('what comes back pays first what another load owes, and is frozen while its own payment is disputed', async () => {
  const { buyer, intentId } = await paid(500);
  const other = await till.paidLoad(buyer, 500);
  await till.deliverAll();
  const { id } = till.stripe.refund(intentId);
  await till.deliverAll();
  await till.spend(buyer, 500);
  till.stripe.refund(other.intentId, 100);
  till.stripe.openDispute(intentId, 300);
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 0, frozen: 0, reversed: 500, owed: 100 });
  till.stripe.endRefund(id, 'failed');
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 100, frozen: 300, reversed: 100, owed: 0 });
  assert.deepEqual(await till.faults(buyer), []);
});

test('a lost dispute keeps what it took when a refund of the same payment fails', async () => {
  const { buyer, intentId } = await paid(1_000);
  const { id } = till.stripe.refund(intentId, 600);
  till.stripe.closeDispute(till.stripe.openDispute(intentId, 700).id, 'lost');
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 0, frozen: 0, reversed: 1_000, owed: 0 });
  till.stripe.endRefund(id, 'failed');
  await till.deliverAll();
  assert.deepEqual(await till.money(buyer), { balance: 300, frozen: 0, reversed: 700, owed: 0 });
  assert.deepEqual(await till.faults(buyer), []);
});

test('a refund of which only the total was told takes the credits, and its failure gives them back', async () => {
  const { buyer, topUp, intentId } = await paid(500);
  const { id } = till.stripe.refund(intentId, 200);
  await deliver(namesRefund);
  assert.deepEqual(await refundsOf(topUp), []);
  assert.equal((await till.money(buyer)).balance, 300);
  // Whatever else is told meanwhile says nothing of it.
  till.stripe.closeDispute(till.stripe.openDispute(intentId, 100).id, 'won');
  await till.deliverAll();
  assert.equal((await till.money(buyer)).balance, 300);
  till.stripe.endRefund(id, 'failed');
  await till.deliverAll();
  assert.deepEqual(await refundsOf(topUp), ['failed 200']);
  assert.deepEqual(await till.money(buyer), { balance: 500, frozen: 0, reversed: 0, owed: 0 });
  assert.deepEqual(await till.faults(buyer), []);
});

test('a total above what was paid takes what was paid, and no more is missing when that refund fails', async () => {
  const { buyer, intentId } = await paid(500);
  const { id } = till.stripe.refund(intentId);
  const charged = till.takeEvents().find(({ type }) => type === 'charge.refunded');
  assert.ok(charged);
  Object.assign(charged.data.object, { amount_refunded: 510 });
  await handleStripeEvent(till.deps, charged);
  assert.deepEqual(await till.money(buyer), { balance: 0, frozen: 0, reversed: 500, owed: 0 });
  till.stripe.endRefund(id, 'failed');
  await till.deliverAll();
  assert.equal((await till.money(buyer)).balance, 500);
});

test('the refund after one that failed is taken too, though the total of the charge is no higher than before', async () => {
  const { buyer, intentId } = await paid(500);
  till.stripe.endRefund(till.stripe.refund(intentId).id, 'failed');
  till.stripe.refund(intentId);
  const events = till.takeEvents();
  // Told in full, and then the totals again as they were at each moment.
  for (const event of [...events, ...events.filter(({ type }) => type === 'charge.refunded')]) {
    await handleStripeEvent(till.deps, { ...event, id: `${event.id}_again` });
    await handleStripeEvent(till.deps, event);
  }
  assert.deepEqual(await till.money(buyer), { balance: 0, frozen: 0, reversed: 500, owed: 0 });
  assert.deepEqual(await till.faults(buyer), []);
});

test('a refund that had failed when it is the first we hear of a payment takes nothing of what it loads', async () => {
  const buyer = await till.newBuyer();
  const { topUp, intentId } = await till.paidLoad(buyer, 500);
  till.stripe.endRefund(till.stripe.refund(intentId).id, 'failed');
  await deliver(({ type }) => type !== 'refund.failed');
  assert.equal((await till.read(topUp)).status, 'paid');
  assert.deepEqual(await till.money(buyer), { balance: 500, frozen: 0, reversed: 0, owed: 0 });
  assert.deepEqual(await till.faults(buyer), []);
});

test('an endpoint of an old API version names the refunds in the charge, and they are known by that', async () => {
  const { buyer, topUp, intentId } = await paid(500);
  const refund = till.stripe.refund(intentId, 200);
  const charged = till.takeEvents().find(({ type }) => type === 'charge.refunded');
  assert.ok(charged);
  Object.assign(charged.data.object, { refunds: { object: 'list', has_more: false, data: [refund] } });
  await handleStripeEvent(till.deps, charged);
  assert.deepEqual(await refundsOf(topUp), ['succeeded 200']);
  assert.equal((await till.money(buyer)).balance, 300);
});

test('a refund of another currency, of more than was paid, of nothing, or known of another payment changes nothing', async () => {
  const other = await paid(500);
  till.stripe.refund(other.intentId, 10);
  await till.deliverAll();
  const { rows } = await till.database.pool.query<{ id: string }>(
    'SELECT refund_id AS id FROM card_refunds WHERE top_up_id = $1',
    [other.topUp.id],
  );
  for (const change of [{ currency: 'eur' }, { amount: 501 }, { amount: 0 }, { id: rows[0]?.id }]) {
    const { buyer, topUp, intentId } = await paid(500);
    till.stripe.refund(intentId, 200);
    const created = till.takeEvents().find(({ type }) => type === 'refund.created');
    assert.ok(created);
    Object.assign(created.data.object, change);
    till.lines.length = 0;
    await handleStripeEvent(till.deps, created);
    assert.deepEqual(till.lines, ['error: a payment contradicts its top-up']);
    assert.deepEqual(await refundsOf(topUp), []);
    assert.deepEqual(await till.money(buyer), { balance: 500, frozen: 0, reversed: 0, owed: 0 });
  }
  assert.deepEqual(await refundsOf(other.topUp), ['succeeded 10']);
});

test('a failure told by a connected account, in the other mode, or of another payment gives nothing back', async () => {
  const { buyer, intentId } = await paid(500);
  const { id } = till.stripe.refund(intentId, 200);
  await till.deliverAll();
  till.stripe.endRefund(id, 'failed');
  const stranger = await till.deps.stripe?.client.paymentIntents.create({
    amount: 500,
    currency: 'usd',
    customer: 'cus_other',
    payment_method: till.stripe.newCard('cus_other'),
    confirm: true,
  });
  for (const event of till.takeEvents().filter(namesRefund)) {
    const foreign = structuredClone(event);
    Object.assign(foreign.data.object, { payment_intent: stranger?.id });
    const nowhere = structuredClone(event);
    Object.assign(nowhere.data.object, { payment_intent: null });
    const told = [{ ...event, account: 'acct_seller' }, { ...event, livemode: true }, foreign, nowhere];
    for (const [index, each] of told.entries()) {
      const handled = await handleStripeEvent(till.deps, { ...each, id: `${event.id}_${index}` });
      assert.equal(handled, 'ignored');
    }
  }
  assert.deepEqual(await till.money(buyer), { balance: 300, frozen: 0, reversed: 200, owed: 0 });
});

test('a failure whose webhook never came is found, weeks after the refund and without asking about strangers again', async () => {
  const own = await openTill();
  try {
    const buyer = await own.newBuyer();
    const { intentId } = await own.paidLoad(buyer, 500);
    const { id } = own.stripe.refund(intentId, 200);
    await own.deliverAll();
    const client = own.deps.stripe?.client;
    assert.ok(client);
    const stranger = await client.paymentIntents.create({
      amount: 500,
      currency: 'usd',
      customer: 'cus_other',
      payment_method: own.stripe.newCard('cus_other'),
      confirm: true,
    });
    own.stripe.refund(stranger.id);
    await own.clock.later(30 * 24 * 3_600_000);
    own.stripe.endRefund(id, 'failed');
    own.takeEvents();
    const before = own.stripe.requests.length;
    await reconcileTopUps(own.deps);
    assert.deepEqual(await own.money(buyer), { balance: 500, frozen: 0, reversed: 0, owed: 0 });
    assert.deepEqual(
      own.stripe.requests.slice(before).filter(({ path }) => path.endsWith(stranger.id)),
      [],
    );
    assert.deepEqual(await own.faults(buyer), []);
  } finally {
    await own.close();
  }
});

test('a failed refund and the one made in its stead, both first heard of at once, give nothing back', async () => {
  const { buyer, intentId } = await paid(500);
  till.stripe.endRefund(till.stripe.refund(intentId, 200).id, 'failed');
  till.stripe.refund(intentId, 300);
  till.takeEvents();
  await reconcileTopUps(till.deps);
  assert.deepEqual(await till.money(buyer), { balance: 200, frozen: 0, reversed: 300, owed: 0 });
  const [told] = (await toldOf(buyer)) as { credits_returned: string }[];
  assert.equal(told?.credits_returned, '0');
  assert.deepEqual(await till.faults(buyer), []);
});

test('a refund that stays pending is asked about until it ends, however old it is', async () => {
  const own = await openTill();
  try {
    const buyer = await own.newBuyer();
    const { intentId } = await own.paidLoad(buyer, 500);
    const { id } = own.stripe.refund(intentId, 200, 'pending');
    await own.deliverAll();
    await own.clock.later(90 * 24 * 3_600_000);
    await reconcileTopUps(own.deps);
    assert.equal((await own.money(buyer)).balance, 300);
    own.stripe.endRefund(id, 'failed');
    own.takeEvents();
    await reconcileTopUps(own.deps);
    assert.equal((await own.money(buyer)).balance, 500);
    assert.deepEqual(await compareTopUps(own.deps), []);
  } finally {
    await own.close();
  }
});

test('a total whose refunds are not known by id is asked about, however old they are', async () => {
  const own = await openTill();
  try {
    const buyer = await own.newBuyer();
    const { topUp, intentId } = await own.paidLoad(buyer, 500);
    own.stripe.refund(intentId, 200);
    await own.deliverAll();
    // As everything was that came before refunds were kept by id.
    await own.database.pool.query('DELETE FROM card_refunds');
    await own.clock.later(90 * 24 * 3_600_000);
    const [difference] = await compareTopUps(own.deps);
    assert.deepEqual([difference?.what, difference?.id], ['top-up: card refund', topUpId(topUp)]);
    assert.match(difference?.found ?? '', /^re_\w+ is not known$/);
    await reconcileTopUps(own.deps);
    assert.deepEqual(await compareTopUps(own.deps), []);
    assert.deepEqual(await own.money(buyer), { balance: 300, frozen: 0, reversed: 200, owed: 0 });
  } finally {
    await own.close();
  }
});

test('a lot that came back paid for the calls after it, however much happened in between', async () => {
  const { buyer, topUp, intentId } = await paid(500);
  const { id } = till.stripe.refund(intentId);
  await till.deliverAll();
  // More calls that cost nothing than are read at a time.
  await till.database.pool.query(
    `INSERT INTO ledger_journal (id, kind, debit, credit, amount)
     SELECT gen_random_uuid(), 'refund', $1, (SELECT id FROM ledger_accounts WHERE kind = 'funding' LIMIT 1), 0
     FROM generate_series(1, 6000)`,
    [buyer.accountId],
  );
  till.stripe.endRefund(id, 'failed');
  await till.deliverAll();
  const callId = await till.spend(buyer, 300);
  assert.deepEqual(await listAffectedCalls(till.deps.db, await till.read(topUp)), [
    { callId, micros: 300_000_000n },
  ]);
});
