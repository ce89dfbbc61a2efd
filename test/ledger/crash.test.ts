import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { newId } from '../../src/base/ids.ts';
import { silentLog } from '../../src/base/log.ts';
import { openDataDirectory } from '../../src/db/data-directory.ts';
import { openDatabase } from '../../src/db/db.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded-postgres.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import { startTcpProxy, type Fault } from '../support/tcp-proxy.ts';
import { holdIn, openBooks, type Books, type World } from './books.ts';

const LOAD = fileURLToPath(new URL('crash-load.ts', import.meta.url));
const KILLS = 3;
const ACKS_BETWEEN_KILLS = 400;

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sentinel-crash-'));
});
after(() => rm(directory, { recursive: true, force: true }));

test('replies that are lost and requests that are cut change nothing that was answered', async () => {
  const books = await openBooks();
  const next = seeded(7);
  // Only what is as large as a batch: the greeting of a connection is not what is tested.
  const proxy = await startTcpProxy(portOf(books.url), (chunk): Fault => {
    if (chunk.length < 400) return 'pass';
    const dice = next();
    return dice < 0.04 ? 'lose reply' : dice < 0.08 ? 'cut request' : 'pass';
  });
  try {
    const world = await openCrashWorld(books);
    const load = startLoad(withPort(books.url, proxy.port), world, 'proxy');
    await answered(load, 2_500);
    await load.stop();
    assert.ok(
      proxy.counts['lose reply'] > 2 && proxy.counts['cut request'] > 2,
      JSON.stringify(proxy.counts),
    );
    const seen = await assertBooks(books, world, load.file);
    assert.equal(seen.unknown, 0, 'everything was answered in the end');
  } finally {
    await proxy.close();
    await books.close();
  }
});

test('a batch that arrives after its retry and its settle opens no hold again', async () => {
  const books = await openBooks();
  let stalls = 1;
  const proxy = await startTcpProxy(portOf(books.url), (chunk) =>
    chunk.includes('ledger_apply') && stalls-- > 0 ? 'stall' : 'pass',
  );
  const database = openDatabase(withPort(books.url, proxy.port), { log: silentLog, maxConnections: 1 });
  const ledger = createLedger(database, silentLog);
  try {
    // Enough for a second one: a batch that came too late must fail for being late.
    const world = await books.openWorld([1_000n]);
    const callId = newId('call');
    const placed = await ledger.hold(holdIn(world, 60n, { callId }));
    assert.deepEqual(placed, { kind: 'placed' });
    assert.equal((await ledger.settle(callId, 60n, 1n)).kind, 'done');
    assert.equal(proxy.counts.stall, 1);
    assert.equal(await proxy.release(), 1);
    const now = await books.read(world);
    assert.deepEqual(now.faults, []);
    assert.deepEqual(now.accounts[String(world.buyers[0])], { posted: 940n, held: 0n });
  } finally {
    await ledger.close();
    await database.close();
    await proxy.close();
    await books.close();
  }
});

test('a hold is not waited for longer than its buyer would, and is given back if it was made', async () => {
  const books = await openBooks();
  let isAway = true;
  const proxy = await startTcpProxy(portOf(books.url), () => (isAway ? 'lose reply' : 'pass'));
  const database = openDatabase(withPort(books.url, proxy.port), { log: silentLog, maxConnections: 1 });
  const ledger = createLedger(database, silentLog);
  try {
    const world = await books.openWorld([100n]);
    const callId = newId('call');
    const asked = ledger.hold(holdIn(world, 60n, { callId }));
    await assert.rejects(asked, { code: 'UNAVAILABLE' });
    isAway = false;
    while (ledger.depth() > 0) await new Promise((resolve) => setImmediate(resolve));
    await ledger.close();
    const now = await books.read(world);
    assert.deepEqual(now.faults, []);
    assert.deepEqual(now.accounts[String(world.buyers[0])], { posted: 100n, held: 0n });
  } finally {
    await ledger.close();
    await database.close();
    await proxy.close();
    await books.close();
  }
});

test('a gateway that is killed at any moment leaves books that agree with what it was told', async () => {
  const books = await openBooks();
  try {
    for (let kill = 0; kill < KILLS; kill++) {
      const world = await openCrashWorld(books);
      const load = startLoad(books.url, world, `gateway-${kill}`);
      await answered(load, ACKS_BETWEEN_KILLS + Math.floor(Math.random() * ACKS_BETWEEN_KILLS));
      await load.kill();
      await quiet(books);
      await assertBooks(books, world, load.file);
    }
  } finally {
    await books.close();
  }
});

test('a PostgreSQL that is killed at any moment loses nothing that was answered', async () => {
  const dataDir = await openDataDirectory(join(directory, 'postgres'));
  const server = await startEmbeddedPostgres({ dataDir, log: silentLog });
  const given = { url: server.url, close: async () => {} };
  try {
    await migrate(server.url, silentLog);
    const first = await openBooks(given);
    const world = await openCrashWorld(first);
    await first.close();
    const load = startLoad(server.url, world, 'postgres');
    let acks = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      acks = await answered(load, acks + ACKS_BETWEEN_KILLS + Math.floor(Math.random() * ACKS_BETWEEN_KILLS));
      const killed = server.pid;
      process.kill(killed, 'SIGKILL');
      await until(() => server.pid !== killed);
    }
    await answered(load, acks + ACKS_BETWEEN_KILLS);
    await load.stop();
    const books = await openBooks(given);
    const seen = await assertBooks(books, world, load.file);
    await books.close();
    assert.equal(seen.unknown, 0, 'whoever waited was answered in the end');
  } finally {
    await server.stop();
    await dataDir.release();
  }
});

type Load = { file: string; child: ChildProcess; stop(): Promise<void>; kill(): Promise<void> };

function startLoad(url: string, world: World, name: string): Load {
  const file = join(directory, `${name}.log`);
  const accounts = {
    buyers: world.buyers.map(String),
    seller: String(world.seller),
    fees: String(world.fees),
  };
  const child = spawn(process.execPath, [LOAD, url, file, JSON.stringify(accounts)], {
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  const exited = once(child, 'exit');
  return {
    file,
    child,
    stop: async () => {
      child.stdin?.end();
      const [code] = (await exited) as [number | null];
      assert.equal(code, 0, 'the load ended by itself');
    },
    kill: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** Two buyers who never run dry and one who does all the time. */
function openCrashWorld(books: Books): Promise<World> {
  return books.openWorld([1_000_000_000n, 1_000_000_000n, 300n]);
}

/** Waits until the load has been given so many answers; tells how many. */
async function answered(load: Load, wanted: number): Promise<number> {
  let count = 0;
  await until(async () => {
    assert.equal(load.child.exitCode, null, 'the load still runs');
    if ((await stat(load.file).catch(() => undefined)) === undefined) return false;
    count = (await readFile(load.file, 'utf8')).match(/^(held|ended) /gm)?.length ?? 0;
    return count >= wanted;
  });
  return count;
}

/** Until the server has ended the session of a killed gateway: its last batch is committed or never will be. */
async function quiet(books: Books): Promise<void> {
  await until(async () => {
    const { rows } = await books.client.query(
      `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sentinel ledger'`,
    );
    return rows.length === 0;
  });
}

type Told = {
  amount: bigint;
  held?: string;
  end?: { kind: string; charge: bigint; fee: bigint };
  ended?: string;
};

/** The books after every open hold has expired, held against what the load was told. */
async function assertBooks(books: Books, world: World, file: string): Promise<{ unknown: number }> {
  await books.client.query(`UPDATE ledger_holds SET expires_at = created_at + interval '1 microsecond'`);
  while ((await books.client.query(`SELECT 1 FROM ledger_expire(500, '', '')`)).rows.length > 0);
  const now = await books.read(world);
  assert.deepEqual(now.faults, []);
  for (const buyer of world.buyers) assert.equal(now.accounts[String(buyer)]?.held, 0n);

  const { rows } = await books.client.query<{
    id: string;
    kind: string;
    amount: string;
    fee: string;
    held: string;
  }>(`SELECT id, kind, amount, fee, held FROM ledger_journal WHERE debit = ANY ($1) AND kind <> 'grant'`, [
    world.buyers,
  ]);
  const journal = new Map(rows.map((row) => [`call_${row.id.replaceAll('-', '')}`, row]));
  let unknown = 0;
  for (const [id, told] of readTold(await readFile(file, 'utf8'))) {
    const row = journal.get(id);
    journal.delete(id);
    if (told.held === 'placed') assert.ok(row, `${id} was acknowledged and is not there`);
    if (told.held === 'refused') assert.equal(row, undefined, `${id} was refused and is there`);
    if (row) assert.equal(BigInt(row.held), told.amount, `${id} holds what was asked`);
    if (told.held === 'unavailable' && row) assert.notEqual(row.kind, 'settle');
    if (told.held === undefined || (told.end && told.ended === undefined)) unknown += 1;
    if (!row || !told.end) continue;
    const isAsAsked =
      row.kind === told.end.kind &&
      BigInt(row.amount) === told.end.charge &&
      BigInt(row.fee) === told.end.fee;
    if (told.ended === 'done')
      assert.ok(isAsAsked, `${id} was acknowledged as ${told.end.kind}: ${JSON.stringify(row)}`);
    else assert.ok(isAsAsked || row.kind === 'expire', `${id}: ${JSON.stringify(row)}`);
  }
  assert.equal(journal.size, 0, 'nothing is in the books that nobody asked for');
  return { unknown };
}

function readTold(log: string): Map<string, Told> {
  const calls = new Map<string, Told>();
  for (const line of log.split('\n')) {
    const [what, id = '', first = '', charge = '0', fee = '0'] = line.split(' ');
    const told = calls.get(id);
    if (what === 'hold') calls.set(id, { amount: BigInt(first) });
    else if (what === 'held' && told) told.held = first;
    else if (what === 'end' && told) told.end = { kind: first, charge: BigInt(charge), fee: BigInt(fee) };
    else if (what === 'ended' && told) told.ended = first;
  }
  assert.ok(calls.size > 100);
  return calls;
}

async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + 60_000; performance.now() < deadline;) {
    if (await isTrue()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail('it did not happen within 60 s');
}

/** The same numbers from 0 to 1 for the same seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

function portOf(url: string): number {
  return Number(new URL(url).port || 5432);
}

function withPort(url: string, port: number): string {
  const changed = new URL(url);
  changed.hostname = '127.0.0.1';
  changed.port = String(port);
  return changed.href;
}
