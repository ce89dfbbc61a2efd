import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'drizzle-orm';
import { silentLog } from '../../src/base/log.ts';
import { openDatabase } from '../../src/db/db.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createTestDatabase } from '../support/database.ts';

test('a connection has its limits and no compiler, unless its URL says otherwise', async () => {
  const given = await createTestDatabase();
  const wish = encodeURIComponent('-c jit=on');
  const urls = [given.url, `${given.url}${given.url.includes('?') ? '&' : '?'}options=${wish}`];
  const settings = await Promise.all(
    urls.map(async (url) => {
      const database = openDatabase(url, { log: silentLog, maxConnections: 1 });
      const { rows } = await database.pool.query<Record<string, string>>(
        `SELECT current_setting('jit') AS jit, current_setting('statement_timeout') AS statement,
           current_setting('idle_in_transaction_session_timeout') AS idle`,
      );
      await database.close();
      return rows[0];
    }),
  );
  const limits = { statement: '30s', idle: '30s' };
  assert.deepEqual(settings, [
    { jit: 'off', ...limits },
    { jit: 'on', ...limits },
  ]);
  await given.close();
});

test('what PGOPTIONS asks for stands', async (t) => {
  const given = await createTestDatabase();
  t.after(() => given.close());
  const before = process.env['PGOPTIONS'];
  t.after(() => {
    if (before === undefined) delete process.env['PGOPTIONS'];
    else process.env['PGOPTIONS'] = before;
  });
  process.env['PGOPTIONS'] = '-c work_mem=33MB';
  const database = openDatabase(given.url, { log: silentLog, maxConnections: 1 });
  const { rows } = await database.pool.query<Record<string, string>>(
    `SELECT current_setting('work_mem') AS memory`,
  );
  await database.close();
  assert.deepEqual(rows, [{ memory: '33MB' }]);
});

test('a change of the schema does not wait long for somebody who has a table in use, and says so', async () => {
  const given = await createTestDatabase();
  const { db, close } = openDatabase(given.url, { log: silentLog, maxConnections: 1 });
  await db.transaction(async (tx) => {
    await tx.execute(sql`LOCK TABLE drizzle.__drizzle_migrations`);
    await assert.rejects(migrate(given.url, silentLog), /was not changed.*Start again/);
  });
  assert.deepEqual(await migrate(given.url, silentLog), { applied: 0 });
  await close();
  await given.close();
});
