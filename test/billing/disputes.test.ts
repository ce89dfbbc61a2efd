import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import { uuidOfId } from '../../src/base/ids.ts';
import { Problem } from '../../src/base/problem.ts';
import { answerDispute, ruleOnDispute, type DisputeAnswer } from '../../src/billing/answer-dispute.ts';
import type { BillingDeps } from '../../src/billing/deps.ts';
import { DISPUTE_WINDOW_MS } from '../../src/billing/dispute-window.ts';
import { formatDispute, getDispute, listDisputes, type DisputeView } from '../../src/billing/disputes.ts';
import { releaseEarnings } from '../../src/billing/earnings.ts';
import { ANSWER_MS, openDispute, type Claim } from '../../src/billing/open-dispute.ts';
import { decideOverdueDisputes } from '../../src/billing/overdue-disputes.ts';
import { CREDIT, openSales, uuidOf, type Books, type Parties, type Sales } from './sales.ts';

let sales: Sales;
before(async () => {
  sales = await openSales();
});
after(() => sales.close());
beforeEach(() => sales.clock.reset());

type Opening = { parties: Parties; callId: string } & Partial<Claim> & {
    priceMicros?: bigint;
  };

async function open({ parties, callId, priceMicros, ...claim }: Opening): Promise<DisputeView> {
  const { dispute } = await openDispute(
    sales.deps,
    parties.buyer,
    {
      callId,
      reason: 'output_defective',
      description: 'not what was asked',
      amountMicros: undefined,
      ...claim,
    },
    () => Promise.resolve(priceMicros),
  );
  return formatDispute(dispute);
}

async function answer(
  parties: Parties,
  disputeId: string,
  said: Partial<DisputeAnswer> & Pick<DisputeAnswer, 'decision'>,
): Promise<DisputeView> {
  const onlooker = { organizationId: parties.sellerId, currency: parties.currency, isOperator: false };
  const whole = { amountMicros: undefined, explanation: 'so it is', ...said };
  return formatDispute(await answerDispute(sales.deps, onlooker, disputeId, whole));
}

async function rule(parties: Parties, disputeId: string, said: DisputeAnswer): Promise<DisputeView> {
  const onlooker = { organizationId: 'org_operator', currency: parties.currency, isOperator: true };
  return formatDispute(await ruleOnDispute(sales.deps, onlooker, disputeId, said));
}

async function see(parties: Parties, disputeId: string): Promise<DisputeView> {
  const { organizationId, currency } = parties.buyer;
  return formatDispute(
    await getDispute(sales.deps.db, disputeId, { organizationId, currency, isOperator: false }),
  );
}

async function refusal(work: Promise<unknown>): Promise<Problem> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof Problem, String(error));
    return error;
  }
  return assert.fail('it was not refused');
}

async function assertBooks(parties: Parties, expected: Partial<Books>): Promise<void> {
  const books = await sales.books(parties);
  assert.deepEqual(books.faults, []);
  for (const [kind, micros] of Object.entries(expected)) assert.equal(books[kind as 'balance'], micros, kind);
}

const typesOf = (events: { type: string }[]): string[] => events.map(({ type }) => type);

test("an open dispute sets the seller's share aside and tells both sides", async () => {
  const parties = await sales.newParties();
  const callId = await sales.sell(parties);
  const dispute = await open({ parties, callId });
  assert.equal(dispute.status, 'open');
  assert.deepEqual([dispute.charged, dispute.claimed, dispute.refunded], ['10', '10', null]);
  await assertBooks(parties, { balance: 990n * CREDIT, earnings: 0n, disputed: 9_700_000n });
  for (const each of [parties.buyer.organizationId, parties.sellerId]) {
    const [event, ...more] = await sales.eventsOf(each);
    assert.deepEqual([event?.type, more], ['dispute.opened', []]);
    assert.deepEqual(event?.data, dispute);
  }
});

test('a claim the seller grants goes back to the buyer whole, fee included', async () => {
  const parties = await sales.newParties();
  const dispute = await open({ parties, callId: await sales.sell(parties) });
  const decided = await answer(parties, dispute.dispute_id, { decision: 'refund' });
  assert.deepEqual(
    [decided.status, decided.decided_by, decided.refunded, decided.refunded_by_seller, decided.refunded_fee],
    ['refunded', 'seller', '10', '9.7', '0.3'],
  );
  await assertBooks(parties, { balance: 1_000n * CREDIT, earnings: 0n, disputed: 0n, payable: 0n });
  assert.deepEqual(typesOf(await sales.eventsOf(parties.sellerId)), ['dispute.opened', 'dispute.resolved']);
  assert.deepEqual((await sales.eventsOf(parties.buyer.organizationId)).at(-1)?.data, decided);
});

test('whoever noted that the buyer had nothing left hears at once of what came back', async () => {
  const parties = await sales.newParties();
  const { dispute_id } = await open({ parties, callId: await sales.sell(parties) });
  const listener = await sales.database.pool.connect();
  try {
    const heard: (string | undefined)[] = [];
    listener.on('notification', ({ payload }) => heard.push(payload));
    await listener.query('LISTEN sentinel_changes');
    await answer(parties, dispute_id, { decision: 'refund' });
    // What was told before this answer has come with it.
    await listener.query('UNLISTEN sentinel_changes');
    assert.deepEqual(heard, [`credits:${parties.buyer.balanceId}`]);
  } finally {
    listener.release(true);
  }
});

test('a claim the seller rejects goes back to its earnings, and is released no sooner than the rest', async () => {
  const parties = await sales.newParties();
  const dispute = await open({ parties, callId: await sales.sell(parties) });
  const decided = await answer(parties, dispute.dispute_id, { decision: 'reject' });
  assert.deepEqual([decided.status, decided.refunded], ['rejected', '0']);
  await assertBooks(parties, { balance: 990n * CREDIT, disputed: 0n, earnings: 9_700_000n, payable: 0n });
  await sales.clock.later(DISPUTE_WINDOW_MS - 60_000);
  await releaseEarnings(sales.deps);
  await assertBooks(parties, { earnings: 9_700_000n, payable: 0n });
  await sales.clock.later(61_000);
  await releaseEarnings(sales.deps);
  await assertBooks(parties, { earnings: 0n, payable: 9_700_000n });
});

test('what is rejected after its earnings were released may be paid out at once', async () => {
  const parties = await sales.newParties();
  const dispute = await open({ parties, callId: await sales.sell(parties) });
  await sales.sell(parties);
  await sales.clock.later(DISPUTE_WINDOW_MS + 1_000);
  await releaseEarnings(sales.deps);
  await assertBooks(parties, { disputed: 9_700_000n, earnings: 0n, payable: 9_700_000n });
  // A call that is pending: what comes back to the earnings by mistake would be released with it, or never.
  await sales.sell(parties);
  await rule(parties, dispute.dispute_id, {
    decision: 'reject',
    amountMicros: undefined,
    explanation: 'it was fine',
  });
  await assertBooks(parties, { disputed: 0n, earnings: 9_700_000n, payable: 19_400_000n });
});

test('of a part that is claimed a part can be refunded, and every micro-credit is accounted for', async () => {
  const parties = await sales.newParties();
  const callId = await sales.sell(parties, { amountMicros: 10_000_001n, feeMicros: 300_000n });
  const dispute = await open({ parties, callId, amountMicros: 3_333_333n });
  // ⌊300000 × 3333333 ÷ 10000001⌋ of the claim was fee.
  await assertBooks(parties, { disputed: 3_333_333n - 99_999n });
  const decided = await answer(parties, dispute.dispute_id, {
    decision: 'partial',
    amountMicros: 1_000_001n,
  });
  assert.deepEqual([decided.claimed, decided.refunded], ['3.333333', '1.000001']);
  await assertBooks(parties, {
    balance: 1_000n * CREDIT - 10_000_001n + 1_000_001n,
    disputed: 0n,
    earnings: 9_700_001n - (1_000_001n - 29_999n),
    payable: 0n,
  });
});

test('a fee that was the whole price is given back without touching the seller', async () => {
  const parties = await sales.newParties();
  const callId = await sales.sell(parties, { feeMicros: 10n * CREDIT });
  const dispute = await open({ parties, callId });
  await answer(parties, dispute.dispute_id, { decision: 'refund' });
  await assertBooks(parties, { balance: 1_000n * CREDIT, earnings: 0n, disputed: 0n });
});

test('72 hours of silence refund, and not a moment before', async () => {
  const parties = await sales.newParties();
  const dispute = await open({ parties, callId: await sales.sell(parties) });
  await sales.clock.later(ANSWER_MS - 60_000);
  await decideOverdueDisputes(sales.deps);
  assert.equal((await see(parties, dispute.dispute_id)).status, 'open');
  await sales.clock.later(60_000);
  assert.ok((await decideOverdueDisputes(sales.deps)) >= 1);
  const decided = await see(parties, dispute.dispute_id);
  assert.deepEqual([decided.status, decided.decided_by, decided.refunded], ['refunded', 'silence', '10']);
  await assertBooks(parties, { balance: 1_000n * CREDIT, disputed: 0n, payable: 0n });
});

test('a seller who answers after the time is refused, even before the job has come by', async () => {
  const parties = await sales.newParties();
  const dispute = await open({ parties, callId: await sales.sell(parties) });
  await sales.clock.later(ANSWER_MS);
  const late = await refusal(answer(parties, dispute.dispute_id, { decision: 'reject' }));
  assert.equal(late.code, 'CONFLICT');
  assert.match(late.message, /time to answer ended/);
  await decideOverdueDisputes(sales.deps);
  assert.equal((await see(parties, dispute.dispute_id)).decided_by, 'silence');
});

test('a dispute that cannot be decided does not keep the others waiting', async () => {
  const [broken, fine] = [await sales.newParties(), await sales.newParties()];
  await open({ parties: broken, callId: await sales.sell(broken) });
  const dispute = await open({ parties: fine, callId: await sales.sell(fine) });
  const { pool } = sales.database;
  const take = (micros: bigint) =>
    pool.query(
      `UPDATE ledger_accounts SET posted = posted - $2 WHERE organization_id = $1 AND kind = 'disputed'`,
      [broken.sellerId, micros],
    );
  await take(CREDIT);
  await sales.clock.later(ANSWER_MS);
  await decideOverdueDisputes(sales.deps);
  assert.equal((await see(fine, dispute.dispute_id)).status, 'refunded');
  await take(-CREDIT);
  assert.equal(await decideOverdueDisputes(sales.deps), 1);
  await assertBooks(broken, { balance: 1_000n * CREDIT });
});

test('the operator decides an open dispute, and an answer after that comes too late', async () => {
  const parties = await sales.newParties();
  const dispute = await open({ parties, callId: await sales.sell(parties) });
  const said = {
    decision: 'partial',
    amountMicros: 4n * CREDIT,
    explanation: 'half of it was fine',
  } as const;
  const decided = await rule(parties, dispute.dispute_id, said);
  assert.deepEqual([decided.decided_by, decided.refunded], ['operator', '4']);
  assert.deepEqual(await rule(parties, dispute.dispute_id, said), decided);
  const late = await refusal(answer(parties, dispute.dispute_id, { decision: 'reject' }));
  assert.equal(late.code, 'CONFLICT');
  assert.match(late.message, /by the operator: 4 credits were refunded/);
});

test("a seller's rejection stands: neither silence nor the operator changes it", async () => {
  const parties = await sales.newParties();
  const dispute = await open({ parties, callId: await sales.sell(parties) });
  await answer(parties, dispute.dispute_id, { decision: 'reject' });
  const said = { decision: 'refund', amountMicros: undefined, explanation: 'no' } as const;
  assert.equal((await refusal(rule(parties, dispute.dispute_id, said))).code, 'CONFLICT');
  await sales.clock.later(ANSWER_MS);
  await decideOverdueDisputes(sales.deps);
  assert.equal((await see(parties, dispute.dispute_id)).decided_by, 'seller');
});

test('the same answer sent again answers the same and moves nothing', async () => {
  const parties = await sales.newParties();
  const dispute = await open({ parties, callId: await sales.sell(parties) });
  const first = await answer(parties, dispute.dispute_id, { decision: 'refund' });
  assert.deepEqual(await answer(parties, dispute.dispute_id, { decision: 'refund' }), first);
  assert.equal((await refusal(answer(parties, dispute.dispute_id, { decision: 'reject' }))).code, 'CONFLICT');
  await assertBooks(parties, { balance: 1_000n * CREDIT });
});

test('the same claim sent again is the same dispute; another one of that call is refused', async () => {
  const parties = await sales.newParties();
  const callId = await sales.sell(parties);
  const first = await open({ parties, callId, amountMicros: 4n * CREDIT });
  assert.deepEqual(await open({ parties, callId, amountMicros: 4n * CREDIT }), first);
  const others: Partial<Claim>[] = [
    {},
    { amountMicros: 5n * CREDIT },
    { amountMicros: 4n * CREDIT, reason: 'other' },
    { amountMicros: 4n * CREDIT, description: 'something else' },
  ];
  for (const other of others) {
    const refused = await refusal(open({ parties, callId, ...other }));
    assert.equal(refused.code, 'CONFLICT');
    assert.match(refused.message, new RegExp(first.dispute_id));
  }
  await assertBooks(parties, { disputed: 3_880_000n });
});

test('two equal claims at once are one dispute', async () => {
  const parties = await sales.newParties();
  const callId = await sales.sell(parties);
  const answers = await Promise.all(Array.from({ length: 6 }, () => open({ parties, callId })));
  assert.equal(new Set(answers.map(({ dispute_id }) => dispute_id)).size, 1);
  await assertBooks(parties, { disputed: 9_700_000n });
});

test('an operator who rules while silence is being decided: one of both decides, and the money moves once', async () => {
  for (let round = 0; round < 10; round += 1) {
    await sales.clock.reset();
    const parties = await sales.newParties();
    const dispute = await open({ parties, callId: await sales.sell(parties) });
    await sales.clock.later(ANSWER_MS);
    const failures: string[] = [];
    const log: BillingDeps['log'] = (_, message, facts) =>
      failures.push(`${message} ${String(facts?.['error'])}`);
    await Promise.all([
      rule(parties, dispute.dispute_id, {
        decision: 'reject',
        amountMicros: undefined,
        explanation: 'it was fine',
      }).catch((error: unknown) =>
        assert.ok(error instanceof Problem && error.code === 'CONFLICT', String(error)),
      ),
      decideOverdueDisputes({ ...sales.deps, log }),
      decideOverdueDisputes({ ...sales.deps, log }),
    ]);
    assert.deepEqual(failures, []);
    const decided = await see(parties, dispute.dispute_id);
    const isRefunded = decided.decided_by === 'silence';
    await assertBooks(parties, {
      balance: (isRefunded ? 1_000n : 990n) * CREDIT,
      earnings: isRefunded ? 0n : 9_700_000n,
      payable: 0n,
      disputed: 0n,
    });
  }
});

test('disputes of one seller are decided while its calls go on being settled, and nothing waits for ever', async () => {
  const parties = await sales.newParties();
  const calls: string[] = [];
  for (let each = 0; each < 12; each += 1) calls.push(await sales.sell(parties));
  await Promise.all([
    ...calls.map(async (callId, index) => {
      const { dispute_id } = await open({ parties, callId });
      const decision = index % 2 === 0 ? 'refund' : 'reject';
      await answer(parties, dispute_id, { decision });
    }),
    ...calls.map(() => sales.sell(parties)),
  ]);
  await assertBooks(parties, {
    balance: (1_000n - 240n + 60n) * CREDIT,
    earnings: 18n * 9_700_000n,
    payable: 0n,
    disputed: 0n,
  });
});

test('a dispute that waits for an account holds none that a batch of the ledger locks after it', async () => {
  const parties = await sales.newParties();
  const claimed = await sales.sell(parties);
  const { dispute_id } = await open({ parties, callId: await sales.sell(parties) });
  await assertWaitsInOrder(parties, () =>
    open({ parties, callId: claimed, reason: 'overcharge', priceMicros: 8n * CREDIT }),
  );
  await assertWaitsInOrder(parties, () => answer(parties, dispute_id, { decision: 'refund' }));
  await assertBooks(parties, { balance: 992n * CREDIT, disputed: 0n });
});

/** Takes the first account as a batch would, lets the work come to wait for it, and takes the others. */
async function assertWaitsInOrder(parties: Parties, work: () => Promise<unknown>): Promise<void> {
  const { pool } = sales.database;
  const batch = await pool.connect();
  try {
    await batch.query('BEGIN');
    const { rows: accounts } = await batch.query<{ id: string }>(
      `SELECT id FROM ledger_accounts WHERE currency = $3 AND kind <> 'funding'
         AND (organization_id IN ($1, $2) OR organization_id IS NULL) ORDER BY id`,
      [parties.buyer.organizationId, parties.sellerId, parties.currency],
    );
    const [first, ...others] = accounts.map(({ id }) => id);
    await batch.query('SELECT 1 FROM ledger_accounts WHERE id = $1 FOR NO KEY UPDATE', [first]);
    const underWay = work();
    for (let waiting = 0, looks = 0; waiting === 0; looks += 1) {
      assert.ok(looks < 5_000, 'it comes to wait for the account');
      const { rows } = await pool.query<{ waiting: number }>(WAITING);
      waiting = rows[0]?.waiting ?? 0;
    }
    await batch.query('SELECT 1 FROM ledger_accounts WHERE id = ANY ($1) FOR NO KEY UPDATE NOWAIT', [others]);
    await batch.query('COMMIT');
    await underWay;
  } finally {
    batch.release(true);
  }
}

const WAITING = `SELECT count(*)::int AS waiting FROM pg_stat_activity
  WHERE datname = current_database() AND wait_event_type = 'Lock'`;

test('the window is 7 days from settling, and the claim of a moment before is still good', async () => {
  const parties = await sales.newParties();
  const [inTime, late] = [await sales.sell(parties), await sales.sell(parties)];
  await sales.clock.later(DISPUTE_WINDOW_MS - 60_000);
  const dispute = await open({ parties, callId: inTime });
  await sales.clock.later(60_000);
  const refused = await refusal(open({ parties, callId: late }));
  assert.equal(refused.code, 'CONFLICT');
  assert.match(refused.message, /within 7 days/);
  // A request that is sent again is answered, however late.
  assert.deepEqual(await open({ parties, callId: inTime }), dispute);
});

test('what was released cannot be set aside, even where the clock was put back since', async () => {
  const parties = await sales.newParties();
  const [old] = [await sales.sell(parties)];
  await sales.clock.later(DISPUTE_WINDOW_MS + 1_000);
  await releaseEarnings(sales.deps);
  await sales.clock.reset();
  const recent = await sales.sell(parties);
  assert.ok(recent);
  const refused = await refusal(open({ parties, callId: old }));
  assert.match(refused.message, /within 7 days/);
  await assertBooks(parties, { payable: 9_700_000n, earnings: 9_700_000n });
});

test('releasing and disputing the same call at the same moment: one of both, never both', async () => {
  for (let round = 0; round < 10; round += 1) {
    await sales.clock.reset();
    const parties = await sales.newParties();
    const callId = await sales.sell(parties);
    const [opened] = await Promise.allSettled([
      open({ parties, callId }),
      sales.clock.later(DISPUTE_WINDOW_MS + 1_000).then(() => releaseEarnings(sales.deps)),
    ]);
    const isOpen = opened.status === 'fulfilled';
    await assertBooks(parties, {
      earnings: 0n,
      disputed: isOpen ? 9_700_000n : 0n,
      payable: isOpen ? 0n : 9_700_000n,
    });
  }
});

test('a claim on what was not charged, or on more than was, is refused with the reason', async () => {
  const parties = await sales.newParties();
  const refunded = await sales.refundCall(parties);
  const free = await sales.sell(parties, { amountMicros: 0n });
  for (const callId of [refunded, free]) {
    const refused = await refusal(open({ parties, callId }));
    assert.equal(refused.code, 'CONFLICT');
    assert.match(refused.message, /Nothing was charged/);
  }
  const callId = await sales.sell(parties);
  for (const amountMicros of [0n, 10n * CREDIT + 1n]) {
    const refused = await refusal(open({ parties, callId, amountMicros }));
    assert.equal(refused.code, 'INVALID_INPUT');
    assert.equal(refused.extras.faults?.[0]?.path, '/amount');
  }
});

test("another organization's call, a test call asked for with a live key, a grant, and nonsense are all the same 404", async () => {
  const [mine, theirs] = [await sales.newParties(), await sales.newParties()];
  const testing = await sales.newParties('test');
  const { rows } = await sales.database.pool.query<{ id: string }>(
    `SELECT id FROM ledger_journal WHERE kind = 'grant' AND credit = $1`,
    [mine.buyer.balanceId],
  );
  const grant = `call_${rows[0]?.id.replaceAll('-', '')}`;
  const ids = [
    await sales.sell(theirs),
    await sales.sell(testing),
    grant,
    'nonsense',
    `call_${'0'.repeat(32)}`,
  ];
  const refused = await Promise.all(ids.map((callId) => refusal(open({ parties: mine, callId }))));
  assert.deepEqual(new Set(refused.map(({ code }) => code)), new Set(['NOT_FOUND']));
  assert.equal(new Set(refused.map(({ message }) => message)).size, 1);
});

test('nobody but the two sides and the operator sees a dispute, and only in its own currency', async () => {
  const [parties, strangers] = [await sales.newParties('test'), await sales.newParties('test')];
  const { dispute_id } = await open({ parties, callId: await sales.sell(parties) });
  const { db } = sales.deps;
  const as = (organizationId: string, currency: 'live' | 'test', isOperator = false) =>
    getDispute(db, dispute_id, { organizationId, currency, isOperator });
  for (const each of [parties.buyer.organizationId, parties.sellerId]) {
    assert.ok(await as(each, 'test'));
    assert.equal((await refusal(as(each, 'live'))).code, 'NOT_FOUND');
  }
  assert.equal((await refusal(as(strangers.sellerId, 'test'))).code, 'NOT_FOUND');
  assert.ok(await as('org_operator', 'test', true));
  assert.equal((await refusal(as('org_operator', 'live', true))).code, 'NOT_FOUND');
  assert.equal((await refusal(answer(strangers, dispute_id, { decision: 'refund' }))).code, 'NOT_FOUND');
  const buyerAnswers = answer({ ...parties, sellerId: parties.buyer.organizationId }, dispute_id, {
    decision: 'refund',
  });
  assert.equal((await refusal(buyerAnswers)).code, 'FORBIDDEN');
  const missing = await refusal(answer(parties, `dsp_${'0'.repeat(32)}`, { decision: 'refund' }));
  const foreign = await refusal(answer(strangers, dispute_id, { decision: 'refund' }));
  assert.equal(foreign.message, missing.message);
});

test('a list shows one side, newest first, page by page', async () => {
  const parties = await sales.newParties();
  const ids: string[] = [];
  for (let each = 0; each < 3; each += 1) {
    ids.unshift((await open({ parties, callId: await sales.sell(parties) })).dispute_id);
  }
  await answer(parties, ids[1] ?? '', { decision: 'reject' });
  const { organizationId, currency } = parties.buyer;
  const list = async (side: 'buyer' | 'seller', status?: 'open' | 'rejected', before?: string) => {
    const onlooker = {
      organizationId: side === 'buyer' ? organizationId : parties.sellerId,
      currency,
      isOperator: false,
    };
    const rows = await listDisputes(sales.deps.db, { onlooker, side, status, before, limit: 10 });
    return rows.map((row) => formatDispute(row).dispute_id);
  };
  assert.deepEqual(await list('buyer'), ids);
  assert.deepEqual(await list('seller'), ids);
  assert.deepEqual(await list('buyer', 'rejected'), [ids[1]]);
  assert.deepEqual(await list('buyer', undefined, ids[0]), ids.slice(1));
  const onlooker = { organizationId, currency, isOperator: false };
  assert.deepEqual(
    await listDisputes(sales.deps.db, {
      onlooker,
      side: 'seller',
      status: undefined,
      before: undefined,
      limit: 10,
    }),
    [],
  );
});

test('a second charge for the same answer to the same question is refunded at once; the first stays', async () => {
  const parties = await sales.newParties();
  const first = await sales.sell(parties, { input: 'same' });
  const second = await sales.sell(parties, { input: 'same' });
  const decided = await open({ parties, callId: second, reason: 'duplicate' });
  assert.deepEqual([decided.status, decided.decided_by, decided.refunded], ['refunded', 'ledger', '10']);
  assert.match(decided.explanation ?? '', new RegExp(first));
  await assertBooks(parties, { balance: 990n * CREDIT, earnings: 9_700_000n, disputed: 0n, payable: 0n });
  const kept = await open({ parties, callId: first, reason: 'duplicate' });
  assert.deepEqual([kept.status, kept.refunded], ['rejected', '0']);
  await assertBooks(parties, { balance: 990n * CREDIT, earnings: 9_700_000n, disputed: 0n, payable: 0n });
});

test('what the ledger decides at once is told once to each side, as resolved', async () => {
  const parties = await sales.newParties();
  const first = await sales.sell(parties, { input: 'same' });
  const second = await sales.sell(parties, { input: 'same' });
  const refunded = await open({ parties, callId: second, reason: 'duplicate' });
  const rejected = await open({ parties, callId: first, reason: 'duplicate' });
  assert.deepEqual([refunded.status, rejected.status], ['refunded', 'rejected']);
  for (const each of [parties.buyer.organizationId, parties.sellerId]) {
    assert.deepEqual(
      (await sales.eventsOf(each)).map(({ type, data }) => [type, data['dispute_id'], data['status']]),
      [
        ['dispute.resolved', refunded.dispute_id, 'refunded'],
        ['dispute.resolved', rejected.dispute_id, 'rejected'],
      ],
    );
  }
});

const NO_DUPLICATES: [what: string, first: object, second: object][] = [
  ['other arguments', { input: 'a' }, { input: 'b' }],
  ['another key', { keyId: 'key_a' }, { keyId: 'key_b' }],
  ['another agent', { agentId: 'agt_a_v1' }, { agentId: 'agt_b_v1' }],
  ['another version', { agentVersion: '1.0.0' }, { agentVersion: '1.0.1' }],
  ['a free call', { amountMicros: 0n }, {}],
];
for (const [what, first, second] of NO_DUPLICATES) {
  test(`${what} before it makes a call no duplicate, and a refuted claim moves nothing`, async () => {
    const parties = await sales.newParties();
    await sales.sell(parties, { input: 'same', ...first });
    const callId = await sales.sell(parties, { input: 'same', ...second });
    const before = await sales.books(parties);
    const decided = await open({ parties, callId, reason: 'duplicate' });
    assert.deepEqual([decided.status, decided.decided_by, decided.refunded], ['rejected', 'ledger', '0']);
    assert.match(decided.explanation ?? '', /no earlier charge/);
    assert.deepEqual(await sales.books(parties), before);
  });
}

test('a call that began more than 15 minutes after an equal one was settled is another purchase', async () => {
  const parties = await sales.newParties();
  await sales.sell(parties, { input: 'same' });
  const at = (minutes: number) => new Date(Date.now() + minutes * 60_000);
  const soon = await sales.sell(parties, { input: 'same', startedAt: at(14) });
  assert.equal((await open({ parties, callId: soon, reason: 'duplicate' })).status, 'refunded');
  const later = await sales.sell(parties, { input: 'same', startedAt: at(16) });
  assert.equal((await open({ parties, callId: later, reason: 'duplicate' })).status, 'rejected');
});

test('the same question with another answer is for the seller to judge, and so is a call without a receipt', async () => {
  const parties = await sales.newParties();
  await sales.sell(parties, { input: 'same', output: 'one picture' });
  const another = await sales.sell(parties, { input: 'same', output: 'another picture' });
  assert.equal((await open({ parties, callId: another, reason: 'duplicate' })).status, 'open');
  const bare = await sales.sell(parties, { hasReceipt: false });
  assert.equal((await open({ parties, callId: bare, reason: 'duplicate' })).status, 'open');
  const priced = await sales.sell(parties, { hasReceipt: false });
  assert.equal(
    (await open({ parties, callId: priced, reason: 'overcharge', priceMicros: CREDIT })).status,
    'open',
  );
  await assertBooks(parties, { disputed: 3n * 9_700_000n });
});

test('an equal call whose money was claimed back for another reason makes the next one the first', async () => {
  const parties = await sales.newParties();
  const first = await sales.sell(parties, { input: 'same' });
  const second = await sales.sell(parties, { input: 'same' });
  await open({ parties, callId: first, reason: 'not_delivered' });
  assert.equal((await open({ parties, callId: second, reason: 'duplicate' })).status, 'rejected');
});

test('of two equal calls silence gives back one: the other is rejected, unless its seller refunds it', async () => {
  for (const isAnswered of [false, true]) {
    await sales.clock.reset();
    const parties = await sales.newParties();
    const first = await sales.sell(parties, { input: 'same' });
    const second = await sales.sell(parties, { input: 'same' });
    await open({ parties, callId: second, reason: 'duplicate' });
    const { dispute_id } = await open({ parties, callId: first, reason: 'not_delivered' });
    if (isAnswered) await answer(parties, dispute_id, { decision: 'refund' });
    await sales.clock.later(ANSWER_MS);
    await decideOverdueDisputes(sales.deps);
    const decided = await see(parties, dispute_id);
    if (isAnswered) {
      assert.deepEqual([decided.status, decided.decided_by], ['refunded', 'seller']);
      continue;
    }
    assert.deepEqual([decided.status, decided.decided_by, decided.refunded], ['rejected', 'silence', '0']);
    assert.match(decided.explanation ?? '', /given back once already/);
    await assertBooks(parties, { balance: 990n * CREDIT, earnings: 9_700_000n, disputed: 0n, payable: 0n });
  }
});

test('one payment does not buy a series: a call is no duplicate of one that was given back, or proved another', async () => {
  const parties = await sales.newParties();
  const calls: string[] = [];
  for (let n = 0; n < 6; n += 1) calls.push(await sales.sell(parties, { input: 'same' }));
  const decided = [];
  for (const callId of calls.slice(1)) decided.push(await open({ parties, callId, reason: 'duplicate' }));
  assert.deepEqual(
    decided.map(({ status, duplicate_of: reason }) => [status, reason]),
    [
      ['refunded', calls[0]],
      ['rejected', null],
      ['refunded', calls[2]],
      ['rejected', null],
      ['refunded', calls[4]],
    ],
  );
  assert.match(decided[1]?.explanation ?? '', /One payment is the reason of one refund/);
  await assertBooks(parties, { balance: 970n * CREDIT, disputed: 0n });
});

test('a call that proved another to be a duplicate is none itself', async () => {
  const parties = await sales.newParties();
  await sales.sell(parties, { input: 'same' });
  const second = await sales.sell(parties, { input: 'same' });
  const third = await sales.sell(parties, { input: 'same' });
  assert.equal((await open({ parties, callId: third, reason: 'duplicate' })).duplicate_of, second);
  const decided = await open({ parties, callId: second, reason: 'duplicate' });
  assert.equal(decided.status, 'rejected');
  assert.match(decided.explanation ?? '', /this is the one that is paid for/);
});

test('a claim that waits for its seller, also as a duplicate, makes its call prove nothing', async () => {
  const parties = await sales.newParties();
  await sales.sell(parties, { input: 'same', output: 'one picture' });
  const second = await sales.sell(parties, { input: 'same', output: 'another picture' });
  const third = await sales.sell(parties, { input: 'same', output: 'another picture' });
  const { dispute_id: id } = await open({ parties, callId: second, reason: 'duplicate' });
  // The first is unspent, and its answer is another one.
  const asked = await open({ parties, callId: third, reason: 'duplicate' });
  assert.deepEqual([asked.status, asked.duplicate_of], ['open', null]);
  await answer(parties, id, { decision: 'reject' });
  const fourth = await sales.sell(parties, { input: 'same', output: 'another picture' });
  assert.equal((await open({ parties, callId: fourth, reason: 'duplicate' })).duplicate_of, second);
});

test('in whatever order and at the same moment equal calls are disputed, each refund rests on a paid call of its own', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom('one', 'other'), { minLength: 2, maxLength: 7 }),
      fc.infiniteStream(fc.nat(1_000_000)),
      fc.integer({ min: 1, max: 7 }),
      async (answers, chances, atOnce) => {
        await sales.clock.reset();
        const parties = await sales.newParties();
        const ids: string[] = [];
        for (const output of answers) ids.push(await sales.sell(parties, { input: 'same', output }));
        const next = () => chances.next().value as number;
        const order = ids.map((id) => ({ id, at: next() })).toSorted((a, b) => a.at - b.at);
        for (let i = 0; i < order.length; i += atOnce) {
          const batch = order.slice(i, i + atOnce);
          await Promise.all(
            batch.map(({ id: callId }) =>
              open({ parties, callId, reason: next() % 4 === 0 ? 'other' : 'duplicate' }),
            ),
          );
        }
        await sales.clock.later(ANSWER_MS);
        await decideOverdueDisputes(sales.deps);
        const { rows } = await sales.database.pool.query<{ call: string; reason: string | null }>(
          `SELECT call_id AS call, duplicate_of AS reason FROM disputes WHERE buyer_id = $1 AND status = 'refunded'`,
          [parties.buyer.organizationId],
        );
        const refunded = new Set(rows.map(({ call }) => call));
        const reasons = rows.map(({ reason }) => reason).filter((reason) => reason !== null);
        assert.equal(new Set(reasons).size, reasons.length, 'no call is the reason of two refunds');
        for (const reason of reasons) assert.ok(!refunded.has(reason), 'a reason stays paid');
        assert.deepEqual((await sales.books(parties)).faults, []);
      },
    ),
    { numRuns: 60, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: true },
  );
});

test('an overcharge is refunded exactly by its excess, fee included, and the rest stays with the seller', async () => {
  const parties = await sales.newParties();
  const callId = await sales.sell(parties);
  const decided = await open({ parties, callId, reason: 'overcharge', priceMicros: 8n * CREDIT });
  assert.deepEqual([decided.status, decided.refunded, decided.decided_by], ['refunded', '2', 'ledger']);
  await assertBooks(parties, {
    balance: 992n * CREDIT,
    earnings: 9_700_000n - 1_940_000n,
    disputed: 0n,
    payable: 0n,
  });
  const little = await sales.sell(parties);
  const claimed = { amountMicros: CREDIT, priceMicros: 8n * CREDIT };
  assert.equal((await open({ parties, callId: little, reason: 'overcharge', ...claimed })).refunded, '1');
  const fair = await sales.sell(parties);
  const refuted = await open({ parties, callId: fair, reason: 'overcharge', priceMicros: 10n * CREDIT });
  assert.equal(refuted.status, 'rejected');
  assert.match(refuted.explanation ?? '', /10 credits charged, 10 held, and a published price of at most 10/);
});

test('an answer that makes no sense is refused by name', async () => {
  const parties = await sales.newParties();
  const { dispute_id } = await open({
    parties,
    callId: await sales.sell(parties),
    amountMicros: 5n * CREDIT,
  });
  const said: Parameters<typeof answer>[2][] = [
    { decision: 'partial' },
    { decision: 'partial', amountMicros: 0n },
    { decision: 'partial', amountMicros: 5n * CREDIT },
    { decision: 'refund', amountMicros: CREDIT },
    { decision: 'reject', amountMicros: CREDIT },
  ];
  for (const each of said) {
    const refused = await refusal(answer(parties, dispute_id, each));
    assert.equal(refused.code, 'INVALID_INPUT');
    assert.equal(refused.extras.faults?.[0]?.path, '/amount');
  }
});

test('the receipt of a reversed call stays what it was', async () => {
  const parties = await sales.newParties();
  const callId = await sales.sell(parties);
  const read = () =>
    sales.database.pool.query('SELECT payload FROM receipts WHERE call_id = $1', [uuidOf(callId)]);
  const before = await read();
  const { dispute_id } = await open({ parties, callId });
  await answer(parties, dispute_id, { decision: 'refund' });
  assert.deepEqual((await read()).rows, before.rows);
});

test('whatever happens to disputes in whatever order and at the same time, every credit has one owner', async () => {
  const step = fc.record({
    call: fc.nat(3),
    act: fc.constantFrom(
      'open',
      'duplicate',
      'overcharge',
      'refund',
      'partial',
      'reject',
      'rule',
      'silence',
      'release',
    ),
    share: fc.bigInt(1n, 10n),
    isAlone: fc.boolean(),
  });
  const calls = fc.array(
    fc.record({
      amount: fc.bigInt(1n, 20n * CREDIT),
      fee: fc.constantFrom(0n, 300n, 3_333n, 10_000n),
      input: fc.constantFrom('a', 'b'),
    }),
    { minLength: 4, maxLength: 4 },
  );
  await fc.assert(
    fc.asyncProperty(calls, fc.array(step, { minLength: 3, maxLength: 14 }), async (wanted, steps) => {
      await sales.clock.reset();
      const parties = await sales.newParties();
      const ids: string[] = [];
      for (const { amount, fee, input } of wanted) {
        const feeMicros = (amount * fee) / 10_000n;
        ids.push(await sales.sell(parties, { amountMicros: amount, feeMicros, input }));
      }
      const charged = wanted.reduce((sum, { amount }) => sum + amount, 0n);
      const proceeds = wanted.reduce((sum, { amount, fee }) => sum + amount - (amount * fee) / 10_000n, 0n);

      let underWay: Promise<unknown>[] = [];
      for (const { call, act, share, isAlone } of steps) {
        underWay.push(play(parties, ids[call] ?? '', act, share));
        if (!isAlone) continue;
        await Promise.all(underWay);
        underWay = [];
      }
      await Promise.all(underWay);

      const books = await sales.books(parties);
      assert.deepEqual(books.faults, []);
      const { rows } = await sales.database.pool.query<{ back: string; fee: string }>(
        `SELECT coalesce(sum(amount), 0) AS back, coalesce(sum(amount) FILTER (WHERE kind = 'fee_reversal'), 0) AS fee
         FROM ledger_journal WHERE credit = $1 AND kind IN ('reversal', 'fee_reversal')`,
        [parties.buyer.balanceId],
      );
      const [back, fee] = [BigInt(rows[0]?.back ?? 0), BigInt(rows[0]?.fee ?? 0)];
      assert.equal(books.balance, 1_000n * CREDIT - charged + back);
      assert.equal(books.earnings + books.disputed + books.payable, proceeds - (back - fee));
    }),
    { numRuns: 100, interruptAfterTimeLimit: 100_000, markInterruptAsFailure: true },
  );
});

/** One thing somebody does; what is refused is refused, and anything else that is thrown is a fault. */
async function play(parties: Parties, callId: string, act: string, share: bigint): Promise<void> {
  const { rows } = await sales.database.pool.query<{ id: string; claimed: string; charged: string }>(
    `SELECT d.id, d.claimed_micros AS claimed, j.amount AS charged
     FROM ledger_journal j LEFT JOIN disputes d ON d.call_id = j.id WHERE j.id = $1`,
    [uuidOf(callId)],
  );
  const disputeId = `dsp_${(rows[0]?.id ?? '0'.repeat(32)).replaceAll('-', '')}`;
  assert.ok(uuidOfId('dsp', disputeId));
  const part = (of: string | undefined): bigint => (BigInt(of ?? 0) * share) / 10n;
  const amountMicros = part(rows[0]?.charged);
  try {
    switch (act) {
      case 'open':
        await open({ parties, callId, amountMicros });
        break;
      case 'duplicate':
        await open({ parties, callId, reason: 'duplicate', amountMicros });
        break;
      case 'overcharge':
        await open({ parties, callId, reason: 'overcharge', amountMicros, priceMicros: share * CREDIT });
        break;
      case 'partial':
        await answer(parties, disputeId, { decision: 'partial', amountMicros: part(rows[0]?.claimed) });
        break;
      case 'refund':
      case 'reject':
        await answer(parties, disputeId, { decision: act });
        break;
      case 'rule':
        await rule(parties, disputeId, { decision: 'refund', amountMicros: undefined, explanation: 'ruled' });
        break;
      case 'silence':
        await sales.clock.later(ANSWER_MS / 2);
        await decideOverdueDisputes(sales.deps);
        break;
      case 'release':
        await sales.clock.later(DISPUTE_WINDOW_MS / 2);
        await releaseEarnings(sales.deps);
        break;
      default:
        assert.fail(`nobody can ${act}`);
    }
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
  }
}
