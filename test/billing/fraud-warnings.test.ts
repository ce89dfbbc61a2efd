import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { getAutoTopUp, setAutoTopUp } from '../../src/billing/auto-top-up-rules.ts';
import { listCardPayments } from '../../src/billing/card-payments.ts';
import { reconcileTopUps } from '../../src/billing/reconcile-top-ups.ts';
import { handleStripeEvent } from '../../src/billing/stripe-events.ts';
import type { TopUp } from '../../src/billing/top-ups.ts';
import { assertDescribed } from '../support/events.ts';
import { openTill, type Buyer, type Till } from './till.ts';

let till: Till;
before(async () => {
  till = await openTill();
});
after(() => till.close());

async function warningsOf({ id }: TopUp) {
  const { warnings = [] } = (await listCardPayments(till.database.db, [id])).get(id) ?? {};
  return warnings.map(({ warningId, fraudType, isActionable }) => [warningId, fraudType, isActionable]);
}

/** What the buyer was told of warnings: whether each was still actionable. */
async function told({ organizationId }: Buyer): Promise<unknown[]> {
  const { rows } = await till.database.pool.query<{ type: string; data: Record<string, unknown> }>(
    `SELECT type, data FROM events WHERE organization_id = $1 AND type = 'card_fraud.warned' ORDER BY id`,
    [organizationId],
  );
  for (const { type, data } of rows) assertDescribed(type, data);
  return rows.map(({ data }) => data['actionable']);
}

test('an early fraud warning is kept and told once, and moves no credits', async () => {
  const buyer = await till.newBuyer();
  const { topUp, intentId } = await till.paidLoad(buyer, 700);
  const warning = till.stripe.warnFraud(intentId);
  await till.deliverAll();
  assert.deepEqual(await warningsOf(topUp), [[warning.id, 'made_with_stolen_card', true]]);
  assert.deepEqual(await told(buyer), [true]);
  assert.deepEqual(await till.money(buyer), { balance: 700, frozen: 0, reversed: 0, owed: 0 });

  till.stripe.endWarning(warning.id);
  await till.deliverAll();
  assert.deepEqual(await warningsOf(topUp), [[warning.id, 'made_with_stolen_card', false]]);
  assert.deepEqual(await told(buyer), [true, false]);
  assert.deepEqual(await till.faults(buyer), []);
});

test('a warning in words nobody knows, that names only its charge, and is the first we hear of a payment, is kept', async () => {
  const buyer = await till.newBuyer();
  const { topUp, intentId } = await till.paidLoad(buyer, 600);
  till.takeEvents();
  const warning = till.stripe.warnFraud(intentId, 'abducted_by_aliens');
  const [event] = till.takeEvents();
  assert.ok(event);
  const object: Record<string, unknown> = { ...event.data.object };
  delete object['payment_intent'];
  assert.equal(await handleStripeEvent(till.deps, { ...event, data: { object } } as never), 'recorded');
  assert.deepEqual(await warningsOf(topUp), [[warning.id, 'abducted_by_aliens', true]]);
  assert.equal((await till.money(buyer)).balance, 600);
});

test('a card that its bank reported is not charged by itself any more', async () => {
  const buyer = await till.newBuyer();
  const { intentId } = await till.paidLoad(buyer, 600, { savesCard: true });
  await till.deliverAll();
  const rule = {
    thresholdMicros: 1n,
    amountCents: 500n,
    monthlyCeilingCents: 5_000n,
  };
  await setAutoTopUp(till.deps, buyer, rule);
  till.stripe.warnFraud(intentId);
  await till.deliverAll();
  const { rule: after } = await getAutoTopUp(till.database.db, buyer);
  assert.equal(after?.isEnabled, false);
  assert.match(after?.failure ?? '', /reported as fraud/);
});

test('a warning whose event never came is found, also the end of one, and a key that may not see them finds payments still', async () => {
  const buyer = await till.newBuyer();
  const { topUp, intentId } = await till.paidLoad(buyer, 600);
  const warning = till.stripe.warnFraud(intentId);
  till.takeEvents();
  till.stripe.fail({ on: /early_fraud_warnings/, kind: 'forbidden' });
  await reconcileTopUps(till.deps);
  assert.equal((await till.read(topUp)).status, 'paid');
  assert.deepEqual(await warningsOf(topUp), []);
  for (let n = 0; n < 2; n += 1) await reconcileTopUps(till.deps);
  assert.deepEqual(await told(buyer), [true]);
  till.stripe.endWarning(warning.id);
  till.takeEvents();
  for (let n = 0; n < 2; n += 1) await reconcileTopUps(till.deps);
  assert.deepEqual(await warningsOf(topUp), [[warning.id, 'made_with_stolen_card', false]]);
  assert.deepEqual(await told(buyer), [true, false]);
});

test('a warning of a payment that is none of ours is acknowledged and nothing else', async () => {
  const client = till.deps.stripe?.client;
  assert.ok(client);
  const payment_method = till.stripe.newCard('cus_other');
  const foreign = await client.paymentIntents.create({
    amount: 500,
    currency: 'usd',
    customer: 'cus_other',
    payment_method,
    confirm: true,
  });
  till.takeEvents();
  till.stripe.warnFraud(foreign.id);
  assert.deepEqual(await till.deliverAll(), ['ignored']);
});

/** How a dispute goes on at Stripe. */
const ORDER = ['warning_under_review', 'warning_closed', 'under_review', 'a_new_word', 'won', 'lost'];

test('whatever order words of disputes and warnings come in, also unknown ones, the same is kept', async () => {
  const word = fc.constantFrom(...ORDER);
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(word, { maxLength: 4 }),
      fc.infiniteStream(fc.nat(1_000_000)),
      fc.boolean(),
      async (words, chances, isEnded) => {
        const buyer = await till.newBuyer();
        const { topUp, intentId } = await till.paidLoad(buyer, 800);
        till.takeEvents();
        const dispute = till.stripe.openDispute(intentId, 300, 'warning_needs_response');
        for (const status of words.toSorted((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b))) {
          till.stripe.moveDispute(dispute.id, status);
        }
        const warning = till.stripe.warnFraud(intentId);
        if (isEnded) till.stripe.endWarning(warning.id);
        const shuffled = till
          .takeEvents()
          .map((event) => ({ event, at: chances.next().value as number }))
          .toSorted((a, b) => a.at - b.at);
        for (const { event } of shuffled) await handleStripeEvent(till.deps, event);

        const kept = (await listCardPayments(till.database.db, [topUp.id])).get(topUp.id);
        const last = ORDER.findLast((each) => words.includes(each)) ?? 'warning_needs_response';
        assert.equal(kept?.disputes[0]?.stripeStatus, last);
        assert.equal(kept?.warnings[0]?.isActionable, !isEnded);
        assert.equal((await told(buyer)).includes(!isEnded), true);
        const state = last.startsWith('warning_')
          ? 'inquiry'
          : last === 'won' || last === 'lost'
            ? last
            : 'open';
        assert.equal(kept?.disputes[0]?.state, state);
        const money = await till.money(buyer);
        assert.deepEqual(
          [money.frozen, money.reversed],
          [state === 'open' ? 300 : 0, state === 'lost' ? 300 : 0],
        );
        assert.deepEqual(await till.faults(buyer), []);
      },
    ),
    { numRuns: 60, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: true },
  );
});
