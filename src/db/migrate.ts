import { fileURLToPath } from 'node:url';
import { drizzle } from 'drizzle-orm/node-postgres';
import { migrate as runMigrations } from 'drizzle-orm/node-postgres/migrator';
import pg from 'pg';
import type { Log } from '../base/log.ts';
import { hasCode } from './error-code.ts';

const MIGRATIONS = fileURLToPath(new URL('../../migrations', import.meta.url));
// Any number all Sentinel processes agree on: two that start together migrate one after the other.
const MIGRATION_LOCK = 7_360_010;
const CONNECT_MS = 10_000;
// Behind a change of a table that waits for a reader of it, every call waits.
const LONGEST_LOCK_MS = 5_000;
const OLDEST_SERVER = 150_000;

/** Brings the schema up to date. Safe to run from several processes at once, and again. */
export async function migrate(url: string, log: Log): Promise<{ applied: number }> {
  const client = await connect(url);
  try {
    await refuseOldServer(client);
    await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    await client.query(`SET lock_timeout = '${LONGEST_LOCK_MS}ms'`);
    const applied = await applyPending(client).catch(explainLock);
    if (applied > 0) log('info', 'the database schema was brought up to date', { applied });
    return { applied };
  } finally {
    await client.end();
  }
}

/** The first thing that asks the database anything, so it is here that a wrong address or password shows. */
async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'sentinel migrate',
    connectionTimeoutMillis: CONNECT_MS,
  });
  // Breaks in between two statements are told by the next one.
  client.on('error', () => {});
  try {
    await client.connect();
    return client;
  } catch (error) {
    const { hostname, port } = new URL(url);
    // A name with several addresses fails with one error for all of them, whose message is empty.
    const why = error instanceof Error ? error.message || ('code' in error && error.code) : error;
    throw new Error(
      `PostgreSQL at ${hostname}:${port || '5432'} cannot be used (${String(why)}). Start it, or correct DATABASE_URL.`,
      { cause: error },
    );
  }
}

async function applyPending(client: pg.Client): Promise<number> {
  const before = await countApplied(client);
  await runMigrations(drizzle(client), { migrationsFolder: MIGRATIONS });
  return (await countApplied(client)) - before;
}

function explainLock(error: unknown): never {
  if (!hasCode(error, /^55P03$/)) throw error;
  throw new Error(
    `The database schema was not changed: for ${LONGEST_LOCK_MS / 1_000} s somebody had a table in use that has to be changed, in a long transaction perhaps. Start again.`,
    { cause: error },
  );
}

async function refuseOldServer(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ version: number; name: string }>(
    `SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS name`,
  );
  if (rows[0] && rows[0].version < OLDEST_SERVER) {
    throw new Error(`DATABASE_URL is a PostgreSQL ${rows[0].name}; Sentinel needs 15 or newer.`);
  }
}

async function countApplied(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ known: string | null }>(
    `SELECT to_regclass('drizzle.__drizzle_migrations')::text AS known`,
  );
  if (!rows[0]?.known) return 0;
  const counted = await client.query<{ count: number }>(
    'SELECT count(*)::int AS count FROM drizzle.__drizzle_migrations',
  );
  return counted.rows[0]?.count ?? 0;
}
