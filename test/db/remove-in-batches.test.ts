import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lt, sql } from 'drizzle-orm';
import { silentLog } from '../../src/base/log.ts';
import { openDatabase } from '../../src/db/db.ts';
import { removeInBatches } from '../../src/db/remove-in-batches.ts';
import { idempotencyKeys } from '../../src/ledger/tables.ts';
import { createTestDatabase } from '../support/database.ts';

test('what piled up is removed in small transactions; what is locked waits, and nobody for it', async () => {
  const given = await createTestDatabase();
  const { db, pool, close } = openDatabase(given.url, { log: silentLog, maxConnections: 2 });
  await pool.query(`
    CREATE TABLE test_transactions (id xid8 PRIMARY KEY);
    CREATE FUNCTION test_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO test_transactions VALUES (pg_current_xact_id()) ON CONFLICT DO NOTHING; RETURN NULL; END $$;
    CREATE TRIGGER test_note AFTER DELETE ON idempotency_keys FOR EACH STATEMENT EXECUTE FUNCTION test_note();
    INSERT INTO idempotency_keys (key_id, idempotency_key, call_id, request_hash, expires_at)
    SELECT 'key_1', 'key ' || n, gen_random_uuid(), '', now() + CASE WHEN n <= 5000 THEN -1 ELSE 1 END * interval '1 hour'
    FROM generate_series(1, 5010) n`);
  const remove = () => removeInBatches(db, idempotencyKeys, lt(idempotencyKeys.expiresAt, sql`now()`));
  await db.transaction(async (tx) => {
    await tx.execute(sql`SELECT 1 FROM idempotency_keys WHERE idempotency_key = 'key 7' FOR UPDATE`);
    assert.equal(await remove(), 4_999);
  });
  assert.equal((await pool.query('SELECT 1 FROM test_transactions')).rows.length, 3);
  assert.equal(await remove(), 1);
  assert.equal((await pool.query('SELECT 1 FROM idempotency_keys')).rows.length, 10);
  await close();
  await given.close();
});
