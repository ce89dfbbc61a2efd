import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'drizzle-orm';
import pg from 'pg';
import { silentLog } from '../../src/base/log.ts';
import { compareOnSnapshot } from '../../src/db/compare.ts';
import { openDatabase } from '../../src/db/db.ts';
import { createTestDatabase } from '../support/database.ts';

const LONGEST_WAIT_MS = 10_000;
const WAITING = `SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
  WHERE d.datname = current_database() AND NOT l.granted`;

test('what is written between two comparisons is in none of them', async () => {
  const database = await createTestDatabase();
  const { db, close } = openDatabase(database.url, { log: silentLog, maxConnections: 2 });
  const other = new pg.Client({ connectionString: database.url });
  await other.connect();
  try {
    await other.query('CREATE TABLE marks (mark int)');
    await other.query('SELECT pg_advisory_lock(1)');
    const count = sql`SELECT 'marks', '0', count(*)::text FROM marks`;
    const comparing = compareOnSnapshot(
      db,
      [
        { what: 'first', differences: () => count },
        { what: 'waits', differences: () => sql`SELECT 'lock', '', pg_advisory_xact_lock(1)::text` },
        { what: 'last', differences: () => count },
      ],
      { now: new Date(), limit: 10 },
    );
    await until(async () => (await other.query(WAITING)).rowCount === 1);
    await other.query('INSERT INTO marks VALUES (1)');
    await other.query('SELECT pg_advisory_unlock(1)');
    const [first, , last] = await comparing;
    assert.deepEqual([first?.differences[0]?.found, last?.differences[0]?.found], ['0', '0']);
  } finally {
    await other.end();
    await close();
    await database.close();
  }
});

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + LONGEST_WAIT_MS; !(await isSo()); await delay(5)) {
    assert.ok(performance.now() < deadline, 'nothing waits');
  }
}
