import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile, stat } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import {
  createDataDirectories,
  runGatewayProcess,
  startGatewayProcess,
  type DataDirectories,
  type GatewayProcess,
} from '../support/gateway-process.ts';
import { manifestOf } from '../support/gateway.ts';
import { queryBooks, readBooks } from '../flows/books.ts';
import {
  ask,
  call,
  newBuyer,
  newOrganization,
  publish,
  startCountingSeller,
  type CountingSeller,
} from '../flows/market.ts';

const run = promisify(execFile);
const skipWithoutCurl = await run('curl', ['--version']).then(
  () => false as const,
  () => 'curl is not installed',
);

type Page = { items: { call_id: string; charged: string }[] };

let directories: DataDirectories;
let database: TestDatabase;
/** The demo as `npm start` runs it: most tests use the same one, on the same data directory. */
let demo: GatewayProcess;
let home: string;
before(async () => {
  directories = await createDataDirectories();
  database = await createTestDatabase();
  home = await directories.make();
  demo = await startGatewayProcess({ dataDirectory: home, args: ['--demo'] });
});
after(async () => {
  await directories.remove();
  await database.close();
});

test('the curl line on the terminal makes a paid call as it stands', { skip: skipWithoutCurl }, async () => {
  const { key } = shown(demo);
  const before = await creditsOf(demo, key);
  const line = /^ {4}(curl [^]*?)\n\n/m.exec(demo.greeting)?.[1];
  assert.ok(line, demo.greeting);

  const { stdout } = await run('sh', ['-c', line]);
  const answer = JSON.parse(stdout) as { status: string; credits_charged: string; output: unknown };
  assert.equal(answer.status, 'succeeded');
  assert.ok(JSON.stringify(answer.output).length > 100, stdout);
  const agent = await ask({ url: demo.url, key }, 'GET', '/v1/agents/agt_pdf_summariser_v2');
  assert.match(JSON.stringify(agent), new RegExp(`"${answer.credits_charged}"`));
  assert.ok(Number(answer.credits_charged) > 0);
  assert.equal(await creditsOf(demo, key), before - Number(answer.credits_charged));
});

test('the host configuration on the terminal connects a host, which sees the agents and calls one', async () => {
  const { servers, key } = shown(demo);
  const server = servers['sentinel'];
  assert.ok(server);
  assert.equal(server.type, 'http');
  const host = new Client({ name: 'host', version: '1.0.0' });
  await host.connect(
    new StreamableHTTPClientTransport(new URL(server.url), { requestInit: { headers: server.headers } }),
  );
  try {
    const { tools } = await host.listTools();
    assert.ok(tools.length >= 3, tools.map(({ name }) => name).join(' '));
    const before = await creditsOf(demo, key);
    const result = await host.callTool({
      name: 'sentinel_agt_csv_profiler_v1',
      arguments: { csv: 'city,people\nBern,134794\nBasel,173232\n' },
    });
    assert.notEqual(result.isError, true, JSON.stringify(result));
    const receipt = result._meta?.['xyz.sentinel/receipt'] as { charged: string };
    assert.equal(await creditsOf(demo, key), before - Number(receipt.charged));
  } finally {
    await host.close();
  }
});

test('a second start finds the same key, balance and calls', async () => {
  const before = await look();
  assert.equal((await demo.stop()).code, 0);
  demo = await startGatewayProcess({ dataDirectory: home, args: ['--demo'] });
  assert.deepEqual(await look(), before);
  assert.ok(before.items.length > 0);

  async function look() {
    const { key } = shown(demo);
    const { items } = await ask<Page>({ url: demo.url, key }, 'GET', '/v1/calls');
    return { key, operatorKey: demo.operatorKey, credits: await creditsOf(demo, key), items };
  }
});

test('nobody but the owner can read what a gateway keeps', async () => {
  const names = await readdir(home);
  for (const secret of ['demo-key', 'operator-key', 'signing-key.pem', 'postgres-password']) {
    assert.ok(names.includes(secret), names.join(' '));
  }
  for (const name of names) {
    const found = await stat(join(home, name));
    if (found.isFile()) assert.equal(found.mode & 0o777, 0o600, name);
    else assert.equal(found.mode & 0o077, 0, name);
  }
  assert.equal((await stat(home)).mode & 0o007, 0);
});

test('a second process on the same data directory is refused in one sentence, and the first goes on', async () => {
  const { code, stdout, stderr } = await runGatewayProcess({ dataDirectory: home });
  assert.equal(code, 1);
  assert.equal(stdout, '');
  assert.equal(
    stderr,
    `Another Sentinel (process ${demo.pid}) is using ${home}. Stop it, or set SENTINEL_DATA to another directory.\n`,
  );
  assert.equal((await fetch(`${demo.url}/ready`)).status, 200);
});

test('a taken port and an address that is not ours are told in one sentence', async () => {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  try {
    const { port } = listener.address() as AddressInfo;
    const taken = await start({ PORT: String(port) });
    assert.equal(taken.code, 1);
    assert.match(taken.stderr, new RegExp(`^Port ${port} on 127\\.0\\.0\\.1 is in use\\. .*PORT=.*\\n$`));
    const elsewhere = await start({ HOST: '192.0.2.1' });
    assert.equal(elsewhere.code, 1);
    assert.match(elsewhere.stderr, /^HOST 192\.0\.2\.1 is not an address of this machine .*\n$/);
  } finally {
    listener.close();
  }

  async function start(env: Record<string, string>) {
    const dataDirectory = await directories.make();
    return runGatewayProcess({ dataDirectory, env: { DATABASE_URL: database.url, ...env } });
  }
});

test('told to stop, it refuses new connections, lets the running call end and be paid, and ends well', async () => {
  // Megabytes, so that the answer is still being written when its call has ended.
  const text = 'x'.repeat(4_000_000);
  await withCallUnderWay({ text }, async ({ gateway, outcome, buyer, release }) => {
    gateway.kill('SIGTERM');
    await refusesConnections(Number(new URL(gateway.url).port));
    release();

    const answer = await outcome;
    assert.ok(answer.kind === 'answer', JSON.stringify(answer));
    assert.equal(answer.text, text);
    const { code, stderr } = await gateway.ended;
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stderr, /"level":(4|5)0/);
    const books = await readBooks(database.url);
    assert.deepEqual([books.faults, books.openHolds], [[], 0]);
    assert.ok(books.settled.has(answer.callId));
    assert.equal(await countCalls(buyer.keyId, 'settled'), 1);
  });
});

test('a call that is longer than the grace period is refunded, its buyer is told, and the process ends well', async () => {
  const env = { SENTINEL_SHUTDOWN_GRACE_MS: '100' };
  await withCallUnderWay({ text: 'long', env }, async ({ gateway, outcome, buyer }) => {
    gateway.kill('SIGTERM');
    const refusal = await outcome;
    assert.equal(refusal.kind === 'refusal' && refusal.code, 'CANCELLED', JSON.stringify(refusal));
    assert.equal((await gateway.ended).code, 0);
    const books = await readBooks(database.url);
    assert.deepEqual([books.faults, books.openHolds], [[], 0]);
    assert.equal(await countCalls(buyer.keyId, 'refunded'), 1);
  });
});

test('told to stop while its database is away, it ends all the same, and the hold stays for the sweeper', async () => {
  const cable = await startCable(database.url);
  const env = { DATABASE_URL: cable.url, SENTINEL_SHUTDOWN_GRACE_MS: '0' };
  try {
    const before = await readBooks(database.url);
    await withCallUnderWay({ text: 'held', env }, async ({ gateway, outcome }) => {
      cable.cut();
      const ended = await gateway.stop();
      assert.equal(ended.code, 0, ended.stderr);
      assert.notEqual((await outcome).kind, 'answer');
      const books = await readBooks(database.url);
      assert.deepEqual([books.faults, books.openHolds], [[], before.openHolds + 1]);
    });
  } finally {
    cable.cut();
  }
});

test('told a second time, it ends at once, and its embedded PostgreSQL with it', async () => {
  // An empty DATABASE_URL is none.
  const env = { DATABASE_URL: '' };
  await withCallUnderWay({ text: 'endless', env }, async ({ gateway, outcome, dataDirectory }) => {
    const pidFile = join(dataDirectory, 'postgres', 'postmaster.pid');
    const port = Number((await readFile(pidFile, 'utf8')).split('\n')[3]);
    gateway.kill('SIGINT');
    await refusesConnections(Number(new URL(gateway.url).port));
    assert.ok(await accepts(port), 'PostgreSQL is still needed');
    gateway.kill('SIGINT');
    assert.equal((await gateway.ended).code, 130);
    assert.equal((await outcome).kind, 'unknown');
    await refusesConnections(port);
  });
});

/** What a person copies from the terminal. */
function shown({ greeting }: GatewayProcess) {
  const key = /^ +API key +(sk_test_\w+)$/m.exec(greeting)?.[1];
  const json = /^ {4}(\{[^]*?^ {4}\})$/m.exec(greeting)?.[1];
  assert.ok(key && json, greeting);
  type Server = { type: string; url: string; headers: Record<string, string> };
  const { mcpServers } = JSON.parse(json) as { mcpServers: Record<string, Server> };
  return { key, servers: mcpServers };
}

type UnderWay = {
  gateway: GatewayProcess;
  outcome: ReturnType<typeof call>;
  buyer: { keyId: string };
  dataDirectory: string;
  release(): void;
};

/** A gateway with one paid call that its seller works on until it is released. */
async function withCallUnderWay(
  wanted: { text: string; env?: Record<string, string> },
  use: (underWay: UnderWay) => Promise<void>,
): Promise<void> {
  let release: () => void = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  let reached: () => void = () => {};
  const isReached = new Promise<void>((resolve) => {
    reached = resolve;
  });
  const seller: CountingSeller = await startCountingSeller(() => {
    reached();
    return released;
  });
  const dataDirectory = await directories.make();
  const gateway = await startGatewayProcess({
    dataDirectory,
    env: { DATABASE_URL: database.url, SENTINEL_ALLOW_PRIVATE_ENDPOINTS: 'true', ...wanted.env },
  });
  try {
    const sellerId = await newOrganization(gateway, 'Seller');
    const slug = `slow_${randomUUID().slice(0, 8)}`;
    const agentId = await publish(gateway, sellerId, manifestOf(slug, seller.url));
    const buyer = await newBuyer(gateway, '100');
    const outcome = call(gateway.url, 'rest', { key: buyer.key, agentId, text: wanted.text });
    await isReached;
    await use({ gateway, outcome, buyer, dataDirectory, release });
  } finally {
    gateway.kill('SIGKILL');
    await gateway.ended;
    release();
    await seller.close();
  }
}

/** What a gateway reaches its database through, until it is cut. */
async function startCable(databaseUrl: string): Promise<{ url: string; cut(): void }> {
  const target = new URL(databaseUrl);
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(Number(target.port || 5432), target.hostname);
    for (const socket of [near, far]) {
      sockets.add(socket);
      // Cutting one end breaks the other.
      socket.on('error', () => {});
    }
    near.pipe(far).pipe(near);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(databaseUrl);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: url.href,
    cut: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function creditsOf({ url }: GatewayProcess, key: string): Promise<number> {
  return Number((await ask({ url, key }, 'GET', '/v1/billing/balance'))['credits']);
}

async function countCalls(keyId: string, outcome: string): Promise<number> {
  const sql = `SELECT count(*)::int AS count FROM calls WHERE key_id = '${keyId}' AND outcome = '${outcome}'`;
  return (await queryBooks<{ count: number }>(database.url, sql))[0]?.count ?? 0;
}

async function refusesConnections(port: number): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (await accepts(port)) assert.ok(performance.now() < deadline, `port ${port} still accepts`);
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
