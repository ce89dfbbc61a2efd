import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { handleStripeEvent } from '../../src/billing/stripe-events.ts';
import { openTill, type Buyer, type Money, type Till } from './till.ts';

let till: Till;
before(async () => {
  till = await openTill();
});
after(() => till.close());

/** What becomes of one payment. Amounts in cents, a cent being a credit. */
type Story = { cents: number; refunds: number[]; disputes: Dispute[]; late: boolean };
type Dispute = { cents: number; end: 'open' | 'won' | 'lost' };

const story: fc.Arbitrary<Story> = fc.record({
  cents: fc.integer({ min: 500, max: 900 }),
  refunds: fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 2 }),
  /** The whole payment, or parts of it: networks let a payment be disputed more than once. */
  disputes: fc.array(
    fc.record({
      cents: fc.oneof(fc.constant(900), fc.integer({ min: 1, max: 500 })),
      end: fc.constantFrom('open', 'won', 'lost'),
    }),
    { maxLength: 2 },
  ),
  late: fc.boolean(),
});

const scenario = fc.record({
  stories: fc.array(story, { minLength: 1, maxLength: 2 }),
  /** What is spent once the first payment was heard of, and before anything else is. */
  spent: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 500 })),
  order: fc.infiniteStream(fc.nat(1_000_000)),
  repeats: fc.nat(6),
  atOnce: fc.integer({ min: 1, max: 3 }),
});

test('every sequence of events, shuffled and repeated, one by one and at once, ends in the same balances', async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async ({ stories, spent, order, repeats, atOnce }) => {
      const buyer = await till.newBuyer();
      till.takeEvents();
      for (const each of stories) await play(buyer, each);
      const events = till.takeEvents();

      if (spent > 0) {
        const first = events.find(({ type }) => type === 'payment_intent.succeeded');
        assert.ok(first);
        await handleStripeEvent(till.deps, first);
        await till.spend(buyer, spent);
      }
      const chance = order[Symbol.iterator]();
      const next = (): number => chance.next().value as number;
      const again = Array.from({ length: repeats }, () => events[next() % events.length]);
      const shuffled = [...events, ...again]
        .map((event) => ({ event, at: next() }))
        .toSorted((a, b) => a.at - b.at)
        .map(({ event }) => event);
      for (let i = 0; i < shuffled.length; i += atOnce) {
        const batch = shuffled.slice(i, i + atOnce);
        await Promise.all(batch.map(async (event) => event && handleStripeEvent(till.deps, event)));
      }

      assert.deepEqual(await till.money(buyer), expectedMoney(stories, spent));
      assert.deepEqual(await till.faults(buyer), []);
    }),
    { numRuns: 200, interruptAfterTimeLimit: 110_000, markInterruptAsFailure: true },
  );
});

async function play(buyer: Buyer, { cents, refunds, disputes, late }: Story): Promise<void> {
  const topUp = await till.load(buyer, cents);
  const sessionId = topUp.sessionId ?? '';
  if (late) {
    till.stripe.pay(sessionId, 'declined');
    till.stripe.pay(sessionId, 'processing');
    till.stripe.finishLatePayment(sessionId, true);
  } else {
    till.stripe.pay(sessionId);
  }
  const intentId = String(till.stripe.get(sessionId)['payment_intent']);
  const [first, ...rest] = refunds;
  if (first !== undefined) till.stripe.refund(intentId, first);
  for (const dispute of disputes) {
    const opened = till.stripe.openDispute(intentId, Math.min(cents, dispute.cents));
    if (dispute.end !== 'open') till.stripe.closeDispute(opened.id, dispute.end);
  }
  for (const each of rest) till.stripe.refund(intentId, Math.min(each, cents - (first ?? 0)));
}

/** What the books must say in the end, whatever came first. */
function expectedMoney(stories: readonly Story[], spent: number): Money {
  const has = stories.reduce((sum, { cents }) => sum + cents, 0) - spent;
  const lots = stories.map(({ cents, refunds, disputes }) => {
    const refunded = refunds.reduce((sum, each) => sum + each, 0);
    const disputed = (end: Dispute['end']): number =>
      disputes.reduce((sum, each) => sum + (each.end === end ? Math.min(cents, each.cents) : 0), 0);
    const due = Math.min(cents, refunded + disputed('lost'));
    return { due, contested: Math.min(cents - due, disputed('open')) };
  });
  const due = lots.reduce((sum, lot) => sum + lot.due, 0);
  const reversed = Math.min(has, due);
  const frozen = Math.min(
    has - reversed,
    lots.reduce((sum, lot) => sum + lot.contested, 0),
  );
  return { balance: has - reversed - frozen, frozen, reversed, owed: due - reversed };
}
