import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Log } from '../../src/base/log.ts';
import { openDataDirectory } from '../../src/db/data-directory.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded-postgres.ts';
import { findDatabaseServer } from './database.ts';
import { findRedis, hasRedisServer, startRedis } from './redis.ts';

const run = promisify(execFile);

/** What a test run uses, in one line for its log, and how the test processes find it. */
export type Servers = { summary: string; env: Record<string, string>; stop(): Promise<void> };

/** Takes the PostgreSQL and the Redis that are there, and starts what is missing. */
export async function provideServers(): Promise<Servers> {
  const postgres = await providePostgres();
  try {
    const redis = await provideRedis();
    return {
      summary: `PostgreSQL: ${postgres.summary}. Redis: ${redis.summary}.`,
      env: { ...postgres.env, ...redis.env },
      stop: async () => {
        await redis.stop();
        await postgres.stop();
      },
    };
  } catch (error) {
    await postgres.stop();
    throw error;
  }
}

async function providePostgres(): Promise<Servers> {
  const found = await findDatabaseServer();
  if (found)
    return { summary: describe(found), env: { SENTINEL_TEST_DATABASE_URL: found }, stop: async () => {} };

  const path = await mkdtemp(join(tmpdir(), 'sentinel-test-run-'));
  const dataDir = await openDataDirectory(path);
  const server = await startEmbeddedPostgres({ dataDir, log: warnings });
  return {
    summary: `embedded, ${describe(server.url)}`,
    env: { SENTINEL_TEST_DATABASE_URL: server.url },
    stop: async () => {
      await server.stop();
      await dataDir.release();
      await rm(path, { recursive: true, force: true });
    },
  };
}

async function provideRedis(): Promise<Servers> {
  const found = await findRedis();
  if (found)
    return { summary: describe(found), env: { SENTINEL_TEST_REDIS_URL: found }, stop: async () => {} };
  if (!(await hasRedisServer())) await installRedis();
  if (!(await hasRedisServer())) {
    return { summary: 'none, tests that need one are skipped by name', env: {}, stop: async () => {} };
  }
  const server = await startRedis();
  const env = { SENTINEL_TEST_REDIS_URL: server.url };
  return { summary: `started for this run, ${describe(server.url)}`, env, stop: () => server.kill() };
}

/**
 * No npm package carries a Redis. Where we may (root on a machine with apt, as in a container) it is installed;
 * SENTINEL_TEST_INSTALL=0 forbids that. RUNLEVEL keeps Debian from also starting it as a service.
 */
async function installRedis(): Promise<void> {
  if (process.getuid?.() !== 0 || process.env['SENTINEL_TEST_INSTALL'] === '0') return;
  const options = {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    timeout: 120_000,
  };
  const install = () => run('apt-get', ['install', '-y', '--no-install-recommends', 'redis-server'], options);
  console.log('Installing redis-server with apt-get for the tests that need a Redis.');
  await install()
    .catch(async () => {
      await run('apt-get', ['update'], options);
      await install();
    })
    .catch((error: Error) =>
      console.log(`redis-server could not be installed: ${error.message.split('\n')[0]}`),
    );
}

function describe(url: string): string {
  const { hostname, port } = new URL(url);
  return `${hostname}${port && `:${port}`}`;
}

const warnings: Log = (level, message, fields) => {
  if (level !== 'info') console.error(message, fields ?? '');
};
