import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import type { Log } from '../base/log.ts';

const run = promisify(execFile);

/** Turns a program and its arguments into what to spawn, so that it runs as the right user. */
export type Launcher = (
  program: string,
  args: string[],
) => { file: string; args: string[]; as: { uid?: number; gid?: number } };

/** Who PostgreSQL runs as. It refuses to run as root, so root hands it to somebody else. */
export type PostgresUser = { uid: number; gid: number };

const OWN_USER = 'sentinel-postgres';

/**
 * Undefined when we are not root: PostgreSQL then runs as ourselves. Otherwise the owner of the existing
 * data, else `postgres` if the machine has it, else a system user we create.
 */
export async function choosePostgresUser(pgdata: string, log: Log): Promise<PostgresUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const owner = await stat(pgdata).catch(() => undefined);
  if (owner && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const known = (await findUser('postgres')) ?? (await findUser(OWN_USER));
  if (known) return known;
  try {
    await run('useradd', ['--system', '--user-group', '--no-create-home', '--shell', '/bin/false', OWN_USER]);
  } catch (error) {
    throw new Error(
      `PostgreSQL cannot run as root, this machine has no user postgres, and the user ${OWN_USER} could not be ` +
        'created. Run Sentinel as another user, or set DATABASE_URL.',
      { cause: error },
    );
  }
  log('info', `created the system user ${OWN_USER}, because PostgreSQL cannot run as root`);
  const created = await findUser(OWN_USER);
  if (!created)
    throw new Error(`The user ${OWN_USER} was created but cannot be found. Set DATABASE_URL instead.`);
  return created;
}

async function findUser(name: string): Promise<PostgresUser | undefined> {
  try {
    const [uid, gid] = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])]);
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  } catch {
    return undefined;
  }
}

/**
 * How to run `postgres` as `user`. `needed` are the directories it must reach. Under a closed parent, such as
 * a checkout in /root, that user could not even load its libraries; it then gets the one capability to
 * walk through and read.
 */
export async function launcherFor(
  user: PostgresUser | undefined,
  postgres: string,
  needed: string[],
): Promise<Launcher> {
  if (!user) return (file, args) => ({ file, args, as: {} });
  const closed = await firstClosedDirectory(needed, user);
  if (!closed) return (file, args) => ({ file, args, as: user });

  // Reading is enough, but Docker's default set only has the wider dac_override.
  for (const capability of ['dac_read_search', 'dac_override']) {
    const launch = withCapability(user, capability);
    const { file, args } = launch(postgres, ['--version']);
    const works = await run(file, args, { cwd: '/' }).then(
      () => true,
      () => false,
    );
    if (works) return launch;
  }
  throw new Error(
    `PostgreSQL cannot run as root, and the user with id ${user.uid} that it would run as may not enter ${closed}. ` +
      'Allow that (chmod o+x), move Sentinel elsewhere, run it as another user, or set DATABASE_URL.',
  );
}

/**
 * setpriv (util-linux) changes the user and keeps one capability. `no_setuid_fixup` is needed because
 * access(2), with which PostgreSQL looks for its own files, otherwise leaves out the capabilities of
 * anyone but root.
 */
function withCapability(user: PostgresUser, capability: string): Launcher {
  const change = [
    `--reuid=${user.uid}`,
    `--regid=${user.gid}`,
    '--clear-groups',
    '--securebits=+no_setuid_fixup',
  ];
  const keep = [`--inh-caps=-all,+${capability}`, `--ambient-caps=-all,+${capability}`];
  return (program, args) => ({ file: 'setpriv', args: [...change, ...keep, '--', program, ...args], as: {} });
}

async function firstClosedDirectory(paths: string[], user: PostgresUser): Promise<string | undefined> {
  for (const path of paths) {
    for (let at = path; ; at = dirname(at)) {
      const { mode, uid, gid } = await stat(at);
      const enter = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
      if (!(mode & enter)) return at;
      if (at === dirname(at)) break;
    }
  }
  return undefined;
}
