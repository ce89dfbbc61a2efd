import { once } from 'node:events';
import { rename, stat } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Log } from '../base/log.ts';
import type { DataDirectory } from './data-directory.ts';
import { findPostgresBinaries } from './postgres-binaries.ts';
import { openCluster } from './postgres-cluster.ts';
import { stopOrphan } from './postgres-orphan.ts';
import { startPostgres, type PostgresProcess, type PostgresStart } from './postgres-process.ts';

export type EmbeddedPostgres = {
  url: string;
  /** The server's process id; another one after a restart. */
  readonly pid: number;
  stop(): Promise<void>;
};

export type EmbeddedPostgresOptions = {
  /** Held by this process: nothing else keeps two servers off the same files. */
  dataDir: DataDirectory;
  log: Log;
  /** Default 5. */
  restartsPerMinute?: number;
  /** Called once when the server ended too often and is not started again. */
  onGiveUp?: (error: Error) => void;
};

const ATTEMPTS = 40;
const RETRY_MS = 500;
const LARGEST_LOG_BYTES = 16 * 1024 * 1024;

/**
 * A real PostgreSQL from npm on a free loopback port, its files in `dataDir`: `postgres/` the data,
 * `postgres-password` the password, `postgres.log` its log. A server that ends by itself is started again on
 * the same port, so that connection pools find it; everything committed is there.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { dataDir, log } = options;
  const binaries = await findPostgresBinaries();
  const cluster = await openCluster(dataDir.path, binaries, log);
  await stopOrphan(cluster.pgdata, log);

  const logFile = join(dataDir.path, 'postgres.log');
  await setAsideLargeLog(logFile);
  const start = { launch: cluster.launch, postgres: binaries.postgres, pgdata: cluster.pgdata, logFile };
  const first = await startOnFreePort(start);
  const supervisor = supervise(first.process, { ...start, port: first.port }, options);
  return {
    url: `postgres://postgres:${cluster.password}@127.0.0.1:${first.port}/postgres`,
    get pid() {
      return supervisor.pid();
    },
    stop: supervisor.stop,
  };
}

async function setAsideLargeLog(logFile: string): Promise<void> {
  const size = (await stat(logFile).catch(() => undefined))?.size ?? 0;
  if (size > LARGEST_LOG_BYTES) await rename(logFile, `${logFile}.1`);
}

async function startOnFreePort(
  start: Omit<PostgresStart, 'port'>,
): Promise<{ process: PostgresProcess; port: number }> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = await findFreePort();
    const result = await startPostgres({ ...start, port });
    if (result.kind === 'ready') return { process: result.process, port };
    // Another program was faster to take the port: the next one. Old backends need a moment to notice.
    if (result.why === 'old_one_runs') await delay(RETRY_MS);
  }
  throw new Error(`PostgreSQL could not be started in ${ATTEMPTS} attempts. See ${start.logFile}.`);
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function supervise(first: PostgresProcess, start: PostgresStart, options: EmbeddedPostgresOptions) {
  const { log, restartsPerMinute = 5 } = options;
  const abort = new AbortController();
  let current: PostgresProcess = first;
  const restarts: number[] = [];

  // Whoever ends this process at once (a second Ctrl-C, a bug) does not wait for the server, but the server ends.
  const takeAlong = (): void => {
    try {
      process.kill(current.pid, 'SIGINT');
    } catch {
      // It had ended before us.
    }
  };
  process.once('exit', takeAlong);

  const watching = watch().catch((error: unknown) => {
    if (abort.signal.aborted) return;
    const failure = error instanceof Error ? error : new Error(String(error));
    log('error', 'PostgreSQL is not running and is not started again', { error: failure.message });
    options.onGiveUp?.(failure);
  });

  async function watch(): Promise<void> {
    while (!abort.signal.aborted) {
      const how = await current.ended;
      if (abort.signal.aborted) return;
      const now = performance.now();
      while (restarts[0] !== undefined && now - restarts[0] > 60_000) restarts.shift();
      if (restarts.length >= restartsPerMinute) {
        throw new Error(
          `PostgreSQL ended ${restarts.length + 1} times within a minute. See ${start.logFile}.`,
        );
      }
      restarts.push(now);
      log('error', 'PostgreSQL ended unexpectedly and is started again', { how });
      await restart();
    }
  }

  async function restart(): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS && !abort.signal.aborted; attempt++) {
      const result = await startPostgres(start);
      if (result.kind === 'ready') {
        current = result.process;
        log('info', 'PostgreSQL is running again', { pid: current.pid });
        return;
      }
      await delay(RETRY_MS, undefined, { signal: abort.signal }).catch(() => {});
    }
    if (!abort.signal.aborted) throw new Error(`PostgreSQL could not be restarted. See ${start.logFile}.`);
  }

  return {
    pid: () => current.pid,
    stop: async () => {
      abort.abort();
      process.off('exit', takeAlong);
      await current.stop();
      // A restart may have been under way: it ends now, and what it started ends with it.
      await watching;
      await current.stop();
    },
  };
}
