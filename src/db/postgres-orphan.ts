import { execFile } from 'node:child_process';
import { readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Log } from '../base/log.ts';
import { readPidFile, stopServer } from './postgres-process.ts';

const POLL_MS = 25;
const LONGEST_STOP_MS = 120_000;

/**
 * A gateway that was killed leaves its PostgreSQL running. Whoever holds the data directory's lock calls this
 * before starting its own: the old server is stopped, and only if it really is a server on this data.
 */
export async function stopOrphan(pgdata: string, log: Log): Promise<void> {
  const state = await readPidFile(pgdata);
  if (!state || !isAlive(state.pid)) return;
  if (await isServerOn(state.pid, pgdata)) {
    log('warn', 'stopping the PostgreSQL that an earlier process left running', { pid: state.pid });
    await stopServer((signal) => signalIfAlive(state.pid, signal), gone(state.pid, pgdata));
  }
  await forgetReusedPid(pgdata, state.pid);
}

/**
 * After a reboot, and always in containers, the number in a left-over postmaster.pid may belong to an unrelated
 * process; PostgreSQL would then refuse to start. It must not simply be deleted, because it also names the
 * shared memory by which PostgreSQL notices surviving backends. So only the number is replaced, by one that
 * no process can have.
 */
async function forgetReusedPid(pgdata: string, pid: number): Promise<void> {
  const file = join(pgdata, 'postmaster.pid');
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text?.startsWith(`${pid}\n`)) await writeFile(file, `2147483647${text.slice(String(pid).length)}`);
}

async function gone(pid: number, pgdata: string): Promise<void> {
  const deadline = performance.now() + LONGEST_STOP_MS;
  while ((await isServerOn(pid, pgdata)) && performance.now() < deadline) await delay(POLL_MS);
}

/** A server works in its data directory. A zombie nobody waited for has no working directory any more. */
async function isServerOn(pid: number, pgdata: string): Promise<boolean> {
  try {
    if (process.platform !== 'linux') {
      const { stdout } = await promisify(execFile)('ps', ['-p', String(pid), '-o', 'command=']);
      return stdout.includes(`postgres -D ${pgdata} `);
    }
    const name = await readFile(`/proc/${pid}/comm`, 'utf8');
    return name.trim() === 'postgres' && (await readlink(`/proc/${pid}/cwd`)) === pgdata;
  } catch {
    return false;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function signalIfAlive(pid: number, signal: NodeJS.Signals): void {
  if (isAlive(pid)) process.kill(pid, signal);
}
