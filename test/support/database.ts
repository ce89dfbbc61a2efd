import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, escapeIdentifier, escapeLiteral } from 'pg';
import { silentLog } from '../../src/base/log.ts';
import { migrate } from '../../src/db/migrate.ts';

export type TestDatabase = { url: string; close(): Promise<void> };

const MIGRATIONS = fileURLToPath(new URL('../../migrations', import.meta.url));
const LOCAL_SERVER = 'postgres://postgres@127.0.0.1:5432/postgres';
const TEMPLATE_LOCK = 7_360_011;
const KEEP_SECONDS = 3_600;

let prepared: Promise<{ server: string; template: string }> | undefined;

/**
 * An empty database with the current schema, for one caller. It is cloned from a template that is migrated once
 * for each content of `migrations/`, so it costs tens of milliseconds.
 */
export async function createTestDatabase(): Promise<TestDatabase> {
  prepared ??= prepare();
  const { server, template } = await prepared;
  const name = `sentinel_test_${epochSeconds()}_${randomBytes(6).toString('hex')}`;
  await onServer(server, (client) => client.query(`CREATE DATABASE ${name} TEMPLATE ${template}`));
  return {
    url: withDatabase(server, name),
    close: () =>
      onServer(server, async (client) => void (await client.query(`DROP DATABASE ${name} WITH (FORCE)`))),
  };
}

/**
 * The server tests use: the one the test run names, else `DATABASE_URL`, else a local one that lets us in.
 * Undefined when there is none.
 */
export async function findDatabaseServer(): Promise<string | undefined> {
  const named = process.env['SENTINEL_TEST_DATABASE_URL'] ?? process.env['DATABASE_URL'];
  if (named) return named;
  const answers = await onServer(LOCAL_SERVER, (client) => client.query('SELECT 1')).catch(() => undefined);
  return answers && LOCAL_SERVER;
}

async function prepare(): Promise<{ server: string; template: string }> {
  const server = await findDatabaseServer();
  if (!server)
    throw new Error(
      'There is no PostgreSQL for this test. Run it with `npm test -- <file>`, or set DATABASE_URL.',
    );
  const template = `sentinel_template_${await hashMigrations()}`;
  await onServer(server, async (client) => {
    // Test processes run side by side: the first builds the template while the others wait here.
    await client.query('SELECT pg_advisory_lock($1)', [TEMPLATE_LOCK]);
    await dropOld(client, template);
    if (!(await isReady(client, template))) await buildTemplate(client, server, template);
  });
  return { server, template };
}

async function hashMigrations(): Promise<string> {
  const hash = createHash('sha256');
  const names = (await readdir(MIGRATIONS, { recursive: true })).sort();
  for (const name of names.filter((name) => /\.(sql|json)$/.test(name))) {
    hash.update(`${name}\0`).update(await readFile(join(MIGRATIONS, name)));
  }
  return hash.digest('hex').slice(0, 16);
}

/** The comment is written last, so a template whose build was interrupted has none and is built again. */
async function isReady(client: Client, template: string): Promise<boolean> {
  const { rows } = await client.query(
    `SELECT 1 FROM pg_database WHERE datname = $1 AND shobj_description(oid, 'pg_database') IS NOT NULL`,
    [template],
  );
  return rows.length > 0;
}

async function buildTemplate(client: Client, server: string, template: string): Promise<void> {
  await client.query(`DROP DATABASE IF EXISTS ${template} WITH (FORCE)`);
  // Not template1: what somebody put there is not part of our schema.
  await client.query(`CREATE DATABASE ${template} TEMPLATE template0 ENCODING 'UTF8'`);
  await migrate(withDatabase(server, template), silentLog);
  await client.query(`COMMENT ON DATABASE ${template} IS ${escapeLiteral(String(epochSeconds()))}`);
}

/** Databases of runs that were killed, and templates of earlier migrations. */
async function dropOld(client: Client, current: string): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT datname AS name
       FROM pg_database
      WHERE datname <> $1
        AND CASE WHEN datname ~ '^sentinel_test_[0-9]+_[0-9a-f]{12}$' THEN split_part(datname, '_', 3)::bigint
                 WHEN datname ~ '^sentinel_template_[0-9a-f]{16}$'
                   THEN coalesce(shobj_description(oid, 'pg_database')::bigint, 0)
            END < $2`,
    [current, epochSeconds() - KEEP_SECONDS],
  );
  for (const { name } of rows) {
    await client.query(`DROP DATABASE IF EXISTS ${escapeIdentifier(name)} WITH (FORCE)`);
  }
}

async function onServer<T>(url: string, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

function withDatabase(server: string, name: string): string {
  const url = new URL(server);
  url.pathname = `/${name}`;
  return url.href;
}

function epochSeconds(): number {
  return Math.floor(Date.now() / 1000);
}
