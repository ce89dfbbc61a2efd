import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import type { BillingDeps } from '../../src/billing/deps.ts';
import { DISPUTE_WINDOW_MS } from '../../src/billing/dispute-window.ts';
import { getEarnings, releaseEarnings } from '../../src/billing/earnings.ts';
import { savePayoutSchedule } from '../../src/billing/payout-accounts.ts';
import { resumePayouts, runScheduledPayouts } from '../../src/billing/payout-jobs.ts';
import { CLAIM_MS } from '../../src/billing/send-payout.ts';
import { openDatabase } from '../../src/db/db.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { openPayees, passed, type Payees } from './payees.ts';
import { CREDIT } from './sales.ts';

let payees: Payees;
before(async () => {
  payees = await openPayees();
});
after(() => payees.close());
beforeEach(() => payees.clock.reset());

type Payee = Awaited<ReturnType<Payees['newPayee']>>;
type Fault = 'lose reply' | 'cut request';

/** More messages than any of these sends to the database. */
const MOST_STEPS = 120;

/**
 * Does the work over and over, each time for somebody new, as a process that loses its database for good at its
 * first, second, third … message, until the work gets through. `finish` is what others do afterwards.
 */
async function dieEverywhere(
  fault: Fault,
  prepare: () => Promise<Payee>,
  work: (deps: BillingDeps, payee: Payee) => Promise<unknown>,
  finish: (payee: Payee) => Promise<void>,
): Promise<number> {
  for (let step = 1; step <= MOST_STEPS; step += 1) {
    const payee = await prepare();
    let sent = 0;
    const url = new URL(payees.database.url);
    const proxy = await startTcpProxy(Number(url.port || 5432), () => {
      sent += 1;
      if (sent < step) return 'pass';
      return sent === step ? fault : 'cut request';
    });
    url.host = `127.0.0.1:${proxy.port}`;
    const dying = openDatabase(url.href, { log: silentLog, maxConnections: 1 });
    await work({ ...payees.deps, db: dying.db }, payee).catch(() => undefined);
    await dying.close();
    await proxy.close();
    await assertNothingLost(payee);
    await finish(payee);
    await assertNothingLost(payee);
    if (sent < step) return step - 1;
  }
  return assert.fail('it never got through');
}

/** Whatever happened: every credit is in one place, and no payout has two transfers. */
async function assertNothingLost(payee: Payee): Promise<void> {
  const earnings = await getEarnings(payees.database.db, payee.organizationId, payee.currency);
  assert.equal(earnings.lifetimeMicros, 50n * CREDIT);
  assert.deepEqual((await payees.books(payee.parties)).faults, []);
  const payouts = await payees.payoutsOf(payee);
  assert.ok(payees.transfersTo(payee).length <= payouts.length);
}

async function later(payee: Payee): Promise<void> {
  await payees.clock.at(payees.clock.now() + CLAIM_MS + 60_000, () => resumePayouts(payees.deps));
  const statuses = (await payees.payoutsOf(payee)).map(({ status }) => status);
  assert.ok(!statuses.includes('requested'));
}

const KEY = 'payout-of-november';

for (const fault of ['lose reply', 'cut request'] as const) {
  test(`a payout survives the death of its process at any step (${fault}): one transfer, and all credits there`, async () => {
    const steps = await dieEverywhere(
      fault,
      () => payees.newPayee(50n),
      (deps, payee) => payees.pay(payee, { key: KEY, deps }),
      async (payee) => {
        await later(payee);
        assert.equal((await payees.pay(payee, { key: KEY })).status, 'paid');
        assert.equal(payees.transfersTo(payee).length, 1);
        assert.equal((await payees.payoutsOf(payee)).length, 1);
      },
    );
    assert.ok(steps >= 10, `${steps} steps`);
  });

  test(`a payout that Stripe refuses gives its credits back, whenever its process dies (${fault})`, async () => {
    await dieEverywhere(
      fault,
      async () => {
        const payee = await payees.newPayee(50n);
        payees.stripe.setPlatformCents(0);
        return payee;
      },
      (deps, payee) => payees.pay(payee, { key: KEY, deps }),
      async (payee) => {
        await later(payee);
        assert.equal((await payees.pay(payee, { key: KEY })).status, 'failed');
        const { availableMicros } = await getEarnings(payees.database.db, payee.organizationId, 'live');
        assert.equal(availableMicros, 50n * CREDIT);
        assert.equal(payees.transfersTo(payee).length, 0);
        payees.stripe.setPlatformCents(undefined);
      },
    );
  });

  test(`a scheduled payout is made once, whenever the job that makes it dies (${fault})`, async () => {
    const monday = Date.parse('2026-11-30T06:00:00Z');
    let last: Payee | undefined;
    await dieEverywhere(
      fault,
      async () => {
        const payee = await payees.newPayee(50n);
        if (last) await savePayoutSchedule(payees.deps, last, { schedule: 'manual', minimumMicros: CREDIT });
        const wish = { schedule: 'weekly' as const, minimumMicros: CREDIT };
        await payees.clock.at(monday - 86_400_000, () => savePayoutSchedule(payees.deps, payee, wish));
        last = payee;
        return payee;
      },
      (deps) => payees.clock.at(monday, () => runScheduledPayouts(deps)),
      async (payee) => {
        await payees.clock.at(monday + 3_600_000, () => runScheduledPayouts(payees.deps));
        await payees.clock.at(monday + 3_600_000 + CLAIM_MS * 2, () => resumePayouts(payees.deps));
        assert.equal(payees.transfersTo(payee).length, 1);
        assert.deepEqual(
          (await payees.payoutsOf(payee)).map(({ status }) => status),
          ['paid'],
        );
      },
    );
  });

  test(`earnings are released once, whenever the job that does it dies (${fault})`, async () => {
    await dieEverywhere(
      fault,
      async () => {
        const payee = await payees.newPayee(49n);
        await payees.sell(payee.parties, { amountMicros: CREDIT, feeMicros: 0n });
        await passed(Date.now());
        return payee;
      },
      (deps) => payees.clock.at(Date.now() + DISPUTE_WINDOW_MS, () => releaseEarnings(deps)),
      async (payee) => {
        await passed(Date.now() + 1);
        await payees.release();
        const { availableMicros, pendingMicros } = await getEarnings(
          payees.database.db,
          payee.organizationId,
          'live',
        );
        assert.deepEqual([availableMicros, pendingMicros], [50n * CREDIT, 0n]);
      },
    );
  });
}
