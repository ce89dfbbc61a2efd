import assert from 'node:assert/strict';
import { EXPIRED_RECEIPT } from '../../src/audit/receipts.ts';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import type { Pool } from 'pg';
import { silentLog } from '../../src/base/log.ts';
import { newId } from '../../src/base/ids.ts';
import { openDatabase } from '../../src/db/db.ts';
import { createLedger, type Ledger } from '../../src/ledger/ledger.ts';
import { holdIn, openBooks, type Books, type World } from './books.ts';
import { commands, playCommands } from './model.ts';

let books: Books;
before(async () => {
  books = await openBooks();
});
after(() => books.close());

test('a thousand random histories end exactly as one order after the other would', async () => {
  await fc.assert(
    fc.asyncProperty(commands, (wanted) => playCommands(books, wanted)),
    { numRuns: 1_000, interruptAfterTimeLimit: 100_000, markInterruptAsFailure: true },
  );
});

test('two gateways on one database never spend a credit twice, nor resolve a hold twice', async () => {
  const databases = [0, 1].map(() => openDatabase(books.url, { log: silentLog, maxConnections: 2 }));
  const pool = databases[0]?.pool;
  assert.ok(pool);
  const ledgers = databases.map((database) => createLedger(database, silentLog));
  try {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            on: fc.nat(1),
            buyer: fc.nat(1),
            amount: fc.integer({ min: 0, max: 40 }),
            isMetered: fc.boolean(),
            // Each end is asked of both gateways at once.
            ends: fc.constantFrom(
              'settle settle',
              'settle refund',
              'refund refund',
              'settle expire',
              'stays',
            ),
          }),
          { minLength: 4, maxLength: 24 },
        ),
        async (wanted) => {
          const world = await books.openWorld([100n, 30n], [{ day: 50n, month: null, total: 60n }]);
          await Promise.all(wanted.map((one) => playOnBoth(ledgers, pool, world, one)));
          const now = await books.read(world);
          assert.deepEqual(now.faults, []);
          assert.ok((now.meters[String(world.meters[0])]?.total ?? 61n) <= 60n);
        },
      ),
      { numRuns: 60 },
    );
  } finally {
    await Promise.all(ledgers.map((ledger) => ledger.close()));
    await Promise.all(databases.map((database) => database.close()));
  }
});

async function playOnBoth(
  ledgers: Ledger[],
  pool: Pool,
  world: World,
  wanted: { on: number; buyer: number; amount: number; isMetered: boolean; ends: string },
): Promise<void> {
  const [here, there] = wanted.on === 0 ? ledgers : ledgers.toReversed();
  assert.ok(here && there);
  const callId = newId('call');
  const amountMicros = BigInt(wanted.amount);
  const placed = await here.hold(
    holdIn(world, amountMicros, {
      callId,
      buyer: world.buyers[wanted.buyer] ?? 0n,
      meters: wanted.isMetered && wanted.buyer === 0 ? world.meters.slice(0, 1) : [],
    }),
  );
  if (placed.kind !== 'placed' || wanted.ends === 'stays') return;
  const [first, second] = await Promise.all(
    wanted.ends.split(' ').map((end, index) => {
      const ledger = index === 0 ? here : there;
      if (end === 'refund') return ledger.refund(callId);
      if (end === 'settle') return ledger.settle(callId, amountMicros / 2n, 1n < amountMicros / 2n ? 1n : 0n);
      return lapseAndSweep(ledger, callId, pool);
    }),
  );
  if (wanted.ends === 'settle settle' || wanted.ends === 'refund refund') {
    assert.deepEqual([first?.kind, second?.kind], ['done', 'done'], 'both are told that it is so');
  } else if (wanted.ends === 'settle refund') {
    const won = [first, second].filter((answer) => answer?.kind === 'done');
    assert.equal(won.length, 1, 'exactly one of two ends wins');
  }
}

async function lapseAndSweep(ledger: Ledger, callId: string, pool: Pool): Promise<{ kind: string }> {
  await pool.query(
    `UPDATE ledger_holds SET expires_at = created_at + interval '1 microsecond' WHERE id = $1`,
    [callId.slice('call_'.length)],
  );
  await ledger.expireHolds(10, EXPIRED_RECEIPT);
  return { kind: 'swept' };
}
