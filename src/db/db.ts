import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import pg from 'pg';
import type { Log } from '../base/log.ts';

/** Reads. */
export type Db = NodePgDatabase;
/** An open transaction. A function that takes `Tx` cannot be called outside one. */
export type Tx = Parameters<Parameters<Db['transaction']>[0]>[0];

export type Database = {
  url: string;
  db: Db;
  /** For the few statements that are faster or clearer as plain SQL. */
  pool: pg.Pool;
  close(): Promise<void>;
};

/**
 * Opens a pool. Connections are made when first used, so this never fails; `ping` tells whether the server
 * answers. A transaction left open would hold back vacuum for every table, so the server ends it.
 */
export function openDatabase(url: string, options: { log: Log; maxConnections: number }): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: options.maxConnections,
    connectionTimeoutMillis: 5_000,
    statement_timeout: 30_000,
    idle_in_transaction_session_timeout: 30_000,
    application_name: 'sentinel',
  });
  // An idle connection that breaks is replaced at the next use; without a listener it would end the process.
  pool.on('error', (error) =>
    options.log('warn', 'an idle database connection broke', { error: error.message }),
  );
  return { url, db: drizzle(pool, { casing: 'snake_case' }), pool, close: () => pool.end() };
}

/** Milliseconds a round trip to the database takes. Throws when it cannot be reached. */
export async function ping(database: Database): Promise<number> {
  const before = performance.now();
  await database.pool.query('SELECT 1');
  return performance.now() - before;
}

/** The name of the constraint a failed statement violated, if that is why it failed. */
export function violatedConstraint(error: unknown): string | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    if ('constraint' in at && typeof at.constraint === 'string') return at.constraint;
  }
  return undefined;
}
