import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import { Problem } from '../../src/base/problem.ts';
import type { AccountFacts } from '../../src/billing/ask-for-account.ts';
import { getEarnings } from '../../src/billing/earnings.ts';
import {
  getCurrentPayoutAccount,
  getPayoutAccount,
  openOnboarding,
  refreshPayoutAccount,
  savePayoutSchedule,
  type Payee,
} from '../../src/billing/payout-accounts.ts';
import { resumePayouts, runScheduledPayouts } from '../../src/billing/payout-jobs.ts';
import { getPayout } from '../../src/billing/payouts.ts';
import { recordAccount } from '../../src/billing/record-account.ts';
import { reconcilePayouts } from '../../src/billing/reconcile-payouts.ts';
import { handleStripeEvent } from '../../src/billing/stripe-events.ts';
import { openPayees, type Payees } from './payees.ts';
import { CREDIT } from './sales.ts';

let payees: Payees;
before(async () => {
  payees = await openPayees();
});
after(() => payees.close());
beforeEach(() => payees.clock.reset());

async function available(payee: Payee): Promise<bigint> {
  return (await getEarnings(payees.database.db, payee.organizationId, payee.currency)).availableMicros;
}

/** Why the seller was told that its account changed, since it was connected and ready. */
async function toldOf(payee: Payee): Promise<unknown[]> {
  const events = await payees.eventsOf(payee.organizationId);
  const reasons = events
    .filter(({ type }) => type === 'payout_account.changed')
    .map(({ data }) => data['reason']);
  assert.equal(reasons[0], null, 'it was told to be ready first');
  return reasons.slice(1);
}

function lastEvent() {
  const event = payees.stripe.events.at(-1);
  assert.ok(event);
  return event;
}

/** The seller connects an account, fills in the forms of it, and Stripe pays it. */
async function connect(payee: Payee): Promise<string> {
  await openOnboarding(payees.deps, payee);
  const { stripeAccountId } = await getPayoutAccount(payees.database.db, payee);
  assert.ok(stripeAccountId);
  payees.stripe.completeOnboarding(stripeAccountId);
  await refreshPayoutAccount(payees.deps, stripeAccountId);
  return stripeAccountId;
}

function accountsOf(payee: Payee): string[] {
  return payees.stripe
    .all('account')
    .filter(
      ({ metadata }) => (metadata as { organization_id: string }).organization_id === payee.organizationId,
    )
    .map(({ id }) => id);
}

function refused(words: RegExp) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof Problem, String(error));
    assert.equal(error.code, 'CONFLICT');
    assert.match(error.message, words);
    return true;
  };
}

const ENDS: [what: string, reason: string, lose: (accountId: string) => Promise<unknown>][] = [
  [
    'was disconnected, as Stripe tells',
    'account.deauthorized',
    (id) => {
      payees.stripe.deauthorize(id);
      return handleStripeEvent(payees.deps, lastEvent());
    },
  ],
  [
    'was disconnected, and is still shown by Stripe for a moment',
    'account.deauthorized',
    async (id) => {
      payees.stripe.deauthorize(id);
      payees.stripe.loseAccount(id, undefined);
      await handleStripeEvent(payees.deps, lastEvent());
      await refreshPayoutAccount(payees.deps, id);
    },
  ],
  ...([403, 400, 404, 'deleted'] as const).map((gone): (typeof ENDS)[number] => [
    `is ${gone} at Stripe`,
    gone === 'deleted' ? 'account.deleted' : 'account.unknown',
    (id) => {
      payees.stripe.loseAccount(id, gone);
      return refreshPayoutAccount(payees.deps, id);
    },
  ]),
];

for (const [what, reason, lose] of ENDS) {
  test(`an account that ${what} is not ready, its payouts are paused, and another one can be connected`, async () => {
    const payee = await payees.newPayee(2_000n);
    await payees.clock.at(Date.parse('2026-11-18T10:00:00Z'), () =>
      savePayoutSchedule(payees.deps, payee, { schedule: 'daily', minimumMicros: CREDIT }),
    );
    await lose(payee.accountId);

    const account = await getCurrentPayoutAccount(payees.deps, payee);
    assert.deepEqual([account.isReady, account.disabledReason], [false, reason]);
    assert.equal(account.standing.stored, 'gone');
    assert.match(account.standing.next ?? '', /POST \/v1\/billing\/payouts\/account/);
    await assert.rejects(payees.pay(payee), refused(/credits are kept.*Connect a new account/));
    await payees.clock.at(Date.parse('2026-11-19T10:00:00Z'), () => runScheduledPayouts(payees.deps));
    assert.deepEqual(await payees.payoutsOf(payee), []);
    assert.equal(await available(payee), 2_000n * CREDIT);
    assert.deepEqual(await toldOf(payee), [reason]);

    const next = await connect(payee);
    assert.notEqual(next, payee.accountId);
    assert.equal((await payees.pay(payee)).status, 'paid');
    assert.deepEqual(
      payees.transfersTo(payee).map(({ destination }) => destination),
      [next],
    );
    // What comes late about the old one changes nothing about the new one.
    payees.stripe.deauthorize(payee.accountId);
    assert.equal(await handleStripeEvent(payees.deps, lastEvent()), 'ignored');
    assert.equal((await getPayoutAccount(payees.database.db, payee)).isReady, true);
    await savePayoutSchedule(payees.deps, payee, { schedule: 'manual', minimumMicros: CREDIT });
  });
}

for (const gone of [403, 400, 404, 'deleted'] as const) {
  test(`a transfer that is refused because the account is gone (${gone}) fails, and the account is not ready`, async () => {
    const payee = await payees.newPayee(50n);
    payees.stripe.loseAccount(payee.accountId, gone);
    const payout = await payees.pay(payee);
    assert.deepEqual([payout.status, payout.returnedMicros], ['failed', 50n * CREDIT]);
    assert.match(payout.failure ?? '', /credits are kept.*Connect a new account/);
    assert.equal(await available(payee), 50n * CREDIT);
    const account = await getPayoutAccount(payees.database.db, payee);
    assert.deepEqual([account.isReady, account.standing.stored], [false, 'gone']);
    assert.equal((await toldOf(payee)).length, 1);
    await assert.rejects(payees.pay(payee), refused(/Connect a new account/));
    assert.deepEqual((await payees.books(payee.parties)).faults, []);
  });
}

test('a transfer that is refused shows what Stripe wants of the account', async () => {
  const payee = await payees.newPayee(50n);
  payees.stripe.requireMore(payee.accountId, ['individual.id_number']);
  assert.equal((await payees.pay(payee)).status, 'failed');
  const account = await getPayoutAccount(payees.database.db, payee);
  assert.deepEqual(
    [account.isReady, account.disabledReason, account.requirements],
    [false, 'requirements.past_due', ['individual.id_number']],
  );
  assert.deepEqual(await toldOf(payee), ['requirements.past_due']);
});

test('a payout that waits while its seller connects another account is not sent there, and its credits come back', async () => {
  const payee = await payees.newPayee(50n);
  payees.stripe.fail({ on: /POST \/v1\/transfers/, kind: 'down' });
  const { id } = await payees.pay(payee);
  payees.stripe.deauthorize(payee.accountId);
  await handleStripeEvent(payees.deps, lastEvent());
  const next = await connect(payee);
  assert.equal(await available(payee), 0n);

  await resumePayouts(payees.deps);
  const ended = await getPayout(payees.database.db, payee, id);
  assert.equal(ended.status, 'failed');
  assert.match(ended.failure ?? '', /replaced by another one/);
  assert.equal(await available(payee), 50n * CREDIT);
  assert.equal((await getPayoutAccount(payees.database.db, payee)).isReady, true);
  assert.equal((await payees.pay(payee)).status, 'paid');
  assert.deepEqual(
    payees.transfersTo(payee).map(({ destination }) => destination),
    [next],
  );
  assert.deepEqual((await payees.books(payee.parties)).faults, []);
});

test('a transfer that was made before the account was disconnected is paid, and paid once', async () => {
  const payee = await payees.newPayee(50n);
  payees.stripe.fail({ on: /POST \/v1\/transfers/, kind: 'lost', times: 2 });
  const { id } = await payees.pay(payee);
  payees.stripe.deauthorize(payee.accountId);
  await handleStripeEvent(payees.deps, lastEvent());
  await connect(payee);
  await resumePayouts(payees.deps);
  assert.equal((await getPayout(payees.database.db, payee, id)).status, 'paid');
  assert.equal(payees.transfersTo(payee).length, 1);
  assert.equal(await available(payee), 0n);
});

test('an account that is disconnected while Stripe is asked for the transfer ends with each credit in one place', async () => {
  for (const isMade of [true, false]) {
    const payee = await payees.newPayee(50n);
    if (!isMade) payees.stripe.loseAccount(payee.accountId, 403);
    const held = payees.stripe.hold(/POST \/v1\/transfers/);
    const paying = payees.pay(payee);
    await held.arrived;
    payees.stripe.deauthorize(payee.accountId);
    await handleStripeEvent(payees.deps, lastEvent());
    held.release();
    assert.equal((await paying).status, isMade ? 'paid' : 'failed');
    assert.equal(await available(payee), isMade ? 0n : 50n * CREDIT);
    assert.deepEqual(await toldOf(payee), ['account.deauthorized']);
    assert.deepEqual((await payees.books(payee.parties)).faults, []);
  }
});

test('in whatever order and however often events of an account come, once it was disconnected it stays so', async () => {
  const payee = await payees.newPayee(0n);
  payees.stripe.requireMore(payee.accountId, ['external_account']);
  payees.stripe.completeOnboarding(payee.accountId);
  payees.stripe.deauthorize(payee.accountId);
  const events = payees.stripe.events.filter(({ account }) => account === payee.accountId);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(events.length - 1), { maxLength: 5 }),
      fc.boolean(),
      async (order, isShown) => {
        const other = await payees.newPayee(0n);
        payees.stripe.loseAccount(other.accountId, isShown ? undefined : 403);
        const shuffled = [...order, events.length - 1, ...order.toReversed()].map((n) => events[n]);
        const named = shuffled.map((event) => ({
          ...structuredClone(event),
          id: `${event?.id}_${other.accountId}`,
          account: other.accountId,
          data: { object: { ...event?.data.object, id: other.accountId } },
        }));
        for (let i = 0; i < named.length; i += 2) {
          await Promise.all(
            named.slice(i, i + 2).map((event) => handleStripeEvent(payees.deps, event as never)),
          );
        }
        const account = await getCurrentPayoutAccount(payees.deps, other);
        assert.deepEqual([account.isReady, account.disabledReason], [false, 'account.deauthorized']);
        assert.equal((await toldOf(other)).filter((reason) => reason === 'account.deauthorized').length, 1);
      },
    ),
    { numRuns: 25 },
  );
});

test('a thin event about an account has it read again, once', async () => {
  const payee = await payees.newPayee(10n);
  payees.stripe.requireMore(payee.accountId, ['external_account']);
  const event = {
    id: `evt_thin_${payee.accountId}`,
    object: 'v2.core.event' as const,
    type: 'v2.core.account[requirements].updated',
    livemode: false,
    related_object: { id: payee.accountId, type: 'v2.core.account' },
  };
  assert.equal(await handleStripeEvent(payees.deps, event), 'recorded');
  assert.equal(await handleStripeEvent(payees.deps, event), 'repeated');
  assert.deepEqual(await toldOf(payee), ['requirements.past_due']);
});

test('a bank that refuses what an account pays it has the account read again', async () => {
  const payee = await payees.newPayee(10n);
  payees.stripe.requireMore(payee.accountId, ['external_account']);
  const failed = { id: `po_${payee.accountId}`, object: 'payout', status: 'failed' };
  const event = { ...lastEvent(), id: `evt_${failed.id}`, type: 'payout.failed', data: { object: failed } };
  const ofAnother = { ...event, account: undefined, id: 'evt_of_the_operator' };
  assert.equal(await handleStripeEvent(payees.deps, ofAnother as never), 'ignored');
  assert.equal(await handleStripeEvent(payees.deps, event as never), 'recorded');
  const account = await getPayoutAccount(payees.database.db, payee);
  assert.deepEqual([account.isReady, account.requirements], [false, ['external_account']]);
});

test('a key that may not look at accounts, and a Stripe that is down, say nothing of an account', async () => {
  const payee = await payees.newPayee(10n);
  payees.stripe.fail({ on: /GET \/v1\/accounts/, kind: 'forbidden', times: 2 });
  await assert.rejects(refreshPayoutAccount(payees.deps, payee.accountId));
  payees.stripe.fail({ on: /GET \/v1\/accounts/, kind: 'down' });
  await assert.rejects(refreshPayoutAccount(payees.deps, payee.accountId));
  assert.equal((await getPayoutAccount(payees.database.db, payee)).isReady, true);
  assert.deepEqual(await toldOf(payee), []);

  // Of one account alone a 403 says that this one is gone.
  payees.stripe.fail({ on: /GET \/v1\/accounts\/acct_/, kind: 'forbidden' });
  await refreshPayoutAccount(payees.deps, payee.accountId);
  assert.deepEqual(await toldOf(payee), ['account.unknown']);
});

test('an account that Stripe shows again is ready again, and no second one is made', async () => {
  const payee = await payees.newPayee(10n);
  payees.stripe.loseAccount(payee.accountId, 404);
  await refreshPayoutAccount(payees.deps, payee.accountId);
  payees.stripe.loseAccount(payee.accountId, undefined);
  await openOnboarding(payees.deps, payee);
  assert.deepEqual(accountsOf(payee), [payee.accountId]);
  assert.equal((await payees.pay(payee)).status, 'paid');
  assert.deepEqual(await toldOf(payee), ['account.unknown', null]);
});

test('however many ask at the same moment, one account takes the place of one that is gone', async () => {
  const payee = await payees.newPayee(10n);
  // Nobody has heard of it yet.
  payees.stripe.loseAccount(payee.accountId, 403);
  const links = await Promise.all(Array.from({ length: 6 }, () => openOnboarding(payees.deps, payee)));
  assert.ok(links.every(({ url }) => URL.canParse(url)));
  assert.equal(accountsOf(payee).length, 2);
  const second = await getPayoutAccount(payees.database.db, payee);
  assert.deepEqual(
    [second.stripeAccountId, second.isReady, second.goneAt],
    [accountsOf(payee)[1], false, undefined],
  );
  payees.stripe.loseAccount(accountsOf(payee)[1] ?? '', 404);
  await connect(payee);
  assert.equal(accountsOf(payee).length, 3);
});

test('an account whose disconnection was never told is found, and one that cannot be asked about keeps no other waiting', async () => {
  const [first, second, third] = [await payees.newPayee(), await payees.newPayee(), await payees.newPayee()];
  for (const { accountId } of [first, second, third]) payees.stripe.loseAccount(accountId, 403);
  const pool = payees.database.pool;
  const age = (ids: string[]) =>
    pool.query(
      `UPDATE payout_accounts SET checked_at = clock_timestamp() - CASE WHEN stripe_account_id = ANY ($1) THEN interval '2 days' ELSE '0' END`,
      [ids],
    );
  await age([first.accountId, second.accountId]);
  payees.stripe.fail({ on: new RegExp(`GET /v1/accounts/${first.accountId}`), kind: 'down' });
  await reconcilePayouts(payees.deps);
  const ready = async () =>
    Promise.all(
      [first, second, third].map(
        async (payee) => (await getPayoutAccount(payees.database.db, payee)).isReady,
      ),
    );
  assert.deepEqual(await ready(), [true, false, true], 'the third was asked about today');
  await reconcilePayouts(payees.deps);
  assert.deepEqual(await ready(), [false, false, true]);
});

test('a state of an account that Stripe adds is kept and shown as it is', async () => {
  const payee = await payees.newPayee(10n);
  payees.stripe.requireMore(payee.accountId, [], 'paused.by_the_moon');
  assert.equal(await handleStripeEvent(payees.deps, lastEvent()), 'recorded');
  const account = await getPayoutAccount(payees.database.db, payee);
  assert.deepEqual(
    [account.isReady, account.disabledReason, account.standing.stored],
    [false, 'paused.by_the_moon', 'restricted'],
  );
  assert.match(account.standing.shown, /paused\.by_the_moon/);
  await assert.rejects(payees.pay(payee), refused(/paused\.by_the_moon/));
});

test('an account that Stripe has rejected is not replaced by another one', async () => {
  const payee = await payees.newPayee(10n);
  payees.stripe.requireMore(payee.accountId, [], 'rejected.fraud');
  await assert.rejects(openOnboarding(payees.deps, payee), refused(/rejected\.fraud/));
  assert.equal(accountsOf(payee).length, 1);
});

/** What Stripe answered somebody who asked so many milliseconds ago. */
function recordAnswer(payee: { accountId: string }, facts: AccountFacts, agoMs: number): Promise<boolean> {
  const askedAt = new Date(Date.now() - agoMs).toISOString();
  return payees.database.db.transaction((tx) => recordAccount(tx, payee.accountId, facts, askedAt));
}

test('an answer of Stripe that was overtaken by a newer one does not take its place', async () => {
  const payee = await payees.newPayee(10n);
  const old: AccountFacts = { kind: 'not ready', reason: 'requirements.past_due', requirements: [] };
  assert.equal(await recordAnswer(payee, old, 60_000), true);
  assert.equal((await getPayoutAccount(payees.database.db, payee)).isReady, true);
  assert.deepEqual(await toldOf(payee), []);
});

test('an answer of Stripe from when an account was being disconnected does not bring it back', async () => {
  const payee = await payees.newPayee(10n);
  payees.stripe.deauthorize(payee.accountId);
  await handleStripeEvent(payees.deps, lastEvent());
  assert.equal(await recordAnswer(payee, { kind: 'ready', requirements: [] }, -60_000), true);
  assert.equal((await getPayoutAccount(payees.database.db, payee)).isReady, false);
  assert.deepEqual(await toldOf(payee), ['account.deauthorized']);
});
