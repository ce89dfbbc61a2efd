import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { systemClock, type Clock } from '../../src/base/clock.ts';
import type { Log } from '../../src/base/log.ts';
import { silentLog } from '../../src/base/log.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { isNews, isOff, MAX_SKEW_MS, watchDatabaseClock } from '../../src/db/watch-database-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const DAY_MS = 86_400_000;

let testDatabase: TestDatabase;
let database: Database;
before(async () => {
  testDatabase = await createTestDatabase();
  database = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 2 });
});
after(async () => {
  await database.close();
  await testDatabase.close();
});

/** A process's own clock, which somebody sets. */
function settable(aheadMs: number) {
  const own = { aheadMs };
  const clock: Clock = { now: () => Date.now() + own.aheadMs, elapsed: () => systemClock.elapsed() };
  return { own, clock };
}

test('a process whose clock is days ahead or behind goes by the time of the database all the same', async () => {
  for (const aheadMs of [240_000, 8 * DAY_MS, -3_600_000]) {
    const watched = await watchDatabaseClock(database, { log: silentLog, own: settable(aheadMs).clock });
    assert.ok(Math.abs(watched.now() - Date.now()) < 1_000, String(aheadMs));
    assert.ok(Math.abs(watched.aheadMs() - aheadMs) < 1_000);
    assert.ok(Number.isInteger(watched.now()) && Number.isInteger(watched.aheadMs()));
    assert.equal(watched.wasRight(), false);
    watched.close();
  }
});

test('a clock that goes wrong, and right again, is noticed and told, each once', async () => {
  const lines: string[] = [];
  const log: Log = (level, message, fields) => lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  const { own, clock } = settable(0);
  const watched = await watchDatabaseClock(database, { log, own: clock });
  assert.deepEqual([await watched.isRight(), watched.wasRight(), lines], [true, true, []]);
  own.aheadMs = 8 * DAY_MS;
  assert.equal(await watched.isRight(), false);
  assert.equal(await watched.isRight(), false);
  assert.ok(Math.abs(watched.now() - Date.now()) < 1_000, 'it was the clock that was set, and not the time');
  own.aheadMs = 4_000;
  assert.equal(await watched.isRight(), true);
  assert.deepEqual(lines, [
    'error this process and the database do not agree what time it is; it runs no jobs until they do {"ahead_s":691200}',
    'info this process and the database agree what time it is again undefined',
  ]);
  watched.close();
});

test('many who want to know at once ask the database once', async () => {
  let asked = 0;
  const pool = Object.create(database.pool) as Database['pool'];
  pool.query = ((...values: Parameters<Database['pool']['query']>) => {
    asked += 1;
    return database.pool.query(...values);
  }) as Database['pool']['query'];
  const watched = await watchDatabaseClock({ pool }, { log: silentLog });
  await Promise.all(Array.from({ length: 20 }, () => watched.isRight()));
  assert.equal(asked, 2);
  watched.close();
});

test('while the database is away, the time goes on and what was found last holds', async () => {
  const away = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 1 });
  const watched = await watchDatabaseClock(away, { log: silentLog });
  await away.close();
  assert.equal(await watched.isRight(), true);
  assert.ok(Math.abs(watched.now() - Date.now()) < 1_000);
  watched.close();
});

test('a slow answer proves nothing: only what the round trip cannot explain counts', () => {
  const found = { databaseMs: 1_000_000, atElapsed: 0, aheadMs: MAX_SKEW_MS + 1, slackMs: 0 };
  assert.equal(isOff(found), true);
  assert.equal(isOff({ ...found, aheadMs: -found.aheadMs }), true);
  assert.equal(isOff({ ...found, aheadMs: MAX_SKEW_MS }), false);
  assert.equal(isOff({ ...found, slackMs: 1 }), false);
  assert.equal(isOff({ ...found, aheadMs: 8 * DAY_MS, slackMs: 10_000 }), true);
  const later = { ...found, databaseMs: found.databaseMs + 1_000, atElapsed: 1_000 };
  assert.equal(isNews(found, later), false);
  assert.equal(isNews(found, { ...later, databaseMs: later.databaseMs + 3, slackMs: 2 }), true);
  assert.equal(isNews(found, { ...later, databaseMs: later.databaseMs - 2, slackMs: 2 }), false);
});
