import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';

const run = promisify(execFile);
const LOCAL_SERVER = 'redis://127.0.0.1:6379';
const START_DEADLINE_MS = 10_000;

/** A part of the shared Redis that no other test sees: every key of the test begins with `prefix`. */
export type TestRedis = { url: string; prefix: string; close(): Promise<void> };

/** A server of its own, for tests that stop, kill or flush it. */
export type OwnRedis = {
  url: string;
  port: number;
  pid: number;
  /** SIGKILL; what it held is gone. */
  kill(): Promise<void>;
};

/** False, or why tests that share a Redis are skipped; for `test(title, { skip: skipWithoutRedis }, …)`. */
export const skipWithoutRedis: string | false = (await findRedis())
  ? false
  : 'no Redis: set REDIS_URL or install redis-server';

/** False, or why tests that start and kill their own Redis are skipped. */
export const skipWithoutRedisServer: string | false = (await hasRedisServer())
  ? false
  : 'redis-server is not installed';

/** The Redis tests share. Call only where `skipWithoutRedis` is false. */
export async function createTestRedis(): Promise<TestRedis> {
  const url = await findRedis();
  if (!url) throw new Error('There is no Redis for this test: set REDIS_URL or install redis-server.');
  const prefix = `sentinel-test:${randomBytes(8).toString('hex')}:`;
  return { url, prefix, close: () => deleteKeys(url, prefix) };
}

/**
 * The server tests share: the one the test run names, else `REDIS_URL`, else a local one that answers.
 * Undefined when there is none.
 */
export async function findRedis(): Promise<string | undefined> {
  const named = process.env['SENTINEL_TEST_REDIS_URL'] ?? process.env['REDIS_URL'];
  if (named) return named;
  return (await answers(LOCAL_SERVER)) ? LOCAL_SERVER : undefined;
}

/** Whether `redis-server` can be started here. */
export async function hasRedisServer(): Promise<boolean> {
  return run('redis-server', ['--version']).then(
    () => true,
    () => false,
  );
}

/** Starts a server without persistence on `port`, or on a free one, and waits until it answers. */
export async function startRedis(port?: number): Promise<OwnRedis> {
  const chosen = port ?? (await findFreePort());
  const quiet = ['--save', '', '--appendonly', 'no', '--bind', '127.0.0.1', '--dir', tmpdir()];
  const server = spawn('redis-server', ['--port', String(chosen), ...quiet], { stdio: 'ignore' });
  // It never starts where the program is missing; the loop below then ends at its deadline.
  const exited = once(server, 'exit').catch(() => {});
  const kill = async () => {
    server.kill('SIGKILL');
    await exited;
  };
  const url = `redis://127.0.0.1:${chosen}`;
  for (const deadline = performance.now() + START_DEADLINE_MS; !(await answers(url));) {
    if (performance.now() > deadline || server.exitCode !== null) {
      await kill();
      throw new Error(`redis-server did not start on port ${chosen}.`);
    }
    await delay(10);
  }
  return { url, port: chosen, pid: server.pid as number, kill };
}

async function answers(url: string): Promise<boolean> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: null, connectTimeout: 2_000 });
  client.on('error', () => {});
  try {
    await client.connect();
    return (await client.ping()) === 'PONG';
  } catch {
    return false;
  } finally {
    client.disconnect();
  }
}

async function deleteKeys(url: string, prefix: string): Promise<void> {
  const client = new Redis(url);
  try {
    for await (const keys of client.scanStream({ match: `${prefix}*`, count: 1_000 })) {
      if ((keys as string[]).length > 0) await client.del(keys as string[]);
    }
  } finally {
    client.disconnect();
  }
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
