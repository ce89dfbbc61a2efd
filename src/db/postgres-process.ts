import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Launcher } from './postgres-user.ts';

/** One running PostgreSQL server. */
export type PostgresProcess = {
  pid: number;
  /** Resolves when it has ended, with how: `exit code 1`, `signal SIGKILL`. */
  ended: Promise<string>;
  /** Fast shutdown: open transactions are rolled back, everything committed is written out. */
  stop(): Promise<void>;
};

export type PostgresStart = {
  launch: Launcher;
  postgres: string;
  pgdata: string;
  port: number;
  logFile: string;
};

const POLL_MS = 25;
// After a crash the journal is replayed first, which is bounded by max_wal_size.
const START_DEADLINE_MS = 120_000;
const STOP_DEADLINE_MS = 30_000;

/**
 * Starts a server and waits until it takes connections. `try_again` means that it could not start now but may
 * soon, or on another port.
 */
export async function startPostgres(
  start: PostgresStart,
): Promise<
  { kind: 'ready'; process: PostgresProcess } | { kind: 'try_again'; why: 'port_taken' | 'old_one_runs' }
> {
  const logged = (await stat(start.logFile).catch(() => undefined))?.size ?? 0;
  const server = await spawnServer(start);
  let end: string | undefined;
  void server.ended.then((how) => (end = how));

  for (const deadline = performance.now() + START_DEADLINE_MS; performance.now() < deadline;) {
    const state = await readPidFile(start.pgdata);
    if (state?.pid === server.pid && state.status === 'ready') return { kind: 'ready', process: server };
    if (end !== undefined) return judgeFailure(start.logFile, logged, end);
    await delay(POLL_MS);
  }
  await server.stop();
  throw new Error(
    `PostgreSQL did not become ready within ${START_DEADLINE_MS / 1000} s. See ${start.logFile}.`,
  );
}

async function spawnServer(start: PostgresStart): Promise<PostgresProcess> {
  const { file, args, as } = start.launch(start.postgres, ['-D', start.pgdata, ...settings(start.port)]);
  const log = await open(start.logFile, 'a', 0o600);
  try {
    const child = spawn(file, args, {
      ...as,
      cwd: '/',
      // Our environment holds secrets that are none of PostgreSQL's business.
      env: { PATH: process.env['PATH'], LC_ALL: 'C' },
      stdio: ['ignore', log.fd, log.fd],
      // A process group of its own: Ctrl-C in the terminal must reach only the gateway, which still needs the
      // database to end its running calls.
      detached: true,
    });
    const ended = new Promise<string>((resolve) => {
      child.once('exit', (code, signal) => resolve(signal ? `signal ${signal}` : `exit code ${code}`));
    });
    await once(child, 'spawn');
    return { pid: child.pid as number, ended, stop: () => stopServer((signal) => child.kill(signal), ended) };
  } finally {
    await log.close();
  }
}

/**
 * On the command line, so that they follow the code and not what `initdb` once wrote. Only loopback, no socket file.
 * For a small machine: jit costs more than it saves on short statements.
 */
function settings(port: number): string[] {
  const values = {
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    fsync: 'on',
    synchronous_commit: 'on',
    full_page_writes: 'on',
    wal_compression: 'on',
    shared_buffers: '128MB',
    max_connections: '100',
    jit: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_checkpoints: 'off',
    logging_collector: 'off',
  };
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

async function judgeFailure(logFile: string, from: number, end: string): ReturnType<typeof startPostgres> {
  const said = (await readFile(logFile)).subarray(from).toString();
  if (said.includes('Address already in use')) return { kind: 'try_again', why: 'port_taken' };
  // The backends of a killed server live on until they notice, and hold its shared memory.
  if (said.includes('pre-existing shared memory block')) return { kind: 'try_again', why: 'old_one_runs' };
  const reason = said
    .split('\n')
    .findLast((line) => /FATAL|PANIC|error while loading|[Pp]ermission denied/.test(line));
  throw new Error(`PostgreSQL did not start (${end}): ${reason ?? 'it gave no reason'}. See ${logFile}.`);
}

/** Fast shutdown, then immediate (PostgreSQL recovers from that at its next start), then by force. */
export async function stopServer(
  kill: (signal: NodeJS.Signals) => void,
  ended: Promise<unknown>,
): Promise<void> {
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    kill(signal);
    const timeout = new AbortController();
    const late = delay(STOP_DEADLINE_MS, 'late', { signal: timeout.signal }).catch(() => 'late');
    const first = await Promise.race([ended.then(() => 'ended'), late]);
    timeout.abort();
    if (first === 'ended') return;
  }
}

/** Line 1 of postmaster.pid is the server's process id, line 8 how far it is. */
export async function readPidFile(pgdata: string): Promise<{ pid: number; status: string } | undefined> {
  const lines = (await readFile(join(pgdata, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
  const pid = Number(lines[0]);
  return pid > 0 ? { pid, status: lines[7]?.trim() ?? '' } : undefined;
}
