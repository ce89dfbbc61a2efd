import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { answerDispute } from '../../src/billing/answer-dispute.ts';
import type { BillingDeps } from '../../src/billing/deps.ts';
import { formatDispute } from '../../src/billing/disputes.ts';
import { ANSWER_MS, openDispute, type Claim } from '../../src/billing/open-dispute.ts';
import { decideOverdueDisputes } from '../../src/billing/overdue-disputes.ts';
import { openDatabase } from '../../src/db/db.ts';
import { startTcpProxy, type Fault } from '../support/tcp-proxy.ts';
import { CREDIT, openSales, type Books, type Parties, type Sales } from './sales.ts';

let sales: Sales;
before(async () => {
  sales = await openSales();
});
after(() => sales.close());
beforeEach(() => sales.clock.reset());

/** More chunks than any of these sends to the database. */
const MOST_STEPS = 80;

type Work = (deps: BillingDeps) => Promise<unknown>;

/**
 * Does the work over and over, each time for somebody new, and breaks the connection at its first, second, third …
 * message to the database, until the work gets through unharmed. Tells how many breaks there were.
 */
async function breakEverywhere(
  fault: Fault,
  prepare: () => Promise<{ parties: Parties; work: Work }>,
  check: (parties: Parties, when: 'after the break' | 'at the end') => Promise<void>,
): Promise<number> {
  for (let step = 1; step <= MOST_STEPS; step += 1) {
    const { parties, work } = await prepare();
    let sent = 0;
    const url = new URL(sales.database.url);
    const proxy = await startTcpProxy(Number(url.port || 5432), () =>
      (sent += 1) === step ? fault : 'pass',
    );
    url.host = `127.0.0.1:${proxy.port}`;
    const broken = openDatabase(url.href, { log: silentLog, maxConnections: 1 });
    let isBroken = false;
    try {
      await work({ ...sales.deps, db: broken.db });
    } catch {
      isBroken = true;
    }
    const wasHit = proxy.counts[fault] > 0;
    await broken.close();
    await proxy.close();
    assert.ok(wasHit || !isBroken, 'nothing else breaks it');
    await check(parties, 'after the break');
    // Whoever was told of a failure asks again, and the job comes by again.
    await work(sales.deps);
    await check(parties, 'at the end');
    if (!wasHit) return step - 1;
  }
  return assert.fail('it never got through');
}

/** The books are one of two: nothing has happened, or everything has. At the end, everything. */
function either(nothing: Partial<Books>, everything: Partial<Books>) {
  return async (parties: Parties, when: string): Promise<void> => {
    const { faults, ...books } = await sales.books(parties);
    assert.deepEqual(faults, []);
    const isDone = Object.entries(everything).every(([kind, micros]) => books[kind as 'balance'] === micros);
    const isUndone = Object.entries(nothing).every(([kind, micros]) => books[kind as 'balance'] === micros);
    assert.ok(isDone || (isUndone && when === 'after the break'), `${when}: ${JSON.stringify(books, text)}`);
  };
}

const text = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);

function claim(parties: Parties, wanted: Pick<Claim, 'callId'> & Partial<Claim>): Work {
  return (deps) =>
    openDispute(
      deps,
      parties.buyer,
      { reason: 'other', description: 'it was wrong', amountMicros: undefined, ...wanted },
      () => Promise.resolve(8n * CREDIT),
    );
}

const SOLD = { balance: 990n * CREDIT, earnings: 9_700_000n, disputed: 0n, payable: 0n };
const OPEN = { ...SOLD, earnings: 0n, disputed: 9_700_000n };

for (const fault of ['cut request', 'lose reply'] as const) {
  test(`a dispute is opened wholly or not at all, wherever it breaks (${fault})`, async () => {
    const breaks = await breakEverywhere(
      fault,
      async () => {
        const parties = await sales.newParties();
        return { parties, work: claim(parties, { callId: await sales.sell(parties) }) };
      },
      either(SOLD, OPEN),
    );
    assert.ok(breaks > 10, `${breaks} breaks`);
  });

  test(`what the ledger decides is decided wholly or not at all, wherever it breaks (${fault})`, async () => {
    const breaks = await breakEverywhere(
      fault,
      async () => {
        const parties = await sales.newParties();
        const callId = await sales.sell(parties);
        return { parties, work: claim(parties, { callId, reason: 'overcharge' }) };
      },
      either(SOLD, { ...SOLD, balance: 992n * CREDIT, earnings: 9_700_000n - 1_940_000n }),
    );
    assert.ok(breaks > 15, `${breaks} breaks`);
  });

  test(`an answer counts wholly or not at all, wherever it breaks (${fault})`, async () => {
    const breaks = await breakEverywhere(
      fault,
      async () => {
        const parties = await sales.newParties();
        const callId = await sales.sell(parties);
        const dispute = (await claim(parties, { callId })(sales.deps)) as Awaited<
          ReturnType<typeof openDispute>
        >;
        const { dispute_id } = formatDispute(dispute.dispute);
        const seller = { organizationId: parties.sellerId, currency: parties.currency, isOperator: false };
        const said = { decision: 'partial', amountMicros: 4n * CREDIT, explanation: 'in part' } as const;
        return { parties, work: (deps) => answerDispute(deps, seller, dispute_id, said) };
      },
      either(OPEN, { balance: 994n * CREDIT, earnings: 9_700_000n - 3_880_000n, disputed: 0n, payable: 0n }),
    );
    assert.ok(breaks > 10, `${breaks} breaks`);
  });

  test(`silence is decided wholly or not at all, wherever it breaks (${fault})`, async () => {
    const breaks = await breakEverywhere(
      fault,
      async () => {
        await sales.clock.reset();
        await decideOverdueDisputes(sales.deps);
        const parties = await sales.newParties();
        await claim(parties, { callId: await sales.sell(parties) })(sales.deps);
        await sales.clock.later(ANSWER_MS);
        return { parties, work: (deps) => decideOverdueDisputes(deps) };
      },
      either(OPEN, { balance: 1_000n * CREDIT, earnings: 0n, disputed: 0n, payable: 0n }),
    );
    assert.ok(breaks > 10, `${breaks} breaks`);
  });
}
