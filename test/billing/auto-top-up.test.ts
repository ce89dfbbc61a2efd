import assert from 'node:assert/strict';
import { after as afterAll, before, test } from 'node:test';
import {
  forgetCard,
  getAutoTopUp,
  markAutoTopUpOff,
  setAutoTopUp,
} from '../../src/billing/auto-top-up-rules.ts';
import type { BillingDeps } from '../../src/billing/deps.ts';
import { reconcileTopUps } from '../../src/billing/reconcile-top-ups.ts';
import { chargeCard, runAutoTopUps } from '../../src/billing/run-auto-top-ups.ts';
import { handleStripeEvent } from '../../src/billing/stripe-events.ts';
import { listTopUps, type TopUp } from '../../src/billing/top-ups.ts';
import { openTill, type Buyer, type Till } from './till.ts';

let till: Till;
before(async () => {
  till = await openTill();
});
afterAll(() => till.close());

const INTENTS = /^POST \/v1\/payment_intents$/;

/** A buyer with a saved card and 500 credits, who wants 10 dollars more below 400 and at most 25 a month. */
async function newAutomatic(
  changes: { threshold?: bigint; ceiling?: bigint } = {},
): Promise<Buyer & { card: string }> {
  const buyer = await till.newBuyer();
  await till.paidLoad(buyer, 500, { savesCard: true });
  await till.deliverAll();
  await setAutoTopUp(till.deps, buyer, {
    thresholdMicros: (changes.threshold ?? 400n) * 1_000_000n,
    amountCents: 1_000n,
    monthlyCeilingCents: changes.ceiling ?? 2_500n,
  });
  const { rows } = await till.database.pool.query<{ payment_method_id: string }>(
    'SELECT payment_method_id FROM stripe_customers WHERE organization_id = $1',
    [buyer.organizationId],
  );
  return { ...buyer, card: rows[0]?.payment_method_id ?? '' };
}

async function automatic(buyer: Buyer): Promise<TopUp[]> {
  const all = await listTopUps(till.deps.db, buyer, { status: undefined, before: undefined, limit: 100 });
  return all.filter(({ isAutomatic }) => isAutomatic);
}

function chargesOf(buyer: Buyer): number {
  const customers = till.stripe.all('customer').filter((each) => each['name'] === buyer.organizationId);
  return till.stripe
    .all('charge')
    .filter((each) => each['paid'] === true && customers.some(({ id }) => id === each['customer'])).length;
}

const stateOf = (buyer: Buyer) => getAutoTopUp(till.deps.db, buyer);

test('nothing is bought at the threshold, and once below it what was asked for', async () => {
  const buyer = await newAutomatic();
  await till.spend(buyer, 100);
  await runAutoTopUps(till.deps);
  assert.equal(chargesOf(buyer), 1);
  await till.spend(buyer, 1);
  await runAutoTopUps(till.deps);
  assert.equal(chargesOf(buyer), 2);
  assert.equal((await till.money(buyer)).balance, 1_399);
  await till.deliverAll();
  await runAutoTopUps(till.deps);
  assert.equal((await till.money(buyer)).balance, 1_399);
  assert.deepEqual(await till.faults(buyer), []);
  const [topUp] = await automatic(buyer);
  assert.match(topUp?.receiptUrl ?? '', /receipts/);
});

test('two workers and ten runs at once charge once', async () => {
  const other = till.openDeps();
  for (let round = 0; round < 8; round += 1) {
    const buyer = await newAutomatic();
    await till.spend(buyer, 200);
    await Promise.all(Array.from({ length: 10 }, (_, i) => runAutoTopUps(i % 2 === 0 ? till.deps : other)));
    assert.equal(chargesOf(buyer), 2);
    assert.equal((await till.money(buyer)).balance, 1_300);
    await till.deliverAll();
    assert.deepEqual(await till.faults(buyer), []);
  }
});

test('while one charge is under way no other is begun', async () => {
  const buyer = await newAutomatic();
  await till.spend(buyer, 200);
  const held = till.stripe.hold(INTENTS);
  const first = runAutoTopUps(till.deps);
  await held.arrived;
  assert.deepEqual(await runAutoTopUps(till.openDeps()), { charged: 0 });
  held.release();
  await first;
  assert.equal(chargesOf(buyer), 2);
});

test('a charge that goes through while another worker looks at the balance is not made a second time', async () => {
  const buyer = await newAutomatic();
  await till.spend(buyer, 200);
  const [listed, begins, looked, writes] = [0, 1, 2, 3].map(() => Promise.withResolvers<void>());
  assert.ok(listed && begins && looked && writes);
  const db = Object.create(till.deps.db) as BillingDeps['db'];
  db.transaction = async (work) => {
    listed.resolve();
    await begins.promise;
    return till.deps.db.transaction((tx) => {
      const slow = new Proxy(tx, {
        get: (target, member) => {
          const value: unknown = Reflect.get(target, member);
          if (member !== 'insert') return typeof value === 'function' ? value.bind(target) : value;
          looked.resolve();
          return (...given: Parameters<typeof tx.insert>) => after(writes.promise, tx.insert(...given));
        },
      });
      return work(slow);
    });
  };
  const second = runAutoTopUps({ ...till.deps, db });
  await listed.promise;
  const held = till.stripe.hold(INTENTS);
  const progress = { isDone: false };
  const first = runAutoTopUps(till.deps).then(() => (progress.isDone = true));
  await held.arrived;
  begins.resolve();
  await looked.promise;
  held.release();
  // The first worker has its answer: it either waits for the second one's lock, or is through.
  for (let i = 0; i < 2_000 && !progress.isDone && !(await isSomeoneWaiting()); i += 1);
  writes.resolve();
  await Promise.all([first, second]);
  assert.equal(chargesOf(buyer), 2);
  assert.equal((await till.money(buyer)).balance, 1_300);
});

async function isSomeoneWaiting(): Promise<boolean> {
  const { rows } = await till.database.pool.query(
    `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
  );
  return rows.length > 0;
}

/** A statement, however it is built up, that is sent only once `gate` has opened. */
function after<Statement extends object>(gate: Promise<void>, statement: Statement): Statement {
  return new Proxy(statement, {
    get: (target, member) => {
      const value: unknown = Reflect.get(target, member);
      if (typeof value !== 'function') return value;
      if (member === 'then') {
        return (...reactions: Parameters<Promise<unknown>['then']>) =>
          gate.then(() => target).then(...reactions);
      }
      return (...given: unknown[]) => after(gate, value.apply(target, given) as object);
    },
  });
}

test('never more than the ceiling in one UTC month; the next month begins anew', async () => {
  await till.clock.set(Date.parse('2026-11-30T23:00:00Z'));
  const buyer = await newAutomatic({ threshold: 100_000n });
  for (let i = 0; i < 5; i += 1) await runAutoTopUps(till.deps);
  assert.equal((await automatic(buyer)).length, 2);
  assert.equal((await stateOf(buyer)).chargedCents, 2_000n);
  await till.clock.set(Date.parse('2026-12-01T00:00:00Z'));
  assert.equal((await stateOf(buyer)).chargedCents, 0n);
  for (let i = 0; i < 5; i += 1) await runAutoTopUps(till.deps);
  assert.equal((await automatic(buyer)).length, 4);
  assert.equal((await till.money(buyer)).balance, 4_500);
});

test('a declined card switches it off with the reason; setting it again switches it on', async () => {
  const buyer = await newAutomatic();
  await till.spend(buyer, 200);
  till.stripe.answerCard(buyer.card, 'declined');
  await runAutoTopUps(till.deps);
  const { rule } = await stateOf(buyer);
  assert.equal(rule?.isEnabled, false);
  assert.match(rule?.failure ?? '', /insufficient funds/);
  const [declined] = await automatic(buyer);
  assert.equal(declined?.status, 'failed');
  assert.match(declined?.failure ?? '', /insufficient funds/);
  await till.deliverAll();
  await runAutoTopUps(till.deps);
  assert.equal((await automatic(buyer)).length, 1);

  till.stripe.answerCard(buyer.card, 'paid');
  const wish = { thresholdMicros: 400_000_000n, amountCents: 1_000n, monthlyCeilingCents: 2_500n };
  await setAutoTopUp(till.deps, buyer, wish);
  await runAutoTopUps(till.deps);
  assert.equal((await till.money(buyer)).balance, 1_300);
  assert.equal((await stateOf(buyer)).rule?.failure, null);
});

for (const kind of ['lost', 'failed', 'unheard'] as const) {
  test(`the answer to a charge was ${kind}: it is found or made again, and the card is charged once`, async () => {
    const buyer = await newAutomatic();
    await till.spend(buyer, 200);
    till.stripe.fail({ on: INTENTS, kind, times: 3 });
    await runAutoTopUps(till.deps);
    till.takeEvents();
    assert.equal((await automatic(buyer))[0]?.status, 'open');
    await runAutoTopUps(till.deps);
    assert.equal((await automatic(buyer)).length, 1);
    await reconcileTopUps(till.deps);
    assert.equal((await automatic(buyer))[0]?.status, 'paid');
    assert.equal(chargesOf(buyer), 2);
    assert.equal((await till.money(buyer)).balance, 1_300);
    await till.deliverAll();
    assert.deepEqual(await till.faults(buyer), []);
  });
}

test('a charge that is asked for again with another card is no refusal: the first one is found', async () => {
  const buyer = await newAutomatic();
  await till.spend(buyer, 200);
  till.stripe.fail({ on: INTENTS, kind: 'lost', times: 3 });
  await runAutoTopUps(till.deps);
  till.takeEvents();
  const { rows } = await till.database.pool.query<{ customer_id: string }>(
    'UPDATE stripe_customers SET payment_method_id = $2 WHERE organization_id = $1 RETURNING customer_id',
    [buyer.organizationId, till.stripe.newCard('cus_x')],
  );
  assert.ok(rows[0]);
  const [open] = await automatic(buyer);
  assert.ok(open && till.deps.stripe);
  await chargeCard(till.deps, till.deps.stripe, open);
  assert.equal((await automatic(buyer))[0]?.status, 'open');
  await reconcileTopUps(till.deps);
  assert.equal((await automatic(buyer))[0]?.status, 'paid');
  assert.equal(chargesOf(buyer), 2);
});

test('what was switched off before the charge was asked for is not charged any more', async () => {
  const buyer = await newAutomatic();
  await till.spend(buyer, 200);
  till.stripe.fail({ on: INTENTS, kind: 'unheard', times: 3 });
  await runAutoTopUps(till.deps);
  await till.deps.db.transaction((tx) => markAutoTopUpOff(tx, buyer, null));
  await reconcileTopUps(till.deps);
  assert.equal((await automatic(buyer))[0]?.status, 'abandoned');
  assert.equal(chargesOf(buyer), 1);
});

for (const [what, takeBack, reason] of [
  ['disputed', (intentId: string) => till.stripe.openDispute(intentId, 50), /disputed/],
  ['refunded', (intentId: string) => till.stripe.refund(intentId, 50), /refunded/],
] as const) {
  test(`a payment that is ${what} switches it off with the reason, once`, async () => {
    const buyer = await newAutomatic();
    const { intentId } = await till.paidLoad(buyer, 500);
    await till.deliverAll();
    takeBack(intentId);
    const events = till.takeEvents();
    for (const event of events) await handleStripeEvent(till.deps, event);
    const { rule } = await stateOf(buyer);
    assert.equal(rule?.isEnabled, false);
    assert.match(rule.failure ?? '', reason);
    await till.spend(buyer, 900);
    await runAutoTopUps(till.deps);
    assert.deepEqual(await automatic(buyer), []);

    // Its owner wants it on again: what was heard before does not switch it off a second time.
    const wish = { thresholdMicros: 400_000_000n, amountCents: 1_000n, monthlyCeilingCents: 2_500n };
    await setAutoTopUp(till.deps, buyer, wish);
    for (const event of events) await handleStripeEvent(till.deps, { ...event, id: `${event.id}_again` });
    assert.equal((await stateOf(buyer)).rule?.isEnabled, true);
  });
}

test('switched off by a refund it stays off when that refund fails, and on when its owner had switched it on again', async () => {
  const buyer = await newAutomatic();
  const { intentId } = await till.paidLoad(buyer, 500);
  const first = till.stripe.refund(intentId, 50);
  const second = till.stripe.refund(intentId, 60);
  await till.deliverAll();
  till.stripe.endRefund(first.id, 'failed');
  await till.deliverAll();
  const off = await stateOf(buyer);
  assert.equal(off.rule?.isEnabled, false);
  assert.match(off.rule.failure ?? '', /refunded/);
  const { thresholdMicros, amountCents, monthlyCeilingCents } = off.rule;
  await setAutoTopUp(till.deps, buyer, { thresholdMicros, amountCents, monthlyCeilingCents });
  till.stripe.endRefund(second.id, 'failed');
  await till.deliverAll();
  assert.equal((await stateOf(buyer)).rule?.isEnabled, true);
});

test('while anything is owed, frozen or disputed no charge is begun', async () => {
  const buyer = await newAutomatic();
  const { intentId } = await till.paidLoad(buyer, 500);
  await till.deliverAll();
  await till.spend(buyer, 990);
  const wish = { thresholdMicros: 400_000_000n, amountCents: 1_000n, monthlyCeilingCents: 2_500n };
  const runs = async (): Promise<number> => {
    await till.deliverAll();
    await setAutoTopUp(till.deps, buyer, wish);
    await runAutoTopUps(till.deps);
    return (await automatic(buyer)).length;
  };
  const dispute = till.stripe.openDispute(intentId, 5);
  assert.equal(await runs(), 0);
  assert.equal((await till.money(buyer)).frozen, 5);
  till.stripe.closeDispute(dispute.id, 'won');
  till.stripe.refund(intentId, 50);
  await till.deliverAll();
  assert.equal((await till.money(buyer)).owed, 40);
  assert.equal(await runs(), 0);
  await till.paidLoad(buyer, 500);
  await till.deliverAll();
  await till.spend(buyer, 400);
  assert.equal(await runs(), 1);
});

test('without a saved card it cannot be switched on, and a forgotten card is not charged', async () => {
  const stranger = await till.newBuyer();
  const wish = { thresholdMicros: 400_000_000n, amountCents: 1_000n, monthlyCeilingCents: 2_500n };
  await assert.rejects(setAutoTopUp(till.deps, stranger, wish), { code: 'CONFLICT' });
  const buyer = await newAutomatic();
  await till.spend(buyer, 200);
  await forgetCard(till.deps, buyer);
  assert.equal(till.stripe.get(buyer.card)['customer'], null);
  assert.equal((await stateOf(buyer)).card, undefined);
  await runAutoTopUps(till.deps);
  assert.deepEqual(await automatic(buyer), []);
  await assert.rejects(setAutoTopUp(till.deps, buyer, wish), { code: 'CONFLICT' });
});

test('a card is kept only where the buyer asked for it, and the later one replaces the earlier', async () => {
  const buyer = await till.newBuyer();
  await till.paidLoad(buyer, 500);
  await till.deliverAll();
  assert.equal((await stateOf(buyer)).card, undefined);
  await till.paidLoad(buyer, 500, { savesCard: true });
  const earlier = till.takeEvents();
  await till.paidLoad(buyer, 500, { savesCard: true });
  await till.deliverAll();
  const { rows: before } = await till.database.pool.query('SELECT payment_method_id FROM stripe_customers');
  for (const event of earlier) await handleStripeEvent(till.deps, event);
  const { rows: later } = await till.database.pool.query('SELECT payment_method_id FROM stripe_customers');
  assert.deepEqual(later, before);
  assert.deepEqual((await stateOf(buyer)).card, { brand: 'visa', lastFour: '4242' });
});

test('without Stripe nothing is charged and nothing breaks', async () => {
  const buyer = await newAutomatic();
  await till.spend(buyer, 200);
  assert.deepEqual(await runAutoTopUps(till.openDeps(null)), { charged: 0 });
  assert.deepEqual(await automatic(buyer), []);
  await runAutoTopUps(till.deps);
});
