import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { listCardPayments, paymentStateOf, refundStateOf } from '../../src/billing/card-payments.ts';
import { handleStripeEvent, verifyStripeEvent } from '../../src/billing/stripe-events.ts';
import {
  BANK_PAYOUT,
  CARD_DISPUTE,
  CHECKOUT_SESSION,
  EARLY_FRAUD_WARNING,
  PAYMENT_INTENT,
  PAYOUT_ACCOUNT,
  REFUND,
  stateOf,
  TRANSFER,
} from '../../src/billing/stripe-states.ts';
import { Problem } from '../../src/base/problem.ts';
import { openTill, type Till } from './till.ts';

let till: Till;
before(async () => {
  till = await openTill();
});
after(() => till.close());

test('every state of an object says what it means to its owner, and every one that is not an end what can be done', () => {
  const tables = [
    CHECKOUT_SESSION,
    PAYMENT_INTENT,
    REFUND,
    CARD_DISPUTE,
    EARLY_FRAUD_WARNING,
    TRANSFER,
    BANK_PAYOUT,
    PAYOUT_ACCOUNT,
  ];
  for (const [word, row] of tables.flatMap((table) => Object.entries(table))) {
    assert.match(row.shown, /^[A-Z].*\.$/, word);
    if (['open', 'pending', 'restricted', 'gone', 'failed'].includes(row.stored)) assert.ok(row.next, word);
  }
  // Also a word that every object has by birth.
  for (const word of ['constructor', '__proto__', 'a_new_word']) {
    assert.match(stateOf(REFUND, word, 'pending').shown, new RegExp(word));
  }
});

test('a state of a payment that Stripe adds is kept and shown, and grants nothing until the payment has succeeded', async () => {
  const buyer = await till.newBuyer();
  const { topUp } = await till.paidLoad(buyer, 500);
  const paid = till.takeEvents().find(({ type }) => type === 'payment_intent.succeeded');
  assert.ok(paid);
  const object = { ...paid.data.object, status: 'requires_moonlight', latest_charge: null };
  const unknown = { ...paid, id: 'evt_unknown', type: 'payment_intent.canceled', data: { object } };
  assert.equal(await handleStripeEvent(till.deps, unknown as never), 'recorded');
  const kept = await till.read(topUp);
  assert.deepEqual([kept.status, kept.paymentState], ['open', 'payment_intent.requires_moonlight']);
  assert.match(paymentStateOf(kept.paymentState ?? '').shown, /requires_moonlight/);
  assert.equal((await till.money(buyer)).balance, 0);

  await handleStripeEvent(till.deps, paid);
  await handleStripeEvent(till.deps, { ...unknown, id: 'evt_unknown_again' } as never);
  const after = await till.read(topUp);
  assert.deepEqual([after.status, after.paymentState], ['paid', 'payment_intent.succeeded']);
  assert.equal((await till.money(buyer)).balance, 500);
});

test('a state of a refund that Stripe adds counts as one that is on its way', async () => {
  const buyer = await till.newBuyer();
  const { topUp, intentId } = await till.paidLoad(buyer, 500);
  const { id } = till.stripe.refund(intentId, 200, 'pending');
  till.stripe.get(id)['status'] = 'wandering';
  const events = till.takeEvents();
  for (const event of events) await handleStripeEvent(till.deps, event);
  const wandering = { ...till.stripe.get(id), status: 'wandering' };
  const event = { ...events.at(-1), id: 'evt_w', type: 'refund.updated', data: { object: wandering } };
  await handleStripeEvent(till.deps, event as never);
  const [refund] = (await listCardPayments(till.database.db, [topUp.id])).get(topUp.id)?.refunds ?? [];
  assert.ok(refund);
  assert.deepEqual([refund.state, refund.stripeStatus], ['pending', 'wandering']);
  assert.match(refundStateOf(refund).shown, /wandering/);
  assert.equal((await till.money(buyer)).balance, 300);
});

const thin = {
  id: 'evt_test_thin',
  object: 'v2.core.event',
  type: 'v2.core.account[requirements].updated',
  livemode: false,
  created: '2026-11-10T12:00:00.000Z',
  related_object: { id: 'acct_of_nobody', type: 'v2.core.account', url: '/v2/core/accounts/acct_of_nobody' },
};

test('a thin event that is signed is acknowledged, and refused when its signature is not right', async () => {
  const others = [
    { ...thin, type: 'v1.billing.meter.no_meter_found', related_object: null },
    { ...thin, related_object: { id: 7, type: 'v2.core.account' } },
    { ...thin, livemode: true },
    { object: 'v2.core.event' },
    thin,
  ];
  for (const event of others) {
    const { body, headers } = till.stripe.sign(event as never);
    const verified = await verifyStripeEvent(till.deps, Buffer.from(body), headers['stripe-signature']);
    assert.equal(await handleStripeEvent(till.deps, verified), 'ignored', body);
  }
  const { body } = till.stripe.sign(thin as never);
  for (const signature of [
    undefined,
    '',
    't=1,v1=00',
    till.stripe.sign({} as never).headers['stripe-signature'],
  ]) {
    await assert.rejects(
      async () => verifyStripeEvent(till.deps, Buffer.from(body), signature),
      (error) => error instanceof Problem && error.code === 'INVALID_INPUT',
    );
  }
});
