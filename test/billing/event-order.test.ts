import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { compareTopUps } from '../../src/billing/compare-top-ups.ts';
import { reconcileTopUps } from '../../src/billing/reconcile-top-ups.ts';
import { handleStripeEvent } from '../../src/billing/stripe-events.ts';
import { openTill, type Buyer, type Money, type Till } from './till.ts';

let till: Till;
before(async () => {
  till = await openTill();
});
after(() => till.close());

/** What becomes of one payment. Amounts in cents, a cent being a credit. */
type Story = { cents: number; refunds: Refund[]; disputes: Dispute[]; late: boolean };
/** How it begins, where it ends, and whether it ends before the next thing happens or after everything else. */
type Refund = { cents: number; begin: Begin; end: RefundEnd; soon: boolean };
type Begin = 'pending' | 'succeeded';
type RefundEnd = 'none' | 'succeeded' | 'failed' | 'canceled' | 'succeeded, then failed';
type Dispute = { cents: number; end: 'open' | 'won' | 'lost' };

const story: fc.Arbitrary<Story> = fc.record({
  cents: fc.integer({ min: 500, max: 900 }),
  /** One that failed leaves its money to the next: together they may come to more than was paid. */
  refunds: fc.array(
    fc.oneof(
      fc.record({
        cents: fc.integer({ min: 1, max: 500 }),
        begin: fc.constant<Begin>('pending'),
        end: fc.constantFrom<RefundEnd>('none', 'succeeded', 'failed', 'canceled', 'succeeded, then failed'),
        soon: fc.boolean(),
      }),
      fc.record({
        cents: fc.integer({ min: 1, max: 500 }),
        begin: fc.constant<Begin>('succeeded'),
        end: fc.constantFrom<RefundEnd>('none', 'failed'),
        soon: fc.boolean(),
      }),
    ),
    { maxLength: 2 },
  ),
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

type Scenario = {
  stories: Story[];
  spent: number;
  order: Iterable<number>;
  repeats: number;
  atOnce: number;
};

const scenario: fc.Arbitrary<Scenario> = fc.record({
  stories: fc.array(story, { minLength: 1, maxLength: 2 }),
  /** What is spent once the first payment was heard of, and before anything else is. */
  spent: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 500 })),
  order: fc.infiniteStream(fc.nat(1_000_000)),
  repeats: fc.nat(6),
  atOnce: fc.integer({ min: 1, max: 3 }),
});

test('every sequence of events, shuffled and repeated, one by one and at once, ends in the same balances', async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async (each) => {
      const buyer = await live(till, each, () => false);
      assert.deepEqual(await till.money(buyer), expectedMoney(each.stories, each.spent));
      assert.deepEqual(await till.faults(buyer), []);
    }),
    { numRuns: 200, interruptAfterTimeLimit: 110_000, markInterruptAsFailure: true },
  );
});

test('whatever is lost of a sequence of events, reconciled it ends in the same balances, and the doctor agrees', async () => {
  const lossy = await openTill();
  try {
    await fc.assert(
      fc.asyncProperty(scenario, fc.integer({ min: 1, max: 4 }), async (each, share) => {
        const buyer = await live(lossy, each, (chance) => chance % 4 < share);
        await reconcileTopUps(lossy.deps);
        assert.deepEqual(await lossy.money(buyer), expectedMoney(each.stories, each.spent));
        assert.deepEqual(await lossy.faults(buyer), []);
        assert.deepEqual(await compareTopUps(lossy.deps), []);
      }),
      { numRuns: 20, interruptAfterTimeLimit: 110_000, markInterruptAsFailure: true },
    );
  } finally {
    await lossy.close();
  }
});

/** Everything happens at Stripe, and is then heard of in some order, but for what is lost. */
async function live(
  till: Till,
  { stories, spent, order, repeats, atOnce }: Scenario,
  isLost: (chance: number) => boolean,
): Promise<Buyer> {
  const buyer = await till.newBuyer();
  till.takeEvents();
  for (const each of stories) await play(till, buyer, each);
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
    .filter(() => !isLost(next()))
    .map((event) => ({ event, at: next() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ event }) => event);
  for (let i = 0; i < shuffled.length; i += atOnce) {
    const batch = shuffled.slice(i, i + atOnce);
    await Promise.all(batch.map(async (event) => event && handleStripeEvent(till.deps, event)));
  }
  return buyer;
}

async function play(till: Till, buyer: Buyer, { cents, refunds, disputes, late }: Story): Promise<void> {
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
  const pending: (() => void)[] = [];
  const refund = (each: Refund): void => {
    const { id } = till.stripe.refund(intentId, each.cents, each.begin);
    if (each.soon) endRefund(till, id, each.end);
    else pending.push(() => endRefund(till, id, each.end));
  };
  const [first, ...rest] = possibleRefunds({ cents, refunds });
  if (first) refund(first);
  for (const dispute of disputes) {
    const opened = till.stripe.openDispute(intentId, Math.min(cents, dispute.cents));
    if (dispute.end !== 'open') till.stripe.closeDispute(opened.id, dispute.end);
  }
  for (const each of rest) refund(each);
  for (const end of pending) end();
}

function endRefund(till: Till, id: string, end: RefundEnd): void {
  if (end === 'none') return;
  if (end === 'succeeded, then failed') {
    till.stripe.endRefund(id, 'succeeded');
    till.stripe.endRefund(id, 'failed');
  } else {
    till.stripe.endRefund(id, end);
  }
}

/** What may be refunded at all: never more than the card has not got back already. */
function possibleRefunds({ cents, refunds }: Pick<Story, 'cents' | 'refunds'>): Refund[] {
  let left = cents;
  return refunds.flatMap((refund) => {
    const amount = Math.min(refund.cents, left);
    if (amount === 0) return [];
    if (!(refund.soon && comesBack(refund))) left -= amount;
    return [{ ...refund, cents: amount }];
  });
}

function comesBack({ end }: Refund): boolean {
  return end === 'failed' || end === 'canceled' || end === 'succeeded, then failed';
}

/** What the books must say in the end, whatever came first. */
function expectedMoney(stories: readonly Story[], spent: number): Money {
  const has = stories.reduce((sum, { cents }) => sum + cents, 0) - spent;
  const lots = stories.map(({ cents, refunds, disputes }) => {
    const refunded = possibleRefunds({ cents, refunds })
      .filter((refund) => !comesBack(refund))
      .reduce((sum, each) => sum + each.cents, 0);
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
