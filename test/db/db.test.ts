import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { openDatabase } from '../../src/db/db.ts';
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
