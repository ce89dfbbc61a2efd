import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { sql } from 'drizzle-orm';
import { silentLog, traceOf } from '../../src/base/log.ts';
import { describeFailure } from '../../src/cli/describe-failure.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { createTestDatabase } from '../support/database.ts';

const SECRET = 'whsec_mine';
/** Looks like the end of the parameters, and PostgreSQL takes no text with a NUL. */
const TRICK = 'x\n    at y\u0000';

let database: Database;
let failure: Error;
let close: () => Promise<void>;
before(async () => {
  const testDatabase = await createTestDatabase();
  database = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 1 });
  close = async () => {
    await database.close();
    await testDatabase.close();
  };
  failure = await database.db.execute(sql`SELECT ${TRICK}::text, ${SECRET}::text`).then(
    () => assert.fail('it is refused'),
    (error: Error) => error,
  );
});
after(() => close());

/** What a process that is not at a terminal writes for a text as `error`. */
function logged(error: string): string {
  const script = `import { createLog } from './src/runtime/log.ts';
    createLog()('error', 'it failed', { error: process.argv[1] });`;
  const args = ['--input-type=module-typescript', '--eval', script, '--', error.replaceAll('\0', '')];
  return spawnSync(process.execPath, args, { encoding: 'utf8' }).stderr;
}

test('the trace of a failed statement says what and where, and none of its parameters', () => {
  assert.ok(failure.message.includes(SECRET));
  const trace = traceOf(failure);
  assert.match(trace, /invalid byte sequence.*\n {4}at /);
  assert.ok(!trace.includes(SECRET) && !trace.includes('at y'));
});

test('the log keeps parameters out of any text of an error, whatever they look like', () => {
  for (const text of [failure.message, String(failure), failure.stack ?? '']) {
    const line = logged(text);
    assert.match(line, /"error":"(Error: )?Failed query: SELECT/);
    assert.ok(!line.includes(SECRET) && !line.includes('at y'));
  }
});

test('a command that fails at the database prints no parameters', () => {
  assert.match(describeFailure(failure), /invalid byte sequence/);
  assert.ok(!describeFailure(failure).includes(SECRET));
});
