import { chmod, mkdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** A data directory this process holds alone, until it releases it or ends. */
export type DataDirectory = {
  /** Absolute, without symbolic links. */
  path: string;
  release(): Promise<void>;
};

// A handle nobody refers to would be collected, and its lock would be gone without a word.
const held = new Set<DatabaseSync>();
const SQLITE_BUSY = 5;

/**
 * Creates the directory (mode 0700) when it is missing and takes it for this process alone. Throws one
 * clear sentence when another process has it or when it cannot be used.
 *
 * The lock is the kernel's (fcntl, by way of SQLite, which Node carries): it ends with the process however
 * that dies, so there is no stale lock to judge and no race in taking one over. A file with a process id
 * and a start time cannot promise that: in a container every gateway is process 1, and two containers on
 * one volume do not see each other's processes. The file `process` beside it only says who to stop.
 */
export async function openDataDirectory(path: string): Promise<DataDirectory> {
  const directory = await makeDirectory(resolve(path));
  const whoFile = join(directory, 'process');
  const lock = await takeLock(directory, whoFile);
  held.add(lock);
  await writeFile(whoFile, `${process.pid}\n`, { mode: 0o600 });
  return {
    path: directory,
    release: async () => {
      if (!held.delete(lock)) return;
      // First the name, then the lock: the other way round this could remove the name of the next holder. The
      // lock file itself stays, because two processes could each lock a different file of that name.
      await rm(whoFile, { force: true });
      lock.close();
    },
  };
}

async function makeDirectory(path: string): Promise<string> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    return await realpath(path);
  } catch (error) {
    throw cannotUse(path, error);
  }
}

async function takeLock(directory: string, whoFile: string): Promise<DatabaseSync> {
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(join(directory, 'lock'), { timeout: 0 });
    // Nothing is ever written, so a journal would only be a file left behind by a crash.
    lock.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
    // Not by opening the file first: closing it again would end every lock this process has on it.
    await chmod(join(directory, 'lock'), 0o600);
    return lock;
  } catch (error) {
    lock?.close();
    if (!(error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY)) {
      throw cannotUse(directory, error);
    }
    // Empty for the instant between the holder's lock and its writing down who it is.
    const pid = (await readFile(whoFile, 'utf8').catch(() => '')).trim();
    throw new Error(
      `Another Sentinel${pid && ` (process ${pid})`} is using ${directory}. ` +
        'Stop it, or set SENTINEL_DATA to another directory.',
      { cause: error },
    );
  }
}

function cannotUse(directory: string, cause: unknown): Error {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new Error(
    `The data directory ${directory} cannot be used (${why}). Set SENTINEL_DATA to a directory this user may write to.`,
    { cause },
  );
}
