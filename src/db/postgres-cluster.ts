import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmod,
  chown,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Log } from '../base/log.ts';
import type { PostgresBinaries } from './postgres-binaries.ts';
import { choosePostgresUser, launcherFor, type Launcher, type PostgresUser } from './postgres-user.ts';

const run = promisify(execFile);

/** The files of one database server, complete and readable by the user it runs as. */
export type Cluster = { pgdata: string; password: string; launch: Launcher };

const INIT_PREFIX = 'postgres-init-';

/** Finds the cluster in the data directory, or makes it at the first start. */
export async function openCluster(dataDir: string, binaries: PostgresBinaries, log: Log): Promise<Cluster> {
  const pgdata = join(dataDir, 'postgres');
  const passwordFile = join(dataDir, 'postgres-password');
  const user = await choosePostgresUser(pgdata, log);
  if (user) await letThrough(dataDir, user);
  const launch = await launcherFor(user, binaries.postgres, [binaries.directory, dataDir]);

  await removeHalfMade(dataDir);
  const version = await readFile(join(pgdata, 'PG_VERSION'), 'utf8').catch(() => undefined);
  if (version === undefined) {
    await createCluster({ dataDir, pgdata, passwordFile, binaries, launch, user });
    log('info', 'created a database', { directory: pgdata });
  } else {
    refuseOtherVersion(version.trim(), binaries.majorVersion, pgdata);
    if (user) await ownExisting(pgdata, user);
  }
  return { pgdata, password: await readPassword(passwordFile, pgdata), launch };
}

/** The data directory is root's; its group may walk through to `postgres/`, and see nothing else. */
async function letThrough(dataDir: string, user: PostgresUser): Promise<void> {
  const { uid, gid, mode } = await stat(dataDir);
  if (uid === user.uid || mode & 0o001 || (gid === user.gid && mode & 0o010)) return;
  await chown(dataDir, uid, user.gid);
  await chmod(dataDir, (mode & 0o700) | 0o010);
}

/** What interrupted starts left behind. One whose initdb still writes is removed at a later start. */
async function removeHalfMade(dataDir: string): Promise<void> {
  for (const name of await readdir(dataDir)) {
    if (name.startsWith(INIT_PREFIX)) await rm(join(dataDir, name), { recursive: true }).catch(() => {});
  }
}

type Creation = {
  dataDir: string;
  pgdata: string;
  passwordFile: string;
  binaries: PostgresBinaries;
  launch: Launcher;
  user: PostgresUser | undefined;
};

/**
 * initdb works in a directory of a fresh name and the result is renamed into place, so that a half-made
 * cluster is never opened, even while the initdb of a killed gateway still runs.
 */
async function createCluster(creation: Creation): Promise<void> {
  const { dataDir, pgdata, passwordFile, binaries, launch, user } = creation;
  const password = randomBytes(24).toString('hex');
  await writeDurably(passwordFile, `${password}\n`);

  const work = await mkdtemp(join(dataDir, INIT_PREFIX));
  const passwordCopy = join(work, 'password');
  await writeFile(passwordCopy, password, { mode: 0o600 });
  if (user) {
    await chown(passwordCopy, user.uid, user.gid);
    await chown(work, user.uid, user.gid);
  }
  const { file, args, as } = launch(binaries.initdb, [
    `--pgdata=${join(work, 'data')}`,
    '--username=postgres',
    `--pwfile=${passwordCopy}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    // PostgreSQL's own C.UTF-8 sorts the same on every machine; the system's may be missing or change.
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    '--data-checksums',
  ]);
  await run(file, args, { ...as, cwd: '/', env: { PATH: process.env['PATH'], LC_ALL: 'C' } }).catch(
    (error: Error & { stderr?: string }) => {
      throw new Error(`The database could not be created: ${error.stderr?.trim() || error.message}`, {
        cause: error,
      });
    },
  );
  await rename(join(work, 'data'), pgdata);
  await syncDirectory(dataDir);
  await rm(work, { recursive: true, force: true });
}

/** On disk under its name before it returns: a database whose password was lost cannot be opened. */
async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function refuseOtherVersion(found: string, ours: string, pgdata: string): void {
  if (found === ours) return;
  throw new Error(
    `${pgdata} was made by PostgreSQL ${found}, and this Sentinel brings PostgreSQL ${ours}. Move the data with ` +
      'pg_dump and psql, or set DATABASE_URL to a server of that version.',
  );
}

/** Data that root restored from a backup belongs to root, and PostgreSQL refuses data that is not its own. */
async function ownExisting(pgdata: string, user: PostgresUser): Promise<void> {
  if ((await stat(pgdata)).uid === 0) await run('chown', ['-R', `${user.uid}:${user.gid}`, pgdata]);
}

async function readPassword(passwordFile: string, pgdata: string): Promise<string> {
  const password = (await readFile(passwordFile, 'utf8').catch(() => '')).trim();
  if (password) return password;
  throw new Error(`${passwordFile} is missing, and the database in ${pgdata} cannot be opened without it.`);
}
