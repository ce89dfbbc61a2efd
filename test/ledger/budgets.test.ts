import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { newId } from '../../src/base/ids.ts';
import { silentLog } from '../../src/base/log.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { createLedger, type HoldAnswer, type Ledger } from '../../src/ledger/ledger.ts';
import { getMeter, setBudgetCaps, setMeterCaps, sumSpent } from '../../src/ledger/meters.ts';
import { holdIn, openBooks, type Books, type World } from './books.ts';

let books: Books;
let databases: Database[];
let ledgers: Ledger[];
before(async () => {
  books = await openBooks();
  databases = [0, 1].map(() => openDatabase(books.url, { log: silentLog, maxConnections: 4 }));
  ledgers = databases.map((database) => createLedger(database, silentLog));
});
after(async () => {
  await Promise.all(ledgers.map((ledger) => ledger.close()));
  await Promise.all(databases.map((database) => database.close()));
  await books.close();
});

const NONE = { day: null, month: null, total: null };
const UNSPENT = { usedDayMicros: 0n, usedMonthMicros: 0n, usedTotalMicros: 0n };

/** Both gateways in turn; the key has caps when `isMetered`. */
function hold(world: World, n: number, isMetered: boolean, amountMicros = 1n): Promise<[string, HoldAnswer]> {
  const callId = newId('call');
  const ledger = ledgers[n % 2];
  assert.ok(ledger);
  const order = holdIn(world, amountMicros, {
    callId,
    keyId: `key_${n % 2}`,
    meters: isMetered ? world.meters.slice(0, 1) : [],
  });
  return ledger.hold(order).then((answer) => [callId, answer]);
}

function tally(answers: [string, HoldAnswer][]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [, answer] of answers) {
    const word =
      answer.kind === 'cap'
        ? `${answer.of === 'balance' ? 'organization' : 'key'} ${answer.cap}`
        : answer.kind;
    counts[word] = (counts[word] ?? 0) + 1;
  }
  return counts;
}

test('200 holds at once on two gateways take a budget to its last micro-credit and not past it', async () => {
  const world = await books.openWorld([1_000n], [], [{ ...NONE, month: 70n }]);
  const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => hold(world, n, false)));
  assert.deepEqual(tally(answers), { placed: 70, 'organization month': 130 });
  const now = await books.read(world);
  assert.deepEqual(now.faults, []);
  assert.deepEqual(now.meters[String(world.budgets[0])], { day: 70n, month: 70n, total: 70n });
});

test('200 holds at once with caps of key and organization pass neither', async () => {
  const world = await books.openWorld([1_000n], [{ ...NONE, day: 40n }], [{ ...NONE, day: 100n }]);
  const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => hold(world, n, n % 4 < 2)));
  const counts = tally(answers);
  const now = await books.read(world);
  assert.deepEqual(now.faults, []);
  const [key, budget] = [now.meters[String(world.meters[0])], now.meters[String(world.budgets[0])]];
  assert.equal(counts['placed'], 100, 'there was more than enough asked of both');
  assert.equal(budget?.day, 100n);
  assert.ok((key?.day ?? 41n) <= 40n);
  assert.equal(now.accounts[String(world.buyers[0])]?.held, 100n);
});

test('holds and refunds at once leave a budget with exactly what was charged', async () => {
  const world = await books.openWorld([10_000n], [{ ...NONE, total: 3_000n }], [{ ...NONE, total: 4_000n }]);
  await Promise.all(
    Array.from({ length: 200 }, async (_, n) => {
      const [callId, answer] = await hold(world, n, n % 2 === 0, 10n);
      if (answer.kind !== 'placed') return;
      const ledger = ledgers[(n + 1) % 2];
      await (n % 3 === 0 ? ledger?.refund(callId) : ledger?.settle(callId, 7n, 1n));
    }),
  );
  const now = await books.read(world);
  assert.deepEqual(now.faults, []);
  const charged = 10_000n - (now.accounts[String(world.buyers[0])]?.posted ?? 0n);
  assert.equal(now.meters[String(world.budgets[0])]?.total, charged);
});

test('a budget set while calls run is in force for the next of them, and its meter never counts below nothing', async () => {
  const world = await books.openWorld([1_000n]);
  const [database] = databases;
  const [accountId = 0n] = world.buyers;
  assert.ok(database);
  const now = new Date();
  const before = await Promise.all(Array.from({ length: 50 }, (_, n) => hold(world, n, false)));
  const spent = await sumSpent(database.db, { accountId }, now);
  assert.deepEqual(spent, UNSPENT, 'what is only on hold is not spent');
  await database.db.transaction((tx) =>
    setBudgetCaps(tx, accountId, { capTotalMicros: 20n }, { ...UNSPENT, usedTotalMicros: 15n }, now),
  );
  const after = await Promise.all(Array.from({ length: 50 }, (_, n) => hold(world, n, false)));
  assert.deepEqual(tally(after), { placed: 5, 'organization total': 45 });
  // Those from before are not on the meter, so giving them back takes nothing off it.
  for (const [index, [callId]] of before.entries()) await ledgers[index % 2]?.refund(callId);
  const { rows } = await books.client.query<{ total: string }>(
    `SELECT used_total AS total FROM spend_meters m JOIN ledger_accounts a ON a.meter_id = m.id WHERE a.id = $1`,
    [accountId],
  );
  assert.equal(rows[0]?.total, '20');
  assert.deepEqual((await books.read(world)).faults, []);
});

test('caps may be changed under full load without a deadlock or a lost count', async () => {
  const world = await books.openWorld([100_000n], [{ ...NONE, total: 1n }], [{ ...NONE, total: 1n }]);
  const [database] = databases;
  const [meter = 0n] = world.meters;
  const [budget = 0n] = world.budgets;
  const [accountId = 0n] = world.buyers;
  assert.ok(database);
  const holds = Array.from({ length: 300 }, (_, n) => hold(world, n, true));
  const changes = Array.from({ length: 60 }, (_, n) =>
    database.db.transaction(async (tx) => {
      const caps = { capTotalMicros: BigInt(n * 5) };
      if (n % 2 === 0) await setBudgetCaps(tx, accountId, caps, UNSPENT, new Date());
      else await setMeterCaps(tx, meter, caps);
    }),
  );
  const answers = await Promise.all(holds);
  await Promise.all(changes);
  const placed = BigInt(tally(answers)['placed'] ?? 0);
  const now = await books.read(world);
  assert.deepEqual(now.faults, []);
  assert.equal(now.meters[String(meter)]?.total, placed);
  assert.equal(now.meters[String(budget)]?.total, placed);
});

test('what was spent before is found in the journal by day, month and altogether, for a key and for all', async () => {
  const world = await books.openWorld([1_000n]);
  const [database] = databases;
  const [accountId = 0n] = world.buyers;
  assert.ok(database);
  const spend = (n: number, at: string, amount: bigint, kind = 'settle') =>
    books.client.query(
      `INSERT INTO ledger_journal (id, kind, debit, credit, amount, held, key_id, agent_id, created_at)
       VALUES (gen_random_uuid(), $5, $1, $2, $3, 100, $6, 'agt', $4)`,
      [accountId, world.seller, amount, at, kind, `key_${n}`],
    );
  await spend(0, '2026-10-31T23:59:59.999Z', 1n);
  await spend(0, '2026-11-01T00:00:00Z', 2n);
  await spend(1, '2026-11-20T23:59:59.999Z', 4n);
  await spend(0, '2026-11-21T00:00:00Z', 8n);
  await spend(0, '2026-11-21T00:00:01Z', 0n, 'refund');
  const now = new Date('2026-11-21T12:00:00Z');
  assert.deepEqual(await sumSpent(database.db, { accountId }, now), {
    usedDayMicros: 8n,
    usedMonthMicros: 14n,
    usedTotalMicros: 15n,
  });
  assert.deepEqual(await sumSpent(database.db, { accountId, keyId: 'key_0' }, now), {
    usedDayMicros: 8n,
    usedMonthMicros: 10n,
    usedTotalMicros: 11n,
  });
});

test('what a meter tells begins anew with the day and the month of whoever asks', async () => {
  const world = await books.openWorld([10n], [{ ...NONE, day: 5n }]);
  const [meter = 0n] = world.meters;
  const [database] = databases;
  assert.ok(database);
  await books.client.query(
    `UPDATE spend_meters SET day = '2026-11-30', used_day = 1, used_month = 2, used_total = 3 WHERE id = $1`,
    [meter],
  );
  const usedAt = async (at: string) => {
    const { usedDayMicros, usedMonthMicros, usedTotalMicros } = await getMeter(
      database.db,
      meter,
      new Date(at),
    );
    return [usedDayMicros, usedMonthMicros, usedTotalMicros];
  };
  assert.deepEqual(await usedAt('2026-11-30T23:59:59.999Z'), [1n, 2n, 3n]);
  assert.deepEqual(await usedAt('2026-12-01T00:00:00Z'), [0n, 0n, 3n]);
});
