import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { silentLog } from '../../src/base/log.ts';
import { openDataDirectory } from '../../src/db/data-directory.ts';
import {
  startEmbeddedPostgres,
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
} from '../../src/db/embedded-postgres.ts';

const SOURCE = new URL('../../src/db/', import.meta.url).href;
const isRoot = process.getuid?.() === 0;

let parent: string;
/** Whatever a failed test left running, so that the file still ends. */
const children: ChildProcess[] = [];
/** One cluster that most tests go on with: making one costs a second. */
let shared: string;
before(async () => {
  parent = await realpath(await mkdtemp(join(tmpdir(), 'sentinel-pg-')));
  await chmod(parent, 0o755);
  shared = join(parent, 'shared');
});
after(async () => {
  for (const child of children) child.kill('SIGKILL');
  await rm(parent, { recursive: true, force: true });
});

test('the first start makes a PostgreSQL 18 that syncs, checks its pages and keeps its password private', async () => {
  await withServer(shared, async (server) => {
    const [row] = await query(
      server.url,
      `SELECT current_setting('server_version_num')::int / 10000 AS major, current_setting('fsync') AS fsync,
              current_setting('data_checksums') AS checksums, current_setting('server_encoding') AS encoding,
              current_setting('listen_addresses') AS addresses`,
    );
    assert.deepEqual(row, {
      major: 18,
      fsync: 'on',
      checksums: 'on',
      encoding: 'UTF8',
      addresses: '127.0.0.1',
    });
    await query(server.url, 'CREATE TABLE kept AS SELECT 42 AS answer');
    const wrong = new URL(server.url);
    wrong.password = 'wrong';
    await assert.rejects(query(wrong.href, 'SELECT 1'), { code: '28P01' });
  });
  assert.equal((await stat(join(shared, 'postgres-password'))).mode & 0o777, 0o600);
});

test('a second start finds the same data', async () => {
  await withServer(shared, async (server) => {
    assert.deepEqual(await query(server.url, 'SELECT answer FROM kept'), [{ answer: 42 }]);
  });
});

test('the server a killed gateway left running is stopped, and what it committed is kept', async () => {
  const gateway = startGateway(shared);
  const orphan = await gatewayServer(gateway);
  await query(orphan.url, 'INSERT INTO kept VALUES (43)');
  await kill(gateway);
  assert.ok(isAlive(orphan.pid), 'the server outlives its gateway');

  await withServer(shared, async (server) => {
    assert.notEqual(server.pid, orphan.pid);
    assert.deepEqual(await query(server.url, 'SELECT answer FROM kept ORDER BY 1'), [
      { answer: 42 },
      { answer: 43 },
    ]);
    await assert.rejects(query(orphan.url, 'SELECT 1'), { code: 'ECONNREFUSED' });
  });
});

test('a left-over pid file that now names an unrelated process neither stops the start nor that process', async () => {
  const { uid, gid } = await stat(join(shared, 'postgres'));
  const stranger = spawn('sleep', ['60'], isRoot ? { uid, gid } : {});
  children.push(stranger);
  await once(stranger, 'spawn');
  const gateway = startGateway(shared);
  const server = await gatewayServer(gateway);
  await kill(gateway);
  process.kill(server.pid, 'SIGKILL');
  const pidFile = join(shared, 'postgres', 'postmaster.pid');
  const left = await readFile(pidFile, 'utf8');
  await writeFile(pidFile, left.replace(String(server.pid), String(stranger.pid)));

  await withServer(shared, async (fresh) => {
    assert.equal((await query(fresh.url, 'SELECT answer FROM kept')).length, 2);
  });
  assert.equal(stranger.exitCode ?? stranger.signalCode, null);
  await kill(stranger);
});

test('a server that is killed is back on the same address with everything committed', async () => {
  await withServer(shared, async (server) => {
    const killed = server.pid;
    await query(server.url, 'INSERT INTO kept VALUES (44)');
    process.kill(killed, 'SIGKILL');
    assert.deepEqual(await queryOnceBack(server.url, 'SELECT max(answer) AS last FROM kept'), [{ last: 44 }]);
    await waitUntil(() => server.pid !== killed);
  });
});

test('a server that ends too often is given up, and said so', async () => {
  const gaveUp = Promise.withResolvers<Error>();
  const options = { restartsPerMinute: 0, onGiveUp: gaveUp.resolve };
  await withServer(
    shared,
    async (server) => {
      process.kill(server.pid, 'SIGKILL');
      assert.match((await gaveUp.promise).message, /PostgreSQL ended 1 times within a minute/);
    },
    options,
  );
});

test('a first start that is killed half-way is done again from the beginning', async () => {
  const path = join(parent, 'half');
  const gateway = startGateway(path);
  await waitUntil(async () => {
    const names = await readdir(path).catch((): string[] => []);
    const work = names.find((name) => name.startsWith('postgres-init-'));
    return work !== undefined && (await readdir(join(path, work)).catch((): string[] => [])).includes('data');
  });
  await kill(gateway);
  assert.ok(!(await readdir(path)).includes('postgres'), 'nothing half-made has the name of the real one');

  await withServer(path, async (server) => {
    assert.deepEqual(await query(server.url, 'SELECT 1 AS one'), [{ one: 1 }]);
  });
});

test('data of another PostgreSQL version is refused with both versions named', async () => {
  const path = join(parent, 'old');
  await mkdir(join(path, 'postgres'), { recursive: true });
  await writeFile(join(path, 'postgres', 'PG_VERSION'), '17\n');
  await assert.rejects(
    withServer(path, async () => {}),
    /made by PostgreSQL 17, and this Sentinel brings PostgreSQL 18/,
  );
});

test(
  'as root, the data may lie under a directory that only root may enter',
  { skip: isRoot ? false : 'only root runs PostgreSQL as another user' },
  async () => {
    const closed = join(parent, 'closed');
    await mkdir(closed, { mode: 0o700 });
    await withServer(join(closed, 'data'), async (server) => {
      const status = await readFile(`/proc/${server.pid}/status`, 'utf8');
      assert.doesNotMatch(status, /^Uid:\t0/m);
      assert.deepEqual(await query(server.url, 'SELECT 1 AS one'), [{ one: 1 }]);
    });
  },
);

async function withServer(
  path: string,
  body: (server: EmbeddedPostgres) => Promise<void>,
  options: Partial<EmbeddedPostgresOptions> = {},
): Promise<void> {
  const dataDir = await openDataDirectory(path);
  try {
    const server = await startEmbeddedPostgres({ dataDir, log: silentLog, ...options });
    try {
      await body(server);
    } finally {
      await server.stop();
    }
    assert.ok(!isAlive(server.pid), 'nothing runs after stop');
  } finally {
    await dataDir.release();
  }
}

/** Another process that holds the directory and its server until it is killed. */
function startGateway(path: string): ChildProcess {
  const script = `
    const { openDataDirectory } = await import('${SOURCE}data-directory.ts');
    const { startEmbeddedPostgres } = await import('${SOURCE}embedded-postgres.ts');
    const dataDir = await openDataDirectory(${JSON.stringify(path)});
    const server = await startEmbeddedPostgres({ dataDir, log() {} });
    console.log(JSON.stringify({ url: server.url, pid: server.pid }));`;
  const gateway = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(gateway);
  return gateway;
}

async function gatewayServer(gateway: ChildProcess): Promise<{ url: string; pid: number }> {
  assert.ok(gateway.stdout);
  const [line] = (await once(gateway.stdout, 'data')) as [Buffer];
  return JSON.parse(line.toString()) as { url: string; pid: number };
}

async function kill(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url });
  // The server is killed under some of these connections.
  client.on('error', () => {});
  try {
    await client.connect();
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end().catch(() => {});
  }
}

async function queryOnceBack(url: string, sql: string): Promise<unknown[]> {
  let rows: unknown[] | undefined;
  await waitUntil(async () => (rows = await query(url, sql).catch(() => undefined)) !== undefined);
  return rows ?? [];
}

async function waitUntil(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + 30_000; performance.now() < deadline; await delay(10)) {
    if (await isTrue()) return;
  }
  assert.fail('it did not happen within 30 s');
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
