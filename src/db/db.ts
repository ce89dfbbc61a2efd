import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import pg from 'pg';
import { parseJsonExactly } from '../base/exact-json.ts';
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

// Compiling one of our statements takes longer than running it. A URL or PGOPTIONS that asks for something stands
// in its place.
pg.defaults.options = '-c jit=off';

// An answer that was kept is given again as it was, with the numbers no double holds.
pg.types.setTypeParser(pg.types.builtins.JSON, parseJsonExactly);

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
  // A connection that breaks while it is in use but between two statements says so to nobody but this listener,
  // without which that ends the process. Its user learns of it with the next statement.
  pool.on('connect', (client) => client.on('error', () => {}));
  // An idle one is replaced at the next use. While the pool closes it is no news: nobody waits for the server's
  // last word.
  pool.on('error', (error) => {
    if (!pool.ending) options.log('warn', 'an idle database connection broke', { error: error.message });
  });
  return { url, db: openDrizzle(pool), pool, close: () => pool.end() };
}

const DIALECT = { casing: 'snake_case' } as const;

/**
 * Drizzle keeps a pool's connection for ever when its `begin` fails (0.45), so ten transactions that meet a
 * database that is going away would leave the pool empty for good. Here the connection is taken and given
 * back by us, whatever happens in between.
 */
function openDrizzle(pool: pg.Pool): Db {
  const db = drizzle(pool, DIALECT);
  db.transaction = async (work, config) => {
    const client = await pool.connect();
    try {
      return await drizzle(client, DIALECT).transaction(work, config);
    } finally {
      // The pool drops it where it is broken.
      client.release();
    }
  };
  return db;
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
