import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import type { Stripe } from 'stripe';
import { Problem } from '../../src/base/problem.ts';
import { comparePayouts } from '../../src/billing/compare-payouts.ts';
import type { BillingDeps } from '../../src/billing/deps.ts';
import { getEarnings } from '../../src/billing/earnings.ts';
import {
  getCurrentPayoutAccount,
  openOnboarding,
  savePayoutSchedule,
  type Payee,
} from '../../src/billing/payout-accounts.ts';
import { recordPayoutEvent } from '../../src/billing/payout-events.ts';
import { periodOf, resumePayouts, runScheduledPayouts } from '../../src/billing/payout-jobs.ts';
import { findPayable, getPayout, openPayout } from '../../src/billing/payouts.ts';
import { claimPayout, CLAIM_MS, sendPayout } from '../../src/billing/send-payout.ts';
import { reconcilePayouts } from '../../src/billing/reconcile-payouts.ts';
import { openAccount } from '../../src/ledger/accounts.ts';
import { CREDIT } from './sales.ts';
import { openPayees, type Payees } from './payees.ts';

let payees: Payees;
before(async () => {
  payees = await openPayees();
});
after(() => payees.close());
beforeEach(async () => {
  await payees.clock.reset();
  payees.stripe.setPlatformCents(undefined);
});

const KEY = 'payout-of-november';
const DAY_MS = 24 * 3_600_000;

/** A refusal by its code and, where that matters, its words. */
function refused(code: string, words?: RegExp) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof Problem, String(error));
    assert.equal(error.code, code);
    if (words) assert.match(error.message, words);
    return true;
  };
}

async function available(payee: Payee): Promise<bigint> {
  return (await getEarnings(payees.database.db, payee.organizationId, payee.currency)).availableMicros;
}

async function told(payee: Payee): Promise<string[]> {
  const events = await payees.eventsOf(payee.organizationId);
  return events.map(({ type }) => type).filter((type) => type.startsWith('payout.'));
}

async function tell(type: string, object: object, deps: BillingDeps = payees.deps) {
  return recordPayoutEvent(deps, newEvent(type, object));
}

let numbered = 0;
function newEvent(type: string, object: object): Stripe.Event {
  numbered += 1;
  return {
    id: `evt_${numbered}`,
    type,
    data: { object: structuredClone(object) },
  } as unknown as Stripe.Event;
}

test('a payout takes whole cents from what is available and sends them to the seller once', async () => {
  const payee = await payees.newPayee(100n);
  await payees.sell(payee.parties, { amountMicros: 500_000n, feeMicros: 0n });
  await payees.release();
  assert.equal(await available(payee), 100_500_000n);

  const payout = await payees.pay(payee);
  assert.deepEqual([payout.status, payout.amountMicros], ['paid', 100n * CREDIT]);
  assert.equal(await available(payee), 500_000n);
  const [transfer, ...others] = payees.transfersTo(payee);
  assert.equal(others.length, 0);
  assert.deepEqual(
    [transfer?.id, transfer?.['amount'], transfer?.['currency'], transfer?.['destination']],
    [payout.transferId, 100, 'usd', payee.accountId],
  );
  assert.deepEqual(await told(payee), ['payout.paid']);
  assert.deepEqual((await payees.books(payee.parties)).faults, []);
});

test('only what is available leaves: neither what is pending, nor more, nor less than a cent', async () => {
  const payee = await payees.newPayee(10n);
  await payees.sell(payee.parties, { amountMicros: 1n * CREDIT, feeMicros: 0n });
  await assert.rejects(
    payees.pay(payee, { askedMicros: 11n * CREDIT }),
    refused('CONFLICT', /Only 10 credits are available/),
  );
  await assert.rejects(payees.pay(payee, { askedMicros: 999_999n }), refused('CONFLICT', /no whole cent/));
  assert.equal((await payees.pay(payee, { askedMicros: 2_900_000n })).amountMicros, 2n * CREDIT);
  assert.equal(await available(payee), 8n * CREDIT);
});

type Debt = { state?: 'none' | 'open' | 'won' | 'lost'; disputed?: number; owed?: number } & Partial<
  Record<'frozen' | 'reversed', number>
>;

/** A load of 100 credits with what became of it, in credits. */
async function addTopUp({ organizationId, currency }: Payee, debt: Debt): Promise<void> {
  const { state = 'none', disputed = 0, frozen = 0, reversed = 0, owed = 0 } = debt;
  await payees.database.pool.query(
    `INSERT INTO top_ups (id, organization_id, currency, account_id, is_automatic, amount_cents, status, expires_at,
       card_dispute, card_dispute_cents, frozen_micros, reversed_micros, owed_micros)
     VALUES (gen_random_uuid(), $1, $2, 0, false, 100, 'paid', now(), $3, $4, $5, $6, $7)`,
    [organizationId, currency, state, disputed, ...[frozen, reversed, owed].map((each) => each * 1_000_000)],
  );
}

test('who owes for loads, or has spent what a card disputes, is paid out only what is more than that', async () => {
  const payee = await payees.newPayee(200n);
  await addTopUp({ ...payee, currency: 'test' }, { owed: 90 });
  await addTopUp(await payees.newPayee(0n), { owed: 90 });
  for (const [debt, owed] of [
    [{ owed: 30, reversed: 70 }, 30],
    // Of 60 that are contested 45 are frozen.
    [{ state: 'open', disputed: 60, frozen: 45 }, 15],
    // Of the whole that is contested 20 were refunded to the card and 10 of them are owed.
    [{ state: 'open', disputed: 100, reversed: 10, owed: 10, frozen: 75 }, 15],
    [{ state: 'won', disputed: 100 }, 0],
    [{ state: 'lost', disputed: 100, reversed: 100 }, 0],
  ] as const) {
    const before = await payableBy(payee);
    await addTopUp(payee, debt);
    assert.equal(before - (await payableBy(payee)), BigInt(owed) * CREDIT, JSON.stringify(debt));
  }
  await assert.rejects(
    payees.pay(payee, { askedMicros: 141n * CREDIT }),
    refused('CONFLICT', /Of 200 credits available, 140 can be paid out: 60 are owed for loads/),
  );
  assert.equal((await payees.pay(payee)).amountMicros, 140n * CREDIT);
  await assert.rejects(payees.pay(payee), refused('CONFLICT', /Of 60 credits available, 0 can be paid out/));
  assert.equal(payees.transfersTo(payee).length, 1);
});

async function payableBy(payee: Payee): Promise<bigint> {
  return payees.database.db.transaction(async (tx) => {
    const accountId = await openAccount(tx, payee.organizationId, payee.currency, 'payable');
    return (await findPayable(tx, payee, accountId)).payableMicros;
  });
}

test('the same request again, later or at the same moment, is one payout and one transfer', async () => {
  const payee = await payees.newPayee(100n);
  const wish = { askedMicros: 60n * CREDIT, key: KEY };
  const both = await Promise.all(Array.from({ length: 8 }, () => payees.pay(payee, wish)));
  assert.equal(new Set(both.map(({ id }) => id)).size, 1);
  assert.equal((await payees.pay(payee, wish)).status, 'paid');
  assert.equal(payees.transfersTo(payee).length, 1);
  assert.equal(await available(payee), 40n * CREDIT);
  await assert.rejects(
    payees.pay(payee, { askedMicros: 61n * CREDIT, key: KEY }),
    refused('IDEMPOTENCY_CONFLICT'),
  );
  await assert.rejects(payees.pay(payee, { key: KEY }), refused('IDEMPOTENCY_CONFLICT'));
});

test('twenty different payouts at the same moment never take a credit twice', async () => {
  const payee = await payees.newPayee(100n);
  const asked = await Promise.allSettled(
    Array.from({ length: 20 }, () => payees.pay(payee, { askedMicros: 15n * CREDIT })),
  );
  assert.equal(asked.filter(({ status }) => status === 'fulfilled').length, 6);
  for (const each of asked) if (each.status === 'rejected') refused('CONFLICT')(each.reason);
  assert.equal(await available(payee), 10n * CREDIT);
  assert.equal(payees.transfersTo(payee).length, 6);
});

test('a payout that Stripe refuses has failed, and its credits are available again', async () => {
  const payee = await payees.newPayee(50n);
  payees.stripe.setPlatformCents(10);
  const payout = await payees.pay(payee, { key: KEY });
  assert.deepEqual([payout.status, payout.returnedMicros], ['failed', 50n * CREDIT]);
  assert.match(payout.failure ?? '', /fund payouts first/);
  assert.doesNotMatch(payout.failure ?? '', /insufficient/);
  assert.equal(await available(payee), 50n * CREDIT);
  assert.deepEqual(await told(payee), ['payout.failed']);

  // It stays failed under its key; a new one is paid.
  payees.stripe.setPlatformCents(undefined);
  assert.equal((await payees.pay(payee, { key: KEY })).status, 'failed');
  await resumePayouts(payees.deps);
  assert.equal(payees.transfersTo(payee).length, 0);
  assert.equal((await payees.pay(payee)).status, 'paid');
  assert.deepEqual((await payees.books(payee.parties)).faults, []);
  assert.deepEqual(await differencesOf(payee), []);
});

// A broken connection the SDK tries once more by itself.
const TIMES = { lost: 2, unheard: 2, failed: 1, down: 1 };

for (const kind of ['lost', 'unheard', 'failed', 'down'] as const) {
  test(`when the answer to a transfer is ${kind}, the payout is finished later, with one transfer`, async () => {
    const payee = await payees.newPayee(50n);
    payees.stripe.fail({ on: /POST \/v1\/transfers/, kind, times: TIMES[kind] });
    const payout = await payees.pay(payee, { key: KEY });
    assert.equal(payout.status, 'requested');
    assert.equal(await available(payee), 0n, 'nobody can spend it meanwhile');
    assert.equal((await payees.pay(payee, { key: KEY })).id, payout.id);

    await resumePayouts(payees.deps);
    assert.equal((await getPayout(payees.database.db, payee, payout.id)).status, 'paid');
    assert.equal(payees.transfersTo(payee).length, 1);
    assert.deepEqual(await told(payee), ['payout.paid']);
    await resumePayouts(payees.deps);
    assert.equal(payees.transfersTo(payee).length, 1);
  });
}

test('a transfer whose answer was lost is found after Stripe has forgotten its idempotency key', async () => {
  const payee = await payees.newPayee(50n);
  payees.stripe.fail({ on: /POST \/v1\/transfers/, kind: 'lost', times: 2 });
  await payees.pay(payee);
  await payees.clock.later(3 * DAY_MS);
  await resumePayouts(payees.deps);
  assert.equal(payees.transfersTo(payee).length, 1);
  assert.deepEqual(await told(payee), ['payout.paid']);
});

test('being forbidden to look for a transfer does not fail a payout whose transfer was made', async () => {
  const payee = await payees.newPayee(50n);
  payees.stripe.fail({ on: /POST \/v1\/transfers/, kind: 'lost', times: 2 });
  const { id } = await payees.pay(payee);
  assert.equal(payees.transfersTo(payee).length, 1);
  payees.stripe.fail({ on: /GET \/v1\/transfers/, kind: 'forbidden' });
  await resumePayouts(payees.deps);
  assert.equal((await getPayout(payees.database.db, payee, id)).status, 'requested');
  assert.equal(await available(payee), 0n);
  await resumePayouts(payees.deps);
  assert.equal((await getPayout(payees.database.db, payee, id)).status, 'paid');
  assert.equal(payees.transfersTo(payee).length, 1);
  assert.deepEqual((await payees.books(payee.parties)).faults, []);
});

test('being forbidden to make a transfer fails the payout', async () => {
  const payee = await payees.newPayee(50n);
  payees.stripe.fail({ on: /POST \/v1\/transfers/, kind: 'forbidden' });
  assert.equal((await payees.pay(payee)).status, 'failed');
  assert.equal(await available(payee), 50n * CREDIT);
});

test('a payout is asked about by one process at a time, and by another when that one died', async () => {
  const payee = await payees.newPayee(50n);
  const held = payees.stripe.hold(/POST \/v1\/transfers/);
  const first = payees.pay(payee);
  await held.arrived;
  const before = payees.stripe.requests.length;
  await Promise.all([resumePayouts(payees.deps), resumePayouts(payees.deps)]);
  assert.equal(payees.stripe.requests.length, before, 'it is in good hands');

  await payees.clock.later(CLAIM_MS + 1_000);
  await Promise.all([resumePayouts(payees.deps), resumePayouts(payees.deps)]);
  const asked = payees.stripe.requests.slice(before);
  assert.deepEqual(
    asked.map(({ method, path }) => `${method} ${path}`),
    ['GET /v1/transfers'],
  );
  held.release();
  assert.equal((await first).status, 'paid');
  assert.equal(payees.transfersTo(payee).length, 1);
  assert.deepEqual(await told(payee), ['payout.paid']);
});

test('of many processes that want to ask about one payout, one does', async () => {
  const payee = await payees.newPayee(50n);
  payees.stripe.fail({ on: /POST \/v1\/transfers/, kind: 'down' });
  const { id } = await payees.pay(payee);
  const claims = await Promise.all(
    Array.from({ length: 6 }, () => payees.database.db.transaction((tx) => claimPayout(tx, id))),
  );
  assert.equal(claims.filter((claim) => claim !== undefined).length, 1);
  await payees.clock.later(CLAIM_MS + 1_000);
  await resumePayouts(payees.deps);
  assert.equal((await getPayout(payees.database.db, payee, id)).status, 'paid');
});

test('a process that was held up between claiming a payout and asking Stripe makes no second transfer', async () => {
  const payee = await payees.newPayee(50n);
  const access = payees.deps.stripe;
  assert.ok(access);
  const wish = { ...payee, askedMicros: undefined, idempotencyKey: KEY };
  const { payout } = await payees.database.db.transaction((tx) => openPayout(tx, wish, payee.accountId));
  await payees.clock.later(CLAIM_MS + 1_000);
  const looked = payees.stripe.hold(/GET \/v1\/transfers/);
  const other = resumePayouts(payees.deps);
  await looked.arrived;
  // The other process has been told that there is no transfer, and only now the first one makes it.
  await sendPayout(payees.deps, access, payout, true);
  looked.release();
  await other;
  assert.equal(payees.transfersTo(payee).length, 1);
  assert.deepEqual(await told(payee), ['payout.paid']);
  assert.deepEqual((await payees.books(payee.parties)).faults, []);
});

test('a process whose time was up does not fail a payout that another one made', async () => {
  const payee = await payees.newPayee(50n);
  payees.stripe.setPlatformCents(0);
  const held = payees.stripe.hold(/POST \/v1\/transfers/);
  const slow = payees.pay(payee);
  await held.arrived;
  // Stripe has refused it, and the slow process has not heard so. A day later nobody at Stripe remembers.
  payees.stripe.setPlatformCents(undefined);
  await payees.clock.later(2 * DAY_MS);
  const transfers = payees.stripe.hold(/GET \/v1\/transfers/);
  const fast = resumePayouts(payees.deps);
  await transfers.arrived;
  held.release();
  assert.equal((await slow).status, 'requested');
  transfers.release();
  await fast;
  const [payout] = await payees.payoutsOf(payee);
  assert.equal(payout?.status, 'paid');
  assert.equal(payees.transfersTo(payee).length, 1);
  assert.equal(await available(payee), 0n);
  assert.deepEqual((await payees.books(payee.parties)).faults, []);
});

test('a process that died between taking the credits and asking Stripe leaves a payout others finish', async () => {
  const payee = await payees.newPayee(50n);
  const wish = { ...payee, askedMicros: undefined, idempotencyKey: KEY };
  const { payout } = await payees.database.db.transaction((tx) => openPayout(tx, wish, payee.accountId));
  await resumePayouts(payees.deps);
  assert.equal(payees.transfersTo(payee).length, 0, 'it may still be alive');
  await payees.clock.later(CLAIM_MS + 1_000);
  await resumePayouts(payees.deps);
  assert.equal((await getPayout(payees.database.db, payee, payout.id)).status, 'paid');
  assert.equal(payees.transfersTo(payee).length, 1);
});

test('a transfer that is reversed brings the credits back, all of it or a part, in any order of events', async () => {
  const payee = await payees.newPayee(50n);
  const payout = await payees.pay(payee);
  const id = payout.transferId ?? '';
  const asMade = structuredClone(payees.stripe.get(id));
  const part = structuredClone(payees.stripe.reverseTransfer(id, 20));
  const whole = structuredClone(payees.stripe.reverseTransfer(id));

  assert.equal(await tell('transfer.reversed', part), 'recorded');
  assert.equal(await available(payee), 20n * CREDIT);
  assert.equal((await getPayout(payees.database.db, payee, payout.id)).status, 'paid');
  assert.equal(await tell('transfer.reversed', whole), 'recorded');
  const last = newEvent('transfer.reversed', part);
  assert.equal(await recordPayoutEvent(payees.deps, last), 'recorded');
  assert.equal(await recordPayoutEvent(payees.deps, last), 'repeated');
  await tell('transfer.created', asMade);
  const ended = await getPayout(payees.database.db, payee, payout.id);
  assert.deepEqual([ended.status, ended.returnedMicros], ['failed', 50n * CREDIT]);
  assert.equal(await available(payee), 50n * CREDIT);
  assert.deepEqual((await told(payee)).sort(), ['payout.failed', 'payout.failed', 'payout.paid']);
  assert.deepEqual((await payees.books(payee.parties)).faults, []);
  assert.deepEqual(await differencesOf(payee), []);
});

test('a reversal that is told before the answer to the transfer was heard finishes the payout', async () => {
  const payee = await payees.newPayee(50n);
  payees.stripe.fail({ on: /POST \/v1\/transfers/, kind: 'lost', times: 2 });
  const payout = await payees.pay(payee);
  const [transfer] = payees.transfersTo(payee);
  assert.ok(transfer);
  await tell('transfer.reversed', payees.stripe.reverseTransfer(transfer.id));
  assert.equal((await getPayout(payees.database.db, payee, payout.id)).status, 'failed');
  await resumePayouts(payees.deps);
  assert.equal(await available(payee), 50n * CREDIT);
  assert.equal(payees.transfersTo(payee).length, 1);
});

test('a reversal whose event never came is found', async () => {
  const payee = await payees.newPayee(50n);
  const payout = await payees.pay(payee);
  await payees.pay(await payees.newPayee(10n));
  payees.stripe.reverseTransfer(payout.transferId ?? '', 20);
  for (let n = 0; n < 2; n += 1) await reconcilePayouts(payees.deps);
  assert.equal(await available(payee), 20n * CREDIT);
  assert.deepEqual((await told(payee)).sort(), ['payout.failed', 'payout.paid']);
  assert.deepEqual(await differencesOf(payee), []);
});

test('a transfer that is none of ours, or contradicts its payout, moves nothing', async () => {
  const payee = await payees.newPayee(50n);
  const payout = await payees.pay(payee);
  const transfer = payees.stripe.reverseTransfer(payout.transferId ?? '');
  const ignored = await tell('transfer.reversed', { ...transfer, metadata: {} });
  assert.equal(ignored, 'ignored');
  const logged: string[] = [];
  const deps = { ...payees.deps, log: (_: unknown, message: string) => void logged.push(message) };
  await tell('transfer.reversed', { ...transfer, id: 'tr_other' }, deps);
  await tell('transfer.reversed', { ...transfer, amount: 4_000, amount_reversed: 4_000 }, deps);
  assert.deepEqual(logged, Array(2).fill('a transfer contradicts its payout'));
  assert.equal(await available(payee), 0n);
});

test('a seller without an account, or with one that is not ready, is told what to do', async () => {
  const { sellerId, currency } = await payees.newParties();
  const payee = { organizationId: sellerId, currency };
  await assert.rejects(payees.pay(payee), refused('CONFLICT', /POST \/v1\/billing\/payouts\/account/));
  await openOnboarding(payees.deps, payee);
  await assert.rejects(payees.pay(payee), refused('CONFLICT', /Stripe does not pay this account yet/));
});

test('the Stripe account of a seller is made once, however many ask for a link at the same moment', async () => {
  const { sellerId, currency } = await payees.newParties();
  const payee = { organizationId: sellerId, currency };
  const links = await Promise.all(Array.from({ length: 6 }, () => openOnboarding(payees.deps, payee)));
  const accounts = payees.stripe
    .all('account')
    .filter(({ metadata }) => (metadata as { organization_id: string }).organization_id === sellerId);
  assert.equal(accounts.length, 1);
  assert.ok(links.every(({ url }) => URL.canParse(url)));
});

test('an account is ready when Stripe says so now, whatever an old event says', async () => {
  const payee = await payees.newPayee(10n);
  payees.stripe.requireMore(payee.accountId, ['individual.id_number']);
  const old = structuredClone(payees.stripe.get(payee.accountId));
  assert.equal(await tell('account.updated', old), 'recorded');
  const limited = await getCurrentPayoutAccount(payees.deps, payee);
  assert.deepEqual([limited.isReady, limited.requirements], [false, ['individual.id_number']]);
  await assert.rejects(payees.pay(payee), refused('CONFLICT', /individual\.id_number/));

  payees.stripe.completeOnboarding(payee.accountId);
  await tell('account.updated', old);
  assert.equal((await getCurrentPayoutAccount(payees.deps, payee)).isReady, true);
  assert.equal((await payees.pay(payee)).status, 'paid');
  assert.equal(await tell('account.updated', { id: 'acct_of_another_house' }), 'ignored');
});

test('when no event comes, asking for the account or for a payout finds out that it is ready', async () => {
  const { sellerId, currency } = await payees.newParties();
  const payee = { organizationId: sellerId, currency };
  await openOnboarding(payees.deps, payee);
  assert.equal((await getCurrentPayoutAccount(payees.deps, payee)).isReady, false);
  const account = payees.stripe.all('account').at(-1);
  payees.stripe.completeOnboarding(account?.id ?? '');
  assert.equal((await getCurrentPayoutAccount(payees.deps, payee)).isReady, true);
});

test('the periods of the schedules begin at midnight, on Mondays and on the first, in UTC', () => {
  const sunday = Date.parse('2026-11-22T23:59:59Z');
  const monday = Date.parse('2026-11-23T00:00:00Z');
  assert.deepEqual(
    [sunday, monday].map((now) => periodOf('weekly', now)),
    ['2026-11-16', '2026-11-23'],
  );
  assert.deepEqual(
    [sunday, monday].map((now) => periodOf('daily', now)),
    ['2026-11-22', '2026-11-23'],
  );
  assert.equal(periodOf('monthly', sunday), '2026-11-01');
  assert.equal(periodOf('manual', sunday), undefined);
  assert.equal(periodOf('weekly', Date.parse('2027-01-01T12:00:00Z')), '2026-12-28');
});

/** A payee on a schedule made at the given moment, and what the job does for it at others. */
async function scheduled(
  schedule: 'daily' | 'weekly' | 'monthly',
  since: string,
  { credits = 2_000n, minimum = 1_000n } = {},
) {
  const payee = await payees.newPayee(credits);
  await payees.clock.set(Date.parse(since));
  await savePayoutSchedule(payees.deps, payee, { schedule, minimumMicros: minimum * CREDIT });
  const runAt = async (moment: string): Promise<number> => {
    await payees.clock.set(Date.parse(moment));
    await Promise.all([runScheduledPayouts(payees.deps), runScheduledPayouts(payees.deps)]);
    return (await payees.payoutsOf(payee)).length;
  };
  const stop = () => savePayoutSchedule(payees.deps, payee, { schedule: 'manual', minimumMicros: CREDIT });
  return { payee, runAt, stop };
}

test('a schedule pays once in each period, with two workers and as often as they run', async () => {
  const { payee, runAt, stop } = await scheduled('weekly', '2026-11-18T10:00:00Z');
  assert.equal(await runAt('2026-11-18T11:00:00Z'), 0, 'not before its first Monday');
  assert.equal(await runAt('2026-11-22T23:59:00Z'), 0);
  assert.equal(await runAt('2026-11-23T00:01:00Z'), 1);
  await payees.sell(payee.parties, { amountMicros: 1n * CREDIT });
  assert.equal(await runAt('2026-11-23T01:01:00Z'), 1);
  assert.equal(await available(payee), 0n);
  assert.equal(payees.transfersTo(payee).length, 1);
  await stop();
});

test('a schedule pays no more than what is not owed for loads, and nothing below the minimum', async () => {
  const { payee, runAt, stop } = await scheduled('daily', '2026-11-18T10:00:00Z', { minimum: 1_950n });
  await addTopUp(payee, { owed: 60 });
  assert.equal(await runAt('2026-11-19T00:01:00Z'), 0);
  await savePayoutSchedule(payees.deps, payee, { schedule: 'daily', minimumMicros: 1_000n * CREDIT });
  assert.equal(await runAt('2026-11-20T00:01:00Z'), 1);
  assert.equal(await available(payee), 60n * CREDIT);
  await stop();
});

test('a seller who names a payout like a period keeps the schedule from nothing', async () => {
  const { payee, runAt, stop } = await scheduled('daily', '2026-11-18T10:00:00Z');
  await payees.pay(payee, { askedMicros: 10n * CREDIT, key: '2026-11-19' });
  assert.equal(await runAt('2026-11-19T00:01:00Z'), 2);
  await stop();
});

test('a gateway that was down on payday pays on the next day', async () => {
  const { runAt, stop } = await scheduled('monthly', '2026-11-18T10:00:00Z');
  assert.equal(await runAt('2026-12-02T08:00:00Z'), 1);
  await stop();
});

test('what is below the minimum waits for the next period', async () => {
  const { payee, runAt, stop } = await scheduled('daily', '2026-11-18T10:00:00Z', { credits: 999n });
  assert.equal(await runAt('2026-11-19T00:01:00Z'), 0);
  await savePayoutSchedule(payees.deps, payee, { schedule: 'daily', minimumMicros: 999n * CREDIT });
  assert.equal(await runAt('2026-11-19T09:00:00Z'), 0, 'the day has had its turn');
  assert.equal(await runAt('2026-11-20T00:01:00Z'), 1);
  await stop();
});

test('a scheduled payout that Stripe refuses is tried again in the next period, not before', async () => {
  const { payee, runAt, stop } = await scheduled('daily', '2026-11-18T10:00:00Z');
  payees.stripe.setPlatformCents(0);
  assert.equal(await runAt('2026-11-19T00:01:00Z'), 1);
  payees.stripe.setPlatformCents(undefined);
  assert.equal(await runAt('2026-11-19T02:01:00Z'), 1);
  assert.equal(await runAt('2026-11-20T00:01:00Z'), 2);
  assert.deepEqual(
    (await payees.payoutsOf(payee)).map(({ status }) => status),
    ['failed', 'paid'],
  );
  await stop();
});

test('an account that is not ready is not paid by its schedule', async () => {
  const { payee, runAt, stop } = await scheduled('daily', '2026-11-18T10:00:00Z');
  payees.stripe.requireMore(payee.accountId, ['external_account']);
  await tell('account.updated', { id: payee.accountId });
  assert.equal(await runAt('2026-11-19T00:01:00Z'), 0);
  await stop();
});

test('test credits are never paid with live money, nor live ones with test money', async () => {
  const [live, test] = [await payees.newPayee(10n, 'live'), await payees.newPayee(10n, 'test')];
  const access = payees.deps.stripe;
  assert.ok(access);
  const liveStripe = { ...payees.deps, stripe: { ...access, isLive: true, isStripe: true } };
  const testStripe = { ...payees.deps, stripe: { ...access, isLive: false, isStripe: true } };
  await assert.rejects(payees.pay(test, { deps: liveStripe }), refused('CONFLICT', /never paid out/));
  await assert.rejects(payees.pay(live, { deps: testStripe }), refused('CONFLICT', /test mode/));
  await assert.rejects(openOnboarding(liveStripe, test), refused('CONFLICT'));

  payees.stripe.fail({ on: /POST \/v1\/transfers/, kind: 'down', times: 2 });
  const open = [await payees.pay(live), await payees.pay(test)];
  assert.deepEqual(
    open.map(({ status }) => status),
    ['requested', 'requested'],
  );
  const statuses = async () =>
    Promise.all([
      getPayout(payees.database.db, live, open[0]?.id ?? ''),
      getPayout(payees.database.db, test, open[1]?.id ?? ''),
    ]).then((rows) => rows.map(({ status }) => status));
  await resumePayouts(testStripe);
  assert.deepEqual(await statuses(), ['requested', 'paid']);
  await resumePayouts(liveStripe);
  assert.deepEqual(await statuses(), ['paid', 'paid']);
});

test('without a Stripe key nothing is paid, and nothing is taken', async () => {
  const payee = await payees.newPayee(10n);
  const deps = { ...payees.deps, stripe: undefined };
  await assert.rejects(payees.pay(payee, { deps }), refused('STRIPE_NOT_CONFIGURED'));
  await assert.rejects(openOnboarding(deps, payee), refused('STRIPE_NOT_CONFIGURED'));
  assert.deepEqual(await runScheduledPayouts(deps), { paid: 0 });
  assert.deepEqual(await reconcilePayouts(deps), { reversed: 0 });
  assert.deepEqual(await resumePayouts(deps), { resumed: 0 });
  assert.equal(await available(payee), 10n * CREDIT);
  assert.ok((await getCurrentPayoutAccount(deps, payee)).isReady);
});

/** What the comparison names of one seller; nothing else in this file leaves a difference behind. */
async function differencesOf(payee: Payee) {
  const ids = new Set((await payees.payoutsOf(payee)).map(({ id }) => `pay_${id.replaceAll('-', '')}`));
  const found = await payees.clock.at(Date.now() + 60_000, () => comparePayouts(payees.deps));
  return found.filter(({ id }) => ids.has(id));
}

test('every way in which payouts, journal and Stripe can disagree is named', async () => {
  const payee = await payees.newPayee(500n);
  const pay = () => payees.pay(payee, { askedMicros: 50n * CREDIT });
  const sound = await pay();
  assert.deepEqual(await differencesOf(payee), []);

  const lost = await pay();
  const other = await pay();
  const reversed = await pay();
  const failed = await pay();
  const changed = await pay();
  payees.stripe.fail({ on: /POST \/v1\/transfers/, kind: 'down' });
  const open = await pay();
  payees.stripe.get(other.transferId ?? '')['amount'] = 51;
  payees.stripe.get(lost.transferId ?? '')['metadata'] = {};
  payees.stripe.reverseTransfer(reversed.transferId ?? '');
  const { pool } = payees.database;
  await pool.query(
    `UPDATE payouts SET status = 'failed', transfer_id = NULL, returned_micros = amount_micros WHERE id = $1`,
    [failed.id],
  );
  await pool.query(`UPDATE payouts SET amount_micros = 49000000 WHERE id = $1`, [changed.id]);
  await pool.query(`UPDATE payouts SET created_at = created_at - interval '3 days' WHERE id = $1`, [open.id]);

  const found = await differencesOf(payee);
  const about = (id: string) =>
    found
      .filter((each) => each.id === `pay_${id.replaceAll('-', '')}`)
      .map(({ expected, found: what }) => `${expected} / ${what}`)
      .sort();
  assert.deepEqual(about(sound.id), []);
  assert.deepEqual(about(lost.id), [`transfer ${lost.transferId} / no such transfer in Stripe`]);
  assert.match(about(other.id).join(), /of 50 cents .* of 51 cents/);
  assert.match(about(reversed.id).join(), / 0 reversed .* 50 reversed/);
  assert.equal(about(failed.id).length, 2);
  assert.match(about(failed.id).join(), /no transfer, for the payout failed/);
  assert.match(about(failed.id).join(), /50 credits returned \/ 50 credits and 0 credits in the journal/);
  assert.equal(about(changed.id).length, 2);
  assert.match(about(open.id).join(), /paid or failed within a day \/ requested since/);
  assert.equal(new Set(found.map(({ id }) => id)).size, 6);
});
