import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import pg from 'pg';
import { newId, uuidOfId } from '../../src/base/ids.ts';
import { silentLog } from '../../src/base/log.ts';
import { setBudget } from '../../src/governance/budgets.ts';
import { changeKeyCaps } from '../../src/governance/change-caps.ts';
import { issueKey } from '../../src/governance/issue-key.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import type { KeyCaps } from '../../src/identity/caller.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { grantCredits, openAccount } from '../../src/ledger/accounts.ts';
import { createLedger, type Ledger } from '../../src/ledger/ledger.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let testDatabase: TestDatabase;
let database: Database;
let ledgers: Ledger[];
before(async () => {
  testDatabase = await createTestDatabase();
  database = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 8 });
  ledgers = [0, 1].map(() => createLedger(database, silentLog));
});
after(async () => {
  await Promise.all(ledgers.map((ledger) => ledger.close()));
  await database.close();
  await testDatabase.close();
});

/** Somebody who buys with two keys. */
type Buyer = { organizationId: string; accountId: bigint; seller: bigint; fees: bigint; keys: string[] };

async function newBuyer(): Promise<Buyer> {
  const { db } = database;
  const currency = 'live';
  const buyer = await db.transaction(async (tx) => {
    const { id: organizationId } = await insertOrganization(tx, 'Buyer');
    const { id: sellerId } = await insertOrganization(tx, 'Seller');
    await grantCredits(tx, { id: newId('txn'), organizationId, currency, amountMicros: 1_000_000n });
    return {
      organizationId,
      accountId: await openAccount(tx, organizationId, currency, 'balance'),
      seller: await openAccount(tx, sellerId, currency, 'earnings'),
      fees: await openAccount(tx, null, currency, 'fees'),
    };
  });
  const { organizationId } = buyer;
  const keys = [
    await issueKey(db, { organizationId, currency }),
    await issueKey(db, { organizationId, currency }),
  ];
  return { ...buyer, keys: keys.map(({ id }) => id) };
}

let placed = 0;
async function hold(buyer: Buyer, amountMicros: bigint, wish: { key?: number; meterId?: bigint } = {}) {
  const callId = newId('call');
  placed += 1;
  const answer = await ledgers[placed % 2]?.hold({
    callId,
    buyer: buyer.accountId,
    seller: buyer.seller,
    fees: buyer.fees,
    amountMicros,
    ttlMs: 60_000,
    keyId: buyer.keys[wish.key ?? 0] ?? '',
    agentId: 'agt_test_v1',
    meters: wish.meterId === undefined ? [] : [wish.meterId],
    idempotency: undefined,
  });
  assert.ok(answer);
  return { callId, kind: answer.kind };
}

function end(callId: string, chargeMicros: bigint | undefined, process = 0): Promise<unknown> | undefined {
  const ledger = ledgers[process % 2];
  return chargeMicros === undefined ? ledger?.refund(callId) : ledger?.settle(callId, chargeMicros, 0n);
}

/** Caps one key, or the whole balance; how much is counted since is what `used` reads. */
type Capping = 'key' | 'balance';
const CAPPINGS = ['key', 'balance'] as const;

async function cap(capping: Capping, buyer: Buyer, capTotalMicros: bigint): Promise<bigint> {
  const { db } = database;
  const caps: KeyCaps = { capTotalMicros };
  const now = new Date();
  if (capping === 'balance') await setBudget(db, buyer.accountId, caps, now);
  const [keyId = ''] = buyer.keys;
  if (capping === 'key') await changeKeyCaps(db, { ...buyer, currency: 'live', keyId, caps, now });
  return (await used(capping, buyer)).meterId;
}

async function used(capping: Capping, { accountId, keys }: Buyer) {
  const { rows } = await database.pool.query<Record<'id' | 'day' | 'month' | 'total', string>>(
    `SELECT m.id, used_day AS day, used_month AS month, used_total AS total FROM spend_meters m
     WHERE id = (${capping === 'key' ? 'SELECT meter_id FROM api_keys WHERE id = $2 AND account_id = $1' : 'SELECT meter_id FROM ledger_accounts WHERE id = $1 AND $2::text IS NOT NULL'})`,
    [accountId, keys[0]],
  );
  const [row] = rows;
  assert.ok(row);
  assert.deepEqual([row.day, row.month], [row.total, row.total], 'all of it was today');
  return { meterId: BigInt(row.id), total: BigInt(row.total) };
}

for (const capping of CAPPINGS) {
  test(`the first cap of a ${capping} counts what calls under way hold, and gets back what they do not cost`, async () => {
    const buyer = await newBuyer();
    await end((await hold(buyer, 7n)).callId, 5n);
    const [first, second, third] = [await hold(buyer, 10n), await hold(buyer, 10n), await hold(buyer, 10n)];
    // Of another key: it is the balance's and not this key's.
    const other = await hold(buyer, 10n, { key: 1 });
    const others = capping === 'balance' ? 10n : 0n;
    const meterId = await cap(capping, buyer, 40n + others);
    assert.equal((await used(capping, buyer)).total, 35n + others);

    const of = capping === 'key' ? { meterId } : {};
    assert.equal((await hold(buyer, 6n, of)).kind, 'cap');
    const fifth = await hold(buyer, 5n, of);
    assert.equal(fifth.kind, 'placed');
    await end(first.callId, 4n);
    await end(second.callId, undefined);
    assert.equal((await used(capping, buyer)).total, 40n + others - 6n - 10n);
    await end(third.callId, 10n);
    await end(fifth.callId, undefined);
    await end(other.callId, undefined);
    assert.equal((await used(capping, buyer)).total, 5n + 4n + 10n);
  });

  test(`a cap of a ${capping} that is set while all its calls end counts exactly what they cost`, async () => {
    const call = fc.record({
      held: fc.bigInt(1n, 100n),
      /** Undefined: given back. */
      share: fc.option(fc.bigInt(0n, 10n), { nil: undefined }),
      isBefore: fc.boolean(),
      otherKey: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(call, { minLength: 1, maxLength: 40 }), async (wanted) => {
        const buyer = await newBuyer();
        const calls = await Promise.all(
          wanted.map(async ({ held, share, isBefore, otherKey }) => {
            const { callId } = await hold(buyer, held, { key: otherKey ? 1 : 0 });
            const charge = share === undefined ? undefined : (held * share) / 10n;
            return { callId, charge, isBefore, otherKey };
          }),
        );
        const ends = calls
          .filter(({ isBefore }) => isBefore)
          .map(({ callId, charge }, n) => end(callId, charge, n));
        const capped = cap(capping, buyer, 1n);
        const rest = calls
          .filter(({ isBefore }) => !isBefore)
          .map(({ callId, charge }, n) => end(callId, charge, n));
        await Promise.all([...ends, capped, ...rest]);
        const cost = calls
          .filter(({ otherKey }) => capping === 'balance' || !otherKey)
          .reduce((sum, { charge = 0n }) => sum + charge, 0n);
        assert.equal((await used(capping, buyer)).total, cost);
      }),
      { numRuns: 40, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: true },
    );
  });

  test(`a call that is being settled when its ${capping} gets a cap is counted by what it costs`, async () => {
    const buyer = await newBuyer();
    const { callId } = await hold(buyer, 10n);
    const blocker = await connect();
    await blocker.query('BEGIN');
    await blocker.query('SELECT 1 FROM ledger_accounts WHERE id = $1 FOR NO KEY UPDATE', [buyer.accountId]);
    const capped = cap(capping, buyer, 100n);
    await waiting(1);
    // Its batch has taken the hold, and comes to the account after the cap.
    const settled = end(callId, 4n);
    await waiting(2);
    await blocker.query('COMMIT');
    await Promise.all([capped, settled]);
    await blocker.end();
    assert.equal((await used(capping, buyer)).total, 4n);
  });

  test(`a call whose settlement is undone when its ${capping} gets a cap is counted and gives back later`, async () => {
    const buyer = await newBuyer();
    const { callId } = await hold(buyer, 10n);
    const batch = await connect();
    await batch.query('BEGIN');
    await batch.query('DELETE FROM ledger_holds WHERE id = $1', [uuidOfId('call', callId)]);
    const capped = cap(capping, buyer, 100n);
    await until(async () => (await findMeter(buyer, capping)) !== null);
    assert.equal((await used(capping, buyer)).total, 10n, 'a cap is not passed meanwhile');
    await batch.query('ROLLBACK');
    await capped;
    await batch.end();
    assert.equal((await used(capping, buyer)).total, 10n);
    await end(callId, 3n);
    assert.equal((await used(capping, buyer)).total, 3n);
  });
}

test('many who set the first budget at the same moment count a call under way once', async () => {
  const buyer = await newBuyer();
  await hold(buyer, 10n);
  await Promise.all(Array.from({ length: 10 }, (_, n) => cap('balance', buyer, 100n + BigInt(n))));
  await Promise.all(Array.from({ length: 10 }, (_, n) => cap('key', buyer, 100n + BigInt(n))));
  assert.deepEqual([(await used('balance', buyer)).total, (await used('key', buyer)).total], [10n, 10n]);
});

async function connect(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: testDatabase.url });
  await client.connect();
  return client;
}

async function findMeter({ accountId, keys }: Buyer, capping: Capping): Promise<string | null> {
  const { rows } = await database.pool.query<{ id: string | null }>(
    capping === 'key'
      ? 'SELECT meter_id AS id FROM api_keys WHERE account_id = $1 AND id = $2'
      : 'SELECT meter_id AS id FROM ledger_accounts WHERE id = $1 AND $2::text IS NOT NULL',
    [accountId, keys[0]],
  );
  return rows[0]?.id ?? null;
}

/** Resolves when so many on this database wait for a lock. */
function waiting(count: number): Promise<void> {
  return until(async () => {
    const { rows } = await database.pool.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    return rows[0]?.count === count;
  });
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise(setImmediate);
}
