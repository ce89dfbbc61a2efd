import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { compareTopUps } from '../../src/billing/compare-top-ups.ts';
import type { BillingDeps } from '../../src/billing/deps.ts';
import { reconcileTopUps } from '../../src/billing/reconcile-top-ups.ts';
import { startTopUp } from '../../src/billing/start-top-up.ts';
import { handleStripeEvent } from '../../src/billing/stripe-events.ts';
import type { TopUp } from '../../src/billing/top-ups.ts';
import { openTill, type Buyer, type Till } from './till.ts';

let till: Till;
before(async () => {
  till = await openTill();
});
after(() => till.close());

const HOUR_MS = 3_600_000;
const SESSIONS = /^POST \/v1\/checkout\/sessions$/;

async function onlyTopUp(buyer: Buyer): Promise<TopUp> {
  const { rows } = await till.database.pool.query<{ id: string }>(
    'SELECT id FROM top_ups WHERE account_id = $1',
    [buyer.accountId],
  );
  assert.equal(rows.length, 1);
  return till.read({ id: rows[0]?.id ?? '' } as TopUp);
}

/** The one page Stripe has for this load. */
function pageOf(topUp: TopUp): string {
  const id = `top_${topUp.id.replaceAll('-', '')}`;
  const pages = till.stripe.all('checkout.session').filter((each) => each['client_reference_id'] === id);
  assert.equal(pages.length, 1);
  return pages[0]?.id ?? '';
}

test('Stripe is away: the load stays open, and the same key goes on with it', async () => {
  const buyer = await till.newBuyer();
  const idempotencyKey = 'key-while-stripe-is-away';
  till.stripe.fail({ on: SESSIONS, kind: 'down', times: 3 });
  await assert.rejects(till.load(buyer, 500, { idempotencyKey }), { code: 'STRIPE_FAILED' });
  assert.equal((await onlyTopUp(buyer)).status, 'open');
  const topUp = await till.load(buyer, 500, { idempotencyKey });
  assert.equal(topUp.id, (await onlyTopUp(buyer)).id);
  till.stripe.pay(pageOf(topUp));
  await till.deliverAll();
  assert.equal((await till.money(buyer)).balance, 500);
});

test('Stripe made the page and its answer was lost: asking again finds the same page', async () => {
  const buyer = await till.newBuyer();
  const idempotencyKey = 'key-whose-answer-was-lost';
  till.stripe.fail({ on: SESSIONS, kind: 'lost', times: 3 });
  await assert.rejects(till.load(buyer, 500, { idempotencyKey }), { code: 'STRIPE_FAILED' });
  const topUp = await till.load(buyer, 500, { idempotencyKey });
  assert.equal(topUp.sessionId, pageOf(topUp));
});

for (const kind of ['lost', 'failed'] as const) {
  test(`the page's address was ${kind} and never asked for again: paid all the same, it is granted, webhook or not`, async () => {
    for (const isHeard of [true, false]) {
      const buyer = await till.newBuyer();
      till.stripe.fail({ on: SESSIONS, kind, times: 3 });
      await assert.rejects(till.load(buyer, 500), { code: 'STRIPE_FAILED' });
      const topUp = await onlyTopUp(buyer);
      assert.equal(topUp.sessionId, null);
      till.stripe.pay(pageOf(topUp));
      if (isHeard) await till.deliverAll();
      else await reconcileTopUps(till.deps);
      assert.equal((await till.money(buyer)).balance, 500);
      await till.deliverAll();
      assert.deepEqual(await till.faults(buyer), []);
    }
  });
}

test('Stripe refuses to make a page: the load has failed, and the client hears nothing of Stripe itself', async () => {
  const buyer = await till.newBuyer();
  const { stripe } = till.deps;
  assert.ok(stripe);
  // The page would expire later than Stripe allows.
  const wish = { ...buyer, amountCents: 500n, savesCard: false, idempotencyKey: undefined };
  till.stripeClock.behindMs = 9 * HOUR_MS;
  await assert.rejects(startTopUp(till.deps, wish), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'STRIPE_FAILED');
    assert.doesNotMatch(error.message, /expires_at/);
    return true;
  });
  till.stripeClock.behindMs = 0;
  assert.equal((await onlyTopUp(buyer)).status, 'failed');
});

test('a payment whose webhook never came is found, and the webhook that comes after all grants nothing more', async () => {
  const buyer = await till.newBuyer();
  const { topUp } = await till.paidLoad(buyer, 500);
  await reconcileTopUps(till.deps);
  const found = await till.read(topUp);
  assert.equal(found.status, 'paid');
  assert.match(found.receiptUrl ?? '', /receipts/);
  assert.match(found.invoiceUrl ?? '', /\/i\/in_/);
  await till.deliverAll();
  await reconcileTopUps(till.deps);
  assert.equal((await till.money(buyer)).balance, 500);
  assert.deepEqual(await till.faults(buyer), []);
});

test('a webhook and the reconciliation of the same payment at the same moment grant it once', async () => {
  const buyer = await till.newBuyer();
  await till.paidLoad(buyer, 500);
  const events = till.takeEvents();
  await Promise.all([
    reconcileTopUps(till.deps),
    reconcileTopUps(till.openDeps()),
    ...events.map((event) => handleStripeEvent(till.deps, event)),
  ]);
  assert.equal((await till.money(buyer)).balance, 500);
  assert.deepEqual(await till.faults(buyer), []);
});

test('a refund and a dispute whose webhooks never came are found', async () => {
  const buyer = await till.newBuyer();
  const [refunded, disputed] = [await till.paidLoad(buyer, 500), await till.paidLoad(buyer, 600)];
  await till.deliverAll();
  till.stripe.refund(refunded.intentId, 200);
  const dispute = till.stripe.openDispute(disputed.intentId);
  till.takeEvents();
  await reconcileTopUps(till.deps);
  assert.deepEqual(await till.money(buyer), { balance: 300, frozen: 600, reversed: 200, owed: 0 });
  till.stripe.closeDispute(dispute.id, 'lost');
  till.takeEvents();
  await reconcileTopUps(till.deps);
  assert.deepEqual(await till.money(buyer), { balance: 300, frozen: 0, reversed: 800, owed: 0 });
});

test('a second dispute whose webhook never came is found, and so is how each of both ended', async () => {
  const buyer = await till.newBuyer();
  const { intentId } = await till.paidLoad(buyer, 1_000);
  const first = till.stripe.openDispute(intentId, 400);
  till.stripe.closeDispute(first.id, 'lost');
  await till.deliverAll();
  const second = till.stripe.openDispute(intentId, 300);
  till.takeEvents();
  await reconcileTopUps(till.deps);
  assert.deepEqual(await till.money(buyer), { balance: 300, frozen: 300, reversed: 400, owed: 0 });
  till.stripe.closeDispute(second.id, 'lost');
  till.takeEvents();
  await reconcileTopUps(till.deps);
  assert.deepEqual(await till.money(buyer), { balance: 300, frozen: 0, reversed: 700, owed: 0 });
});

test('what nobody paid is waited for 24 hours, then closed at Stripe too', async () => {
  const buyer = await till.newBuyer();
  const paged = await till.load(buyer, 500);
  const sessionId = paged.sessionId ?? '';
  await till.clock.later(24 * HOUR_MS - 1);
  await reconcileTopUps(till.deps);
  assert.equal((await till.read(paged)).status, 'open');
  await till.clock.later(1);
  await reconcileTopUps(till.deps);
  assert.equal((await till.read(paged)).status, 'abandoned');
  assert.equal(till.stripe.get(sessionId)['status'], 'expired');
  assert.throws(() => till.stripe.pay(sessionId));

  // A payment that takes days is still under way then.
  const late = await till.load(buyer, 500);
  till.stripe.pay(late.sessionId ?? '', 'processing');
  await till.clock.later(30 * HOUR_MS);
  await reconcileTopUps(till.deps);
  assert.equal((await till.read(late)).status, 'open');
});

test('a payment Stripe cannot be asked about does not keep the others waiting', async () => {
  const buyer = await till.newBuyer();
  const [first, second] = [await till.paidLoad(buyer, 500), await till.paidLoad(buyer, 600)];
  till.stripe.fail({ on: new RegExp(`GET .*/${first.topUp.sessionId}$`), kind: 'down', times: 3 });
  await reconcileTopUps(till.deps);
  assert.equal((await till.read(first.topUp)).status, 'open');
  assert.equal((await till.read(second.topUp)).status, 'paid');
  assert.ok(till.lines.includes('error: a payment could not be reconciled'));
  till.takeEvents();
});

test('killed between any two steps of writing an event down: nothing has happened, and the next time it does', async () => {
  const buyer = await till.newBuyer();
  const { intentId } = await till.paidLoad(buyer, 500);
  const refunded = await till.paidLoad(buyer, 400);
  const refund = till.stripe.refund(refunded.intentId);
  await till.deliverAll();
  await till.spend(buyer, 200);
  till.stripe.openDispute(intentId);
  const { topUp } = await till.paidLoad(buyer, 700);
  const events = till.takeEvents();
  const [dispute, , ...payment] = events;
  till.stripe.endRefund(refund.id, 'failed');
  till.stripe.refund(refunded.intentId, 150);
  const [failure, , , refundedAgain] = till.takeEvents();
  const wanted = [
    { event: dispute, before: { balance: 300, frozen: 0 }, after: { balance: 0, frozen: 300 } },
    // The freeze of the first lot reaches into the second.
    { event: payment[0], before: { balance: 0, frozen: 300 }, after: { balance: 500, frozen: 500 } },
    { event: failure, before: { balance: 500, frozen: 500 }, after: { balance: 900, frozen: 500 } },
    { event: refundedAgain, before: { balance: 900, frozen: 500 }, after: { balance: 750, frozen: 500 } },
  ];
  for (const { event, before, after } of wanted) {
    assert.ok(event);
    let steps = 0;
    for (let step = 1; step <= 60 && steps === 0; step += 1) {
      try {
        await handleStripeEvent(breakAt(till.deps, step), event);
        steps = step;
      } catch (error) {
        assert.match(String(error), /killed/);
        const { balance, frozen } = await till.money(buyer);
        assert.deepEqual({ balance, frozen }, before);
        assert.deepEqual(await till.faults(buyer), []);
      }
    }
    assert.ok(steps > 8, `only ${steps} steps`);
    const { balance, frozen } = await till.money(buyer);
    assert.deepEqual({ balance, frozen }, after);
  }
  assert.equal((await till.read(topUp)).status, 'paid');
  assert.deepEqual(await till.faults(buyer), []);
});

/** Billing whose process is killed before the n-th statement of its transaction. */
function breakAt(deps: BillingDeps, step: number): BillingDeps {
  const db = Object.create(deps.db) as BillingDeps['db'];
  db.transaction = (work) =>
    deps.db.transaction((tx) => {
      let done = 0;
      const dying = new Proxy(tx, {
        get: (target, member) => {
          const value: unknown = Reflect.get(target, member);
          if (!['select', 'insert', 'update', 'execute'].includes(String(member))) return value;
          done += 1;
          if (done === step) throw new Error('killed');
          return (value as (...given: unknown[]) => unknown).bind(target);
        },
      });
      return work(dying);
    });
  return { ...deps, db };
}

test('healthy books compare equal with Stripe; each kind of difference is named, and of which top-up', async () => {
  const own = await openTill();
  try {
    const buyer = await own.newBuyer();
    const paid = await own.paidLoad(buyer, 1_000);
    const disputed = await own.paidLoad(buyer, 800);
    await own.load(buyer, 500);
    const refund = own.stripe.refund(paid.intentId, 100);
    const failed = own.stripe.refund(paid.intentId, 300);
    own.stripe.endRefund(failed.id, 'failed');
    own.stripe.closeDispute(own.stripe.openDispute(disputed.intentId, 200).id, 'lost');
    own.stripe.openDispute(disputed.intentId, 300);
    await own.deliverAll();
    assert.deepEqual(await compareTopUps(own.deps), []);

    const id = `top_${paid.topUp.id.replaceAll('-', '')}`;
    const seen = async (sql: string): Promise<[string, string, string, string][]> => {
      const client = await own.database.pool.connect();
      try {
        await client.query('BEGIN');
        await client.query(sql.replaceAll('$1', `'${paid.topUp.id}'`));
        await client.query('COMMIT');
      } finally {
        client.release();
      }
      return (await compareTopUps(own.deps)).map(({ what, id, expected, found }) => [
        what,
        id,
        expected,
        found,
      ]);
    };
    assert.deepEqual(
      await seen('UPDATE top_ups SET refunded_cents = 350, reversed_micros = 50000000 WHERE id = $1'),
      [
        ['top-up: cents refunded', id, '100', '50'],
        ['top-up: credits taken back', id, '50', '100'],
      ],
    );
    await seen('UPDATE top_ups SET refunded_cents = 400, reversed_micros = 100000000 WHERE id = $1');
    assert.deepEqual(await seen('UPDATE top_ups SET failed_refund_cents = 200 WHERE id = $1'), [
      ['top-up: cents refunded', id, '100', '200'],
      ['top-up: cents of failed refunds', id, '300', '200'],
      ['top-up: credits to take back', id, '200', '100'],
    ]);
    await seen('UPDATE top_ups SET failed_refund_cents = 300 WHERE id = $1');
    const planted = async (sql: string): Promise<[string, string, string, string][]> => {
      const found = await seen(sql);
      await seen(`DELETE FROM card_refunds;
        INSERT INTO card_refunds VALUES ('${refund.id}', $1, 'succeeded', 100), ('${failed.id}', $1, 'failed', 300)`);
      return found;
    };
    assert.deepEqual(
      await planted(`UPDATE card_refunds SET state = 'failed' WHERE refund_id = '${refund.id}'`),
      [
        ['top-up: card refund', id, `${refund.id} succeeded 100`, `${refund.id} failed 100`],
        ['top-up: cents of failed refunds', id, '400', '300'],
      ],
    );
    assert.deepEqual(await planted(`UPDATE card_refunds SET cents = 99 WHERE refund_id = '${refund.id}'`), [
      ['top-up: card refund', id, `${refund.id} succeeded 100`, `${refund.id} succeeded 99`],
    ]);
    assert.deepEqual(await planted(`DELETE FROM card_refunds WHERE refund_id = '${failed.id}'`), [
      ['top-up: card refund', id, `${failed.id} failed 300`, `${failed.id} is not known`],
      ['top-up: cents of failed refunds', id, '0', '300'],
    ]);
    assert.deepEqual(await planted(`INSERT INTO card_refunds VALUES ('re_x', $1, 'pending', 5)`), [
      ['top-up: card refund', id, 're_x is not of its payment at Stripe', 're_x pending 5'],
    ]);
    const elsewhere = `top_${disputed.topUp.id.replaceAll('-', '')}`;
    assert.deepEqual(
      await planted(
        `UPDATE card_refunds SET top_up_id = '${disputed.topUp.id}' WHERE refund_id = '${refund.id}'`,
      ),
      [
        ['top-up: card refund', id, `${refund.id} succeeded 100`, `${refund.id} is not known`],
        [
          'top-up: card refund',
          elsewhere,
          `${refund.id} is not of its payment at Stripe`,
          `${refund.id} succeeded 100`,
        ],
      ],
    );
    assert.deepEqual(await seen(`UPDATE top_ups SET card_dispute = 'won' WHERE id = $1`), [
      ['top-up: card dispute', id, 'none', 'won'],
    ]);
    assert.deepEqual(
      await seen(
        `UPDATE top_ups SET card_dispute = 'none', card_dispute_cents = 7, lost_cents = 8 WHERE id = $1`,
      ),
      [
        ['top-up: cents in card disputes', id, '0', '7'],
        ['top-up: cents lost to card disputes', id, '0', '8'],
        ['top-up: credits to take back', id, '108', '100'],
      ],
    );
    await seen('UPDATE top_ups SET card_dispute_cents = 0, lost_cents = 0 WHERE id = $1');
    assert.deepEqual(
      await seen(
        `UPDATE top_ups SET status = 'open', refunded_cents = 300, reversed_micros = 0 WHERE id = $1`,
      ),
      [
        ['top-up against Stripe', id, 'paid 1000 usd', 'open at 1000 usd'],
        ['top-up: credits loaded', id, '0', '1000'],
        ['top-up: credits taken back', id, '0', '100'],
      ],
    );
    const [gone] = await seen(
      'DELETE FROM card_refunds WHERE top_up_id = $1; DELETE FROM top_ups WHERE id = $1',
    );
    assert.deepEqual(gone, ['top-up', id, 'no payment at Stripe names it', `${paid.intentId} paid 1000 usd`]);
  } finally {
    await own.close();
  }
});
