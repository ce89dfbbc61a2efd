import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { Problem } from '../../src/base/problem.ts';
import { idOfUuid } from '../../src/base/ids.ts';
import { answerDispute } from '../../src/billing/answer-dispute.ts';
import { DISPUTE_WINDOW_MS } from '../../src/billing/dispute-window.ts';
import { getEarnings, releaseEarnings } from '../../src/billing/earnings.ts';
import { openDispute } from '../../src/billing/open-dispute.ts';
import { recordPayoutEvent } from '../../src/billing/payout-events.ts';
import { resumePayouts } from '../../src/billing/payout-jobs.ts';
import { CLAIM_MS } from '../../src/billing/send-payout.ts';
import { openPayees, passed, type Payees } from './payees.ts';
import { CREDIT } from './sales.ts';

let payees: Payees;
before(async () => {
  payees = await openPayees();
});
after(() => payees.close());

type Payee = Awaited<ReturnType<Payees['newPayee']>>;

const part = fc.double({ min: 0.01, max: 1, noNaN: true });
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      micros: fc.bigInt(1n, 30n * CREDIT),
      feeShare: fc.constantFrom(0n, 300n, 9_999n, 10_000n),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('dispute' as const), which: fc.nat(9), part }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('answer' as const),
      which: fc.nat(9),
      decision: fc.constantFrom('refund', 'partial', 'reject'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('release' as const), back: fc.nat(3) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('payout' as const),
      askedMicros: fc.option(fc.bigInt(CREDIT, 40n * CREDIT), { nil: undefined }),
      fate: fc.constantFrom('made', 'made', 'refused', 'failed', 'down'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('resume' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reverse' as const), which: fc.nat(5), part }) },
);
type Step = typeof step extends fc.Arbitrary<infer One> ? One : never;

/** What one seller lived through, as a test sees it from outside. */
type History = { payee: Payee; settledMicros: bigint; calls: string[]; marks: number[]; faults: number };

async function play(history: History, wanted: Step): Promise<void> {
  const { payee, calls, marks } = history;
  const { parties } = payee;
  switch (wanted.do) {
    case 'settle': {
      const feeMicros = (wanted.micros * wanted.feeShare) / 10_000n;
      const callId = await payees.sell(parties, {
        amountMicros: wanted.micros,
        feeMicros,
        hasReceipt: false,
      });
      history.settledMicros += wanted.micros - feeMicros;
      calls.push(callId);
      marks.push(Date.now());
      return;
    }
    case 'dispute': {
      const callId = calls[wanted.which % Math.max(1, calls.length)];
      if (callId === undefined) return;
      const amountMicros = await shareOf(callId, wanted.part);
      const claim = { callId, reason: 'other' as const, description: 'it was wrong', amountMicros };
      await openDispute(payees.deps, parties.buyer, claim, async () => undefined);
      return;
    }
    case 'answer': {
      const { rows } = await payees.database.pool.query<{ id: string; claimed: string }>(
        'SELECT id, claimed_micros AS claimed FROM disputes WHERE seller_id = $1 ORDER BY id',
        [payee.organizationId],
      );
      const dispute = rows[wanted.which % Math.max(1, rows.length)];
      if (!dispute) return;
      const half = BigInt(dispute.claimed) / 2n;
      const isPart = wanted.decision === 'partial' && half > 0n;
      await answerDispute(
        payees.deps,
        { organizationId: payee.organizationId, currency: payee.currency, isOperator: false },
        idOfUuid('dsp', dispute.id),
        {
          decision: isPart ? 'partial' : wanted.decision === 'reject' ? 'reject' : 'refund',
          amountMicros: isPart ? half : undefined,
          explanation: 'so it is',
        },
      );
      return;
    }
    case 'release': {
      const through = marks.at(-1 - wanted.back);
      if (through === undefined) return;
      // What is settled after a release is later than it reached, as it is by a week outside of tests.
      await passed(through);
      await payees.clock.at(through + DISPUTE_WINDOW_MS, () => releaseEarnings(payees.deps));
      return;
    }
    case 'payout':
      if (wanted.fate === 'failed' || wanted.fate === 'down') {
        history.faults += 1;
        payees.stripe.fail({ on: /POST \/v1\/transfers/, kind: wanted.fate });
      }
      if (wanted.fate === 'refused') payees.stripe.setPlatformCents(0);
      try {
        await payees.pay(payee, wanted.askedMicros === undefined ? {} : { askedMicros: wanted.askedMicros });
      } finally {
        payees.stripe.setPlatformCents(undefined);
      }
      return;
    case 'resume':
      await resumePayouts(payees.deps);
      return;
    case 'reverse': {
      const transfers = payees.transfersTo(payee);
      const transfer = transfers[wanted.which % Math.max(1, transfers.length)];
      if (!transfer) return;
      const left = Number(transfer['amount']) - Number(transfer['amount_reversed']);
      if (left === 0) return;
      payees.stripe.reverseTransfer(transfer.id, Math.ceil(left * wanted.part));
      const event = payees.stripe.events.at(-1);
      assert.ok(event);
      await recordPayoutEvent(payees.deps, event);
      return;
    }
  }
}

async function shareOf(callId: string, share: number): Promise<bigint | undefined> {
  const { rows } = await payees.database.pool.query<{ amount: string }>(
    'SELECT amount FROM ledger_journal WHERE id = $1',
    [callId.slice('call_'.length)],
  );
  const claimed = (BigInt(rows[0]?.amount ?? 0) * BigInt(Math.round(share * 1_000))) / 1_000n;
  return claimed > 0n ? claimed : undefined;
}

/** A refusal is an answer; anything else is a fault, a reversal that finds no money above all. */
async function tryOut(history: History, wanted: Step): Promise<void> {
  try {
    await play(history, wanted);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    assert.notEqual(error.code, 'INTERNAL');
  }
}

async function assertAccountedFor({ payee, settledMicros }: History): Promise<void> {
  const found = await getEarnings(payees.database.db, payee.organizationId, payee.currency);
  const { rows } = await payees.database.pool.query<{ reversed: string; claimed: string }>(
    `SELECT
       (SELECT coalesce(sum(amount), 0) FROM ledger_journal WHERE credit = $1 AND kind = 'reversal') AS reversed,
       (SELECT coalesce(sum(claimed_micros - claimed_fee_micros), 0) FROM disputes
         WHERE seller_id = $2 AND status = 'open') AS claimed`,
    [payee.parties.buyer.balanceId, payee.organizationId],
  );
  assert.equal(found.reversedMicros, BigInt(rows[0]?.reversed ?? 0));
  assert.equal(found.inDisputeMicros, BigInt(rows[0]?.claimed ?? 0));
  const { availableMicros, pendingMicros, inDisputeMicros, paidOutMicros, reversedMicros } = found;
  assert.equal(
    availableMicros + pendingMicros + inDisputeMicros + paidOutMicros + reversedMicros,
    settledMicros,
    'every micro-credit that was ever earned is in exactly one place',
  );
  assert.equal(found.lifetimeMicros, settledMicros - reversedMicros);
  assert.ok(
    availableMicros + paidOutMicros <= (await sumReleasable(payee)),
    'nothing that may still be disputed was paid out or may be, also not what was disputed once',
  );
}

/** What sellers keep of the calls whose time for disputes was declared over, added up call by call. */
async function sumReleasable({ organizationId, currency }: Payee): Promise<bigint> {
  const { rows } = await payees.database.pool.query<{ sum: string }>(
    `SELECT coalesce(sum(s.amount - s.fee
         - coalesce((SELECT sum(r.amount) FROM ledger_journal r WHERE r.subject = s.id AND r.kind = 'reversal'), 0)
         - coalesce((SELECT d.claimed_micros - d.claimed_fee_micros FROM disputes d
             WHERE d.call_id = s.id AND d.status = 'open'), 0)), 0) AS sum
     FROM ledger_accounts a
     JOIN earning_releases e ON e.account_id = a.id
     JOIN ledger_journal s ON s.credit = a.id AND s.kind = 'settle'
     WHERE a.organization_id = $1 AND a.currency = $2 AND a.kind = 'earnings'
       AND date_trunc('milliseconds', s.created_at) <= e.released_through`,
    [organizationId, currency],
  );
  return BigInt(rows[0]?.sum ?? 0);
}

/** Nobody is half-way any more: what left is what Stripe has, and only disputes keep anything back. */
async function assertSettled(history: History): Promise<void> {
  const { payee } = history;
  // Uses up what was to go wrong with payouts that were refused before Stripe was asked.
  for (let n = 0; n < history.faults; n += 1)
    await fetch(`${payees.stripe.url}/v1/transfers`, { method: 'POST' });
  await payees.clock.at(Date.now() + CLAIM_MS + 60_000, () => resumePayouts(payees.deps));
  await payees.release();
  await assertAccountedFor(history);
  const found = await getEarnings(payees.database.db, payee.organizationId, payee.currency);
  assert.equal(found.pendingMicros, 0n);
  const transfers = payees.transfersTo(payee);
  const sent = transfers.map((each) => BigInt(Number(each['amount']) - Number(each['amount_reversed'])));
  const requested = (await payees.payoutsOf(payee)).filter(({ status }) => status === 'requested');
  assert.deepEqual(requested, []);
  assert.equal(found.paidOutMicros, sent.reduce((sum, cents) => sum + cents, 0n) * CREDIT);
  const ids = transfers.map((each) => each['transfer_group']);
  assert.equal(new Set(ids).size, ids.length, 'no payout has two transfers');
}

test(
  'available + pending + in dispute + paid out + reversed is all that was earned, whatever happens at once',
  { timeout: 300_000 },
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(step, { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 4 }),
        async (moments) => {
          const payee = await payees.newPayee(0n);
          const history: History = { payee, settledMicros: 0n, calls: [], marks: [], faults: 0 };
          for (const steps of moments) {
            // A settlement beside a release would have to be a week late to be missed by it: it goes first.
            await Promise.all(
              steps.filter((each) => each.do === 'settle').map((each) => tryOut(history, each)),
            );
            await Promise.all(
              steps.filter((each) => each.do !== 'settle').map((each) => tryOut(history, each)),
            );
            await assertAccountedFor(history);
          }
          await assertSettled(history);
        },
      ),
      { numRuns: 1_000, interruptAfterTimeLimit: 280_000, markInterruptAsFailure: true },
    );
    const anyone = await payees.newPayee(0n);
    assert.deepEqual((await payees.books(anyone.parties)).faults, []);
  },
);
