import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import pg from 'pg';
import { newId } from '../../src/base/ids.ts';
import { silentLog, type Log } from '../../src/base/log.ts';
import { openDatabase } from '../../src/db/db.ts';
import { createLedger, type Ledger } from '../../src/ledger/ledger.ts';
import { createTestDatabase } from '../support/database.ts';
import { startTcpProxy, type Fault, type TcpProxy } from '../support/tcp-proxy.ts';
import { holdIn, openBooks, type Books, type World } from './books.ts';

let books: Books;
before(async () => {
  books = await openBooks();
});
after(() => books.close());

const passAll = (): Fault => 'pass';

/** A ledger that reaches its database through a proxy, and a buyer with 1,000 micro-credits. */
async function withLedger(
  options: { judge?: (chunk: Buffer) => Fault; log?: Log },
  use: (given: { ledger: Ledger; proxy: TcpProxy; world: World; hold: Hold }) => Promise<void>,
): Promise<void> {
  const proxy = await startTcpProxy(Number(new URL(books.url).port || 5432), options.judge ?? passAll);
  const url = Object.assign(new URL(books.url), { hostname: '127.0.0.1', port: String(proxy.port) });
  const log = options.log ?? silentLog;
  const database = openDatabase(url.href, { log, maxConnections: 1 });
  const ledger = createLedger(database, log);
  try {
    const world = await books.openWorld([1_000n]);
    const hold: Hold = (callId, amountMicros) => ledger.hold(holdIn(world, amountMicros, { callId }));
    await use({ ledger, proxy, world, hold });
  } finally {
    await ledger.close();
    await database.close();
    await proxy.close();
  }
}

type Hold = (callId: string, amountMicros: bigint) => ReturnType<Ledger['hold']>;

test('a batch behind one that was to name the statement and could not is sent again, and not refused', async (t) => {
  const { rows } = await books.client.query(
    'SELECT 1 FROM pg_roles WHERE rolname = current_user AND rolsuper',
  );
  if (rows.length === 0) return t.skip('only a superuser may lock the catalogue');
  const openId = newId('call');
  await withLedger({}, async ({ world, hold, ledger }) => {
    assert.deepEqual(await hold(openId, 50n), { kind: 'placed' });
    await ledger.close();
    const seen = { batches: 0 };
    let unlocked: Promise<unknown> | undefined;
    // The first batch names the statement; while the catalogue is locked, it waits for that in vain.
    const judge = (chunk: Buffer): Fault => {
      if (!chunk.includes('ledger_apply')) return 'pass';
      seen.batches += 1;
      return seen.batches === 1 ? 'wait' : 'pass';
    };
    const log: Log = () => void (unlocked ??= books.client.query('COMMIT'));
    await withLedger({ judge, log }, async ({ ledger: next, proxy, hold: holdNext }) => {
      const first = holdNext(newId('call'), 60n);
      while (seen.batches < 1) await turn();
      await books.client.query('BEGIN; LOCK TABLE pg_catalog.pg_proc IN ACCESS EXCLUSIVE MODE');
      const second = next.settle(openId, 50n, 1n);
      while (seen.batches < 2) await turn();
      proxy.proceed();
      assert.equal((await first).kind, 'placed');
      assert.equal((await second).kind, 'done');
    });
    await unlocked;
    const now = await books.read(world);
    assert.deepEqual(now.faults, []);
    assert.deepEqual(now.accounts[String(world.buyers[0])], { posted: 950n, held: 0n });
  });
});

test('two batches on the wire when it breaks are sent again over one new connection, and done once', async () => {
  const faults: Fault[] = ['stall', 'cut request'];
  let connections = 0;
  const judge = (chunk: Buffer): Fault => {
    if (chunk.includes('statement_timeout')) connections += 1;
    return (chunk.includes('ledger_apply') && faults.shift()) || 'pass';
  };
  await withLedger({ judge }, async ({ proxy, world, hold }) => {
    const first = hold(newId('call'), 60n);
    while (proxy.counts.stall === 0) await turn();
    const second = hold(newId('call'), 60n);
    assert.deepEqual(await Promise.all([first, second]), [{ kind: 'placed' }, { kind: 'placed' }]);
    assert.equal(proxy.counts['cut request'], 1);
    assert.equal(connections, 2);
    assert.equal(await proxy.release(), 1);
    const now = await books.read(world);
    assert.deepEqual(now.faults, []);
    assert.deepEqual(now.accounts[String(world.buyers[0])], { posted: 1_000n, held: 120n });
  });
});

test('a batch that would take the server too long is halved until it does not', async () => {
  await withLedger({}, async ({ ledger, hold, world }) => {
    const callIds = Array.from({ length: 100 }, () => newId('call'));
    for (const placed of await Promise.all(callIds.map((id) => hold(id, 5n))))
      assert.deepEqual(placed, { kind: 'placed' });
    // A hundred take 4 s then, and a statement may take 3.
    await books.client.query(`
      CREATE FUNCTION test_dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.04); RETURN OLD; END $$;
      CREATE TRIGGER test_dawdle BEFORE DELETE ON ledger_holds FOR EACH ROW EXECUTE FUNCTION test_dawdle()`);
    try {
      const settling = Promise.all(callIds.map((id) => ledger.settle(id, 5n, 1n)));
      // A shutdown meanwhile leaves none of them unpaid.
      await ledger.close();
      assert.ok((await settling).every(({ kind }) => kind === 'done'));
    } finally {
      await books.client.query('DROP TRIGGER test_dawdle ON ledger_holds; DROP FUNCTION test_dawdle()');
    }
    const now = await books.read(world);
    assert.deepEqual(now.faults, []);
    assert.deepEqual(now.accounts[String(world.buyers[0])], { posted: 500n, held: 0n });
  });
});

test('what the server says to a new connection is no answer to the batch that waits for it', async () => {
  const name = new URL(books.url).pathname.slice(1);
  // A database can be closed to connections only from another one.
  const elsewhere = await createTestDatabase();
  const admin = new pg.Client({ connectionString: elsewhere.url });
  await admin.connect();
  let opened: Promise<unknown> | undefined;
  const log: Log = (_, __, fields) => {
    if (!String(fields?.['error']).includes('not currently accepting connections')) return;
    opened ??= admin.query(`ALTER DATABASE "${name}" ALLOW_CONNECTIONS true`);
  };
  await withLedger({ log }, async ({ ledger, world, hold }) => {
    const callId = newId('call');
    assert.deepEqual(await hold(callId, 60n), { kind: 'placed' });
    await admin.query(`ALTER DATABASE "${name}" ALLOW_CONNECTIONS false`);
    await books.client.query('BEGIN; SELECT 1 FROM ledger_accounts FOR UPDATE');
    const settled = ledger.settle(callId, 60n, 1n);
    while (ledger.depth() === 0) await turn();
    await books.client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE application_name = 'sentinel ledger' AND datname = current_database()`,
    );
    await books.client.query('COMMIT');
    assert.equal((await settled).kind, 'done');
    await opened;
    assert.deepEqual((await books.read(world)).accounts[String(world.buyers[0])], { posted: 940n, held: 0n });
  });
  await admin.end();
  await elsewhere.close();
});

test('a call that outlives the ledger is refused, and no connection is made for it', async () => {
  await withLedger({}, async ({ ledger, hold }) => {
    const callId = newId('call');
    assert.deepEqual(await hold(callId, 60n), { kind: 'placed' });
    await ledger.close();
    for (let late = 0; late < 3; late += 1) await assert.rejects(ledger.settle(callId, 60n, 1n));
    const connected = async () => {
      const { rows } = await books.client.query(
        `SELECT 1 FROM pg_stat_activity WHERE application_name = 'sentinel ledger' AND datname = current_database()`,
      );
      return rows.length;
    };
    // The server takes its time to see the old one off.
    const deadline = performance.now() + 20_000;
    while ((await connected()) > 0 && performance.now() < deadline) await turn();
    assert.equal(await connected(), 0);
  });
});
