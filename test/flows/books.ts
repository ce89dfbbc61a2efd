import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { idOfUuid } from '../../src/base/ids.ts';

/** What the whole database says about money and calls. */
export type Books = {
  /** Broken promises; empty when everything adds up. */
  faults: string[];
  openHolds: number;
  /** Calls by how their hold ended. */
  settled: Set<string>;
  refunded: Set<string>;
};

/** Reads and checks the books of a gateway, all of them. */
export function readBooks(databaseUrl: string): Promise<Books> {
  return withClient(databaseUrl, async (client) => {
    const { rows: faults } = await client.query<{ fault: string }>(FAULTS);
    const { rows: holds } = await client.query<{ count: number }>(
      'SELECT count(*)::int AS count FROM ledger_holds',
    );
    const { rows } = await client.query<{ id: string; kind: string }>(
      `SELECT id, kind FROM ledger_journal WHERE kind IN ('settle', 'refund', 'expire')`,
    );
    const idsOf = (isWanted: (kind: string) => boolean) =>
      new Set(rows.filter(({ kind }) => isWanted(kind)).map(({ id }) => idOfUuid('call', id)));
    return {
      faults: faults.map(({ fault }) => fault),
      openHolds: holds[0]?.count ?? 0,
      settled: idsOf((kind) => kind === 'settle'),
      refunded: idsOf((kind) => kind !== 'settle'),
    };
  });
}

/** Resolved holds whose call nobody wrote down yet, or wrote down otherwise than the money went. */
export async function countUnrecorded(databaseUrl: string): Promise<number> {
  const rows = await queryBooks<{ count: number }>(
    databaseUrl,
    `SELECT count(*)::int AS count
       FROM ledger_journal j LEFT JOIN calls c ON c.id = j.id
      WHERE j.kind IN ('settle', 'refund', 'expire')
        AND (c.id IS NULL OR (c.outcome = 'settled') <> (j.kind = 'settle') OR c.charged_micros <> j.amount)`,
  );
  return rows[0]?.count ?? 0;
}

/**
 * Lets time pass for everything a gateway left that was just killed: its holds expire, its records count as
 * missing. What it had sent may still be at work, so that ends first.
 */
export function letTimePass(databaseUrl: string): Promise<void> {
  return withClient(databaseUrl, async (client) => {
    await sessionsEnded(client);
    await moveTime(
      client,
      `UPDATE ledger_holds SET created_at = created_at - interval '1 hour', expires_at = expires_at - interval '1 hour'`,
      `UPDATE ledger_journal SET created_at = created_at - interval '2 minutes'`,
    );
  });
}

/** Lets so much time pass for all that was sold. */
export function letSalesAge(databaseUrl: string, interval: string): Promise<void> {
  return withClient(databaseUrl, (client) =>
    moveTime(client, `UPDATE ledger_journal SET created_at = created_at - interval '${interval}'`),
  );
}

async function moveTime(client: pg.Client, ...changes: string[]): Promise<void> {
  await client.query('BEGIN');
  // The journal refuses changes, also from us; moving the clock is not one it knows.
  await client.query('SET LOCAL session_replication_role = replica');
  for (const change of changes) await client.query(change);
  await client.query('COMMIT');
}

async function sessionsEnded(client: pg.Client): Promise<void> {
  const others = 'datname = current_database() AND pid <> pg_backend_pid()';
  for (const deadline = performance.now() + 10_000; performance.now() < deadline; await delay(10)) {
    const { rows } = await client.query(`SELECT 1 FROM pg_stat_activity WHERE ${others}`);
    if (rows.length === 0) return;
  }
  throw new Error('A killed gateway is still at work in the database.');
}

export function queryBooks<Row extends pg.QueryResultRow>(databaseUrl: string, sql: string): Promise<Row[]> {
  return withClient(databaseUrl, async (client) => (await client.query<Row>(sql)).rows);
}

async function withClient<Value>(
  databaseUrl: string,
  use: (client: pg.Client) => Promise<Value>,
): Promise<Value> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

const FAULTS = `
WITH sums AS (SELECT account, sum(amount) AS amount FROM ledger_entries GROUP BY account),
open_sums AS (SELECT buyer, sum(amount) AS amount FROM ledger_holds GROUP BY buyer)
SELECT 'the entries do not sum to zero' AS fault WHERE (SELECT coalesce(sum(amount), 0) FROM ledger_entries) <> 0
UNION ALL SELECT 'account ' || a.id || ' has posted ' || a.posted || ' and entries of ' || coalesce(s.amount, 0)
  FROM ledger_accounts a LEFT JOIN sums s ON s.account = a.id WHERE a.posted <> coalesce(s.amount, 0)
UNION ALL SELECT 'account ' || a.id || ' has ' || a.held || ' held and open holds of ' || coalesce(o.amount, 0)
  FROM ledger_accounts a LEFT JOIN open_sums o ON o.buyer = a.id WHERE a.held <> coalesce(o.amount, 0)
UNION ALL SELECT 'account ' || id || ' is overdrawn'
  FROM ledger_accounts WHERE kind <> 'funding' AND posted - held < 0
UNION ALL SELECT 'hold ' || h.id || ' is open and resolved'
  FROM ledger_holds h JOIN ledger_journal r ON r.id = h.id
UNION ALL SELECT 'meter ' || m.id || ' is past its cap'
  FROM spend_meters m WHERE used_day > cap_day OR used_month > cap_month OR used_total > cap_total`;
