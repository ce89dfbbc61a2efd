import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { newId } from '../../src/base/ids.ts';
import { Problem } from '../../src/base/problem.ts';
import { answerDispute } from '../../src/billing/answer-dispute.ts';
import type { BillingDeps } from '../../src/billing/deps.ts';
import { DISPUTE_WINDOW_MS } from '../../src/billing/dispute-window.ts';
import { formatDispute } from '../../src/billing/disputes.ts';
import { listEarnedCalls, type EarnedCall } from '../../src/billing/earned-calls.ts';
import { getEarnings, releaseEarnings, type Earnings } from '../../src/billing/earnings.ts';
import { openDispute } from '../../src/billing/open-dispute.ts';
import { CREDIT, openSales, type Parties, type Sales } from './sales.ts';
import { passed } from './payees.ts';

let sales: Sales;
before(async () => {
  sales = await openSales();
});
after(() => sales.close());
beforeEach(() => sales.clock.reset());

const WEEK_MS = DISPUTE_WINDOW_MS;

/** Releases earnings when everything settled until `moment` can no longer be disputed. */
function releaseBefore(moment: number, deps: BillingDeps = sales.deps) {
  return sales.clock.at(moment + WEEK_MS, () => releaseEarnings(deps));
}

async function earningsOf({ sellerId, currency }: Parties): Promise<Omit<Earnings, 'nextReleaseAt'>> {
  const { nextReleaseAt: _, ...amounts } = await getEarnings(sales.database.db, sellerId, currency);
  return amounts;
}

const nothing = {
  availableMicros: 0n,
  pendingMicros: 0n,
  inDisputeMicros: 0n,
  paidOutMicros: 0n,
  reversedMicros: 0n,
  lifetimeMicros: 0n,
};

function dispute(parties: Parties, callId: string, amountMicros?: bigint) {
  return openDispute(
    sales.deps,
    parties.buyer,
    { callId, reason: 'other', description: 'it was wrong', amountMicros },
    async () => undefined,
  );
}

function answer(parties: Parties, disputeId: string, decision: 'refund' | 'reject') {
  return answerDispute(
    sales.deps,
    { organizationId: parties.sellerId, currency: parties.currency, isOperator: false },
    disputeId,
    { decision, amountMicros: undefined, explanation: 'so it is' },
  );
}

async function settledAt(callId: string): Promise<number> {
  const { rows } = await sales.database.pool.query<{ created_at: Date }>(
    'SELECT created_at FROM ledger_journal WHERE id = $1',
    [callId.slice('call_'.length)],
  );
  return rows[0]?.created_at.getTime() ?? 0;
}

test('what a call earned is pending for seven days, and available after them', async () => {
  const parties = await sales.newParties();
  const callId = await sales.sell(parties, { amountMicros: 10n * CREDIT, feeMicros: 300_000n });
  const settled = await settledAt(callId);

  await releaseBefore(settled - 1);
  assert.deepEqual(await earningsOf(parties), {
    ...nothing,
    pendingMicros: 9_700_000n,
    lifetimeMicros: 9_700_000n,
  });
  const { nextReleaseAt } = await getEarnings(sales.database.db, parties.sellerId, 'live');
  assert.equal(nextReleaseAt?.getTime(), settled + WEEK_MS);

  await releaseBefore(settled + 1);
  assert.deepEqual(await earningsOf(parties), {
    ...nothing,
    availableMicros: 9_700_000n,
    lifetimeMicros: 9_700_000n,
  });
  const after = await getEarnings(sales.database.db, parties.sellerId, 'live');
  assert.equal(after.nextReleaseAt, undefined);
});

test('eight workers at the same moment release once, in one row', async () => {
  const parties = await sales.newParties();
  await sales.sell(parties);
  const first = Date.now() + 1;
  await passed(first);
  await releaseBefore(first);
  for (let n = 0; n < 3; n += 1) await sales.sell(parties);
  const second = Date.now() + 1;
  await passed(second);
  // Still pending, and enough to be taken for what was released a moment ago.
  for (let n = 0; n < 3; n += 1) await sales.sell(parties);
  await sales.clock.at(second + WEEK_MS, () =>
    Promise.all(Array.from({ length: 8 }, () => releaseEarnings(sales.deps))),
  );
  const { pendingMicros, availableMicros } = await earningsOf(parties);
  assert.deepEqual([pendingMicros, availableMicros], [29_100_000n, 38_800_000n]);
  assert.deepEqual(await releasesOf(parties), ['9700000', '29100000']);
  assert.deepEqual((await sales.books(parties)).faults, []);
});

test('years of earnings from before there were releases are released in the first one', async () => {
  const parties = await sales.newParties();
  const callId = await sales.sell(parties);
  await releaseBefore((await settledAt(callId)) + 3 * 365 * 24 * 3_600_000);
  assert.equal((await earningsOf(parties)).availableMicros, 9_700_000n);
});

test('each run takes up where the one before it ended', async () => {
  const parties = await sales.newParties();
  const amounts = [3n, 5n, 7n].map((credits) => credits * CREDIT);
  const marks: number[] = [];
  for (const amountMicros of amounts) {
    const callId = await sales.sell(parties, { amountMicros, feeMicros: 0n });
    marks.push((await settledAt(callId)) + 1);
    // The next one is settled in a later millisecond.
    await passed(marks.at(-1) ?? 0);
  }
  for (const mark of marks) await releaseBefore(mark);
  // A clock that was put back and right again releases nothing twice.
  await sales.sell(parties, { amountMicros: 90n * CREDIT, feeMicros: 0n });
  for (const mark of marks) await releaseBefore(mark);
  assert.deepEqual(await releasesOf(parties), ['3000000', '5000000', '7000000']);
});

test('what is in dispute is not released with the rest', async () => {
  const parties = await sales.newParties();
  const [disputed] = [await sales.sell(parties), await sales.sell(parties)];
  const { dispute: opened } = await dispute(parties, disputed);
  const { disputeId } = idOf(opened);
  await releaseBefore(Date.now() + 1_000);
  assert.deepEqual(await earningsOf(parties), {
    ...nothing,
    availableMicros: 9_700_000n,
    inDisputeMicros: 9_700_000n,
    lifetimeMicros: 19_400_000n,
  });
  await answer(parties, disputeId, 'refund');
  assert.deepEqual(await earningsOf(parties), {
    ...nothing,
    availableMicros: 9_700_000n,
    reversedMicros: 9_700_000n,
    lifetimeMicros: 9_700_000n,
  });
  assert.deepEqual((await sales.books(parties)).faults, []);
});

test('what was rejected in time is released with the rest, once, and what was refunded of it is not', async () => {
  const parties = await sales.newParties();
  const callIds = [await sales.sell(parties), await sales.sell(parties), await sales.sell(parties)];
  const [rejected = '', refunded = ''] = callIds;
  const mark = Date.now() + 1;
  await answer(parties, idOf((await dispute(parties, rejected)).dispute).disputeId, 'reject');
  await answer(parties, idOf((await dispute(parties, refunded)).dispute).disputeId, 'refund');
  const { nextReleaseAt } = await getEarnings(sales.database.db, parties.sellerId, 'live');
  assert.equal(nextReleaseAt?.getTime(), (await settledAt(rejected)) + WEEK_MS);
  assert.deepEqual(await releasesOf(parties), []);
  await passed(mark);
  const later = await sales.sell(parties);
  for (let n = 0; n < 2; n += 1) await releaseBefore(mark);
  assert.deepEqual(await releasesOf(parties), ['19400000']);
  const { availableMicros, pendingMicros, inDisputeMicros } = await earningsOf(parties);
  assert.deepEqual([availableMicros, pendingMicros, inDisputeMicros], [19_400_000n, 9_700_000n, 0n]);
  const next = await getEarnings(sales.database.db, parties.sellerId, 'live');
  assert.equal(next.nextReleaseAt?.getTime(), (await settledAt(later)) + WEEK_MS);
  assert.deepEqual((await sales.books(parties)).faults, []);
});

test('a dispute about a part lets the rest go, and what is rejected after that follows at once', async () => {
  const parties = await sales.newParties();
  const callId = await sales.sell(parties, { amountMicros: 10n * CREDIT, feeMicros: 0n });
  const { disputeId } = idOf((await dispute(parties, callId, 4n * CREDIT)).dispute);
  await releaseBefore(Date.now() + 1_000);
  const open = await earningsOf(parties);
  assert.deepEqual([open.availableMicros, open.inDisputeMicros], [6n * CREDIT, 4n * CREDIT]);
  await answer(parties, disputeId, 'reject');
  assert.equal((await earningsOf(parties)).availableMicros, 10n * CREDIT);
});

test('what was released cannot be disputed, also when the clock is put back', async () => {
  const parties = await sales.newParties();
  const callId = await sales.sell(parties);
  await releaseBefore(Date.now() + 1_000);
  // Another call is pending: its money must not pay for the dispute.
  await sales.sell(parties);
  await assert.rejects(dispute(parties, callId), Problem);
  assert.equal((await earningsOf(parties)).pendingMicros, 9_700_000n);
});

test('a dispute and a release at the same moment: the credits are set aside or released, never both', async () => {
  for (let round = 0; round < 25; round += 1) {
    const parties = await sales.newParties();
    const callId = await sales.sell(parties);
    await sales.sell(parties);
    const [, asked] = await Promise.allSettled([releaseBefore(Date.now() + 1_000), dispute(parties, callId)]);
    const { availableMicros, inDisputeMicros, pendingMicros } = await earningsOf(parties);
    const isDisputed = asked.status === 'fulfilled';
    assert.deepEqual(
      [availableMicros, inDisputeMicros, pendingMicros],
      isDisputed ? [9_700_000n, 9_700_000n, 0n] : [19_400_000n, 0n, 0n],
    );
    if (!isDisputed) assert.ok(asked.reason instanceof Problem, String(asked.reason));
  }
});

test('one seller whose books contradict themselves does not keep the others waiting', async () => {
  const [broken, sound] = [await sales.newParties(), await sales.newParties()];
  await sales.sell(broken);
  await sales.sell(sound);
  await sales.database.pool.query(
    `UPDATE ledger_accounts SET posted = 1 WHERE organization_id = $1 AND kind = 'earnings'`,
    [broken.sellerId],
  );
  const logged: string[] = [];
  const mark = Date.now() + 1_000;
  const log: BillingDeps['log'] = (level, message) => void logged.push(`${level}: ${message}`);
  await releaseBefore(mark, { ...sales.deps, log });
  assert.deepEqual(logged, ['error: the earnings of a seller could not be released']);
  assert.equal((await earningsOf(sound)).availableMicros, 9_700_000n);
  // Nothing of it was written: the next run tries again.
  assert.deepEqual(await releasesOf(broken), []);
  await sales.database.pool.query(
    `UPDATE ledger_accounts SET posted = 9700000 WHERE organization_id = $1 AND kind = 'earnings'`,
    [broken.sellerId],
  );
  await releaseBefore(mark);
  assert.equal((await earningsOf(broken)).availableMicros, 9_700_000n);
});

test('test credits are earned, released and shown apart from live ones', async () => {
  const live = await sales.newParties('live');
  const test = { ...(await sales.newParties('test')), sellerId: live.sellerId };
  await sales.sell(live, { amountMicros: 2n * CREDIT, feeMicros: 0n });
  await sales.sell(test, { amountMicros: 7n * CREDIT, feeMicros: 0n });
  await releaseBefore(Date.now() + 1_000);
  assert.equal((await earningsOf(live)).availableMicros, 2n * CREDIT);
  assert.equal((await earningsOf(test)).availableMicros, 7n * CREDIT);
  const page = { from: undefined, to: undefined, beforeSeq: undefined, limit: 10 };
  for (const [currency, price] of [
    ['live', 2n],
    ['test', 7n],
  ] as const) {
    const calls = await listEarnedCalls(sales.database.db, {
      ...page,
      organizationId: live.sellerId,
      currency,
    });
    assert.deepEqual(
      calls.map(({ priceMicros }) => priceMicros),
      [price * CREDIT],
    );
  }
});

test('the statement says of every call what it brought, where that is, and its sums are those of the earnings', async () => {
  const parties = await sales.newParties();
  const old = await sales.sell(parties);
  const mark = Date.now() + 1;
  await passed(mark);
  const [pending, disputed, refunded, rejected, partClaimed, partRefunded] = [
    await sales.sell(parties),
    await sales.sell(parties),
    await sales.sell(parties),
    await sales.sell(parties),
    await sales.sell(parties),
    await sales.sell(parties),
  ];
  await dispute(parties, disputed);
  await answer(parties, idOf((await dispute(parties, refunded)).dispute).disputeId, 'refund');
  await answer(parties, idOf((await dispute(parties, rejected)).dispute).disputeId, 'reject');
  await dispute(parties, partClaimed, 4n * CREDIT);
  const part = await dispute(parties, partRefunded, 1n * CREDIT);
  await answer(parties, idOf(part.dispute).disputeId, 'refund');
  // Claimed in part, and then released: what was claimed is not.
  await dispute(parties, old, 3n * CREDIT);
  await releaseBefore(mark);

  const page = {
    organizationId: parties.sellerId,
    currency: 'live' as const,
    from: undefined,
    to: undefined,
  };
  const calls = await listEarnedCalls(sales.database.db, { ...page, beforeSeq: undefined, limit: 10 });
  const states = new Map(calls.map((each) => [each.callUuid.replaceAll('-', ''), each]));
  const stateOf = (callId: string) => states.get(callId.slice('call_'.length));
  assert.deepEqual(
    [old, pending, disputed, refunded, rejected, partClaimed, partRefunded].map((callId) => {
      const { state, inDisputeMicros, reversedMicros } = stateOf(callId) ?? {};
      return [state, inDisputeMicros, reversedMicros];
    }),
    [
      ['available', 2_910_000n, 0n],
      ['pending', 0n, 0n],
      ['disputed', 9_700_000n, 0n],
      ['reversed', 0n, 9_700_000n],
      ['pending', 0n, 0n],
      ['pending', 3_880_000n, 0n],
      ['pending', 0n, 970_000n],
    ],
  );
  for (const callId of [old, pending, rejected, partClaimed, partRefunded]) {
    assert.equal(stateOf(callId)?.releaseAt?.getTime(), (await settledAt(callId)) + WEEK_MS);
  }
  assert.deepEqual(
    [disputed, refunded].map((callId) => stateOf(callId)?.releaseAt),
    [undefined, undefined],
  );
  for (const each of calls) assert.equal(each.proceedsMicros + each.feeMicros, each.priceMicros);

  const restOf = (each: EarnedCall) => each.proceedsMicros - each.inDisputeMicros - each.reversedMicros;
  const sum = (of: (each: EarnedCall) => bigint, state?: string) =>
    calls
      .filter((each) => state === undefined || each.state === state)
      .reduce((total, each) => total + of(each), 0n);
  const earnings = await earningsOf(parties);
  assert.deepEqual(
    [
      sum(restOf, 'available'),
      sum(restOf, 'pending'),
      sum(({ inDisputeMicros }) => inDisputeMicros),
      sum(({ reversedMicros }) => reversedMicros),
    ],
    [earnings.availableMicros, earnings.pendingMicros, earnings.inDisputeMicros, earnings.reversedMicros],
  );

  // In pages it is the same list.
  const paged: bigint[] = [];
  for (let beforeSeq: bigint | undefined; ;) {
    const [next] = await listEarnedCalls(sales.database.db, { ...page, beforeSeq, limit: 1 });
    if (!next) break;
    paged.push(next.seq);
    beforeSeq = next.seq;
  }
  assert.deepEqual(
    paged,
    calls.map(({ seq }) => seq),
  );
});

test('a seller nobody bought from has earned nothing', async () => {
  const none = { sellerId: newId('org'), currency: 'live' } as Parties;
  assert.deepEqual(await earningsOf(none), nothing);
});

async function releasesOf({ sellerId, currency }: Parties): Promise<string[]> {
  const { rows } = await sales.database.pool.query<{ amount: string }>(
    `SELECT j.amount FROM ledger_journal j JOIN ledger_accounts a ON a.id = j.debit
     WHERE a.organization_id = $1 AND a.currency = $2 AND j.kind = 'release' ORDER BY j.seq`,
    [sellerId, currency],
  );
  return rows.map(({ amount }) => amount);
}

function idOf(row: Parameters<typeof formatDispute>[0]): { disputeId: string } {
  return { disputeId: formatDispute(row).dispute_id };
}
