import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import pg from 'pg';
import {
  bigintArray,
  booleanArray,
  intArray,
  textArray,
  timestamptzArray,
  uuidArray,
} from '../../src/db/binary-array.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let client: pg.Client;
before(async () => {
  database = await createTestDatabase();
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
});
after(async () => {
  await client.end();
  await database.close();
});

const same = <Value>(value: Value): Value => value;
/** Each value, and how PostgreSQL writes it. */
type Written<Value> = [Value | null, string | null];

async function comesOutAsWritten<Value>(
  type: string,
  arrayOf: (column: (row: Value | null) => Value | null) => (rows: readonly (Value | null)[]) => Buffer,
  written: Written<Value>[],
): Promise<void> {
  const values = written.map(([value]) => value);
  const { rows } = await client.query<{ texts: (string | null)[] }>({
    name: `read_${type}`,
    text: `SELECT ARRAY(SELECT value::text FROM unnest($1::${type}[]) WITH ORDINALITY AS w (value, ord) ORDER BY ord) AS texts`,
    values: [arrayOf(same<Value | null>)(values)],
  });
  assert.deepEqual(
    rows[0]?.texts,
    written.map(([, text]) => text),
  );
}

/** Lists with nulls among them: many short ones, and some that are as long as a full batch. */
function lists<Value>(one: fc.Arbitrary<[Value, string]>): fc.Arbitrary<Written<Value>[]> {
  const orNull = fc.option<Written<Value>, Written<Value>>(one, { nil: [null, null], freq: 5 });
  return fc.oneof(
    { weight: 9, arbitrary: fc.array(orNull, { maxLength: 12 }) },
    { weight: 1, arbitrary: fc.array(orNull, { minLength: 200, maxLength: 700 }) },
  );
}

const BIGGEST = 2n ** 63n - 1n;
const spelled = <Value>(value: Value): [Value, string] => [value, String(value)];

test('every bigint arrives as it is, and one too big is refused before it is sent', async () => {
  const bigints = fc.oneof(
    fc.bigInt({ min: -BIGGEST - 1n, max: BIGGEST }),
    fc.constantFrom(0n, -1n, BIGGEST, -BIGGEST - 1n),
  );
  await fc.assert(
    fc.asyncProperty(lists(bigints.map(spelled)), (list) => comesOutAsWritten('bigint', bigintArray, list)),
  );
  for (const value of [BIGGEST + 1n, -BIGGEST - 2n, 2n ** 64n]) {
    assert.throws(() => bigintArray(same<bigint>)([0n, value]), { code: '22000' });
  }
});

test('every int arrives as it is, and what is none is refused', async () => {
  const ints = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  await fc.assert(
    fc.asyncProperty(lists(ints.map(spelled)), (list) => comesOutAsWritten('int', intArray, list)),
  );
  for (const value of [2 ** 31, 0.5, Number.NaN])
    assert.throws(() => intArray(same<number>)([value]), { code: '22000' });
});

test('every text arrives as it is, whatever is in it', async () => {
  const texts = fc
    .oneof(
      fc.string({ unit: 'binary', maxLength: 400 }),
      fc.constantFrom('', '"', '\\', '{}', 'NULL', ',', 'é', '☃', '\u{1f600}', 'x'.repeat(70_000)),
    )
    // No PostgreSQL text has a NUL.
    .map((text) => spelled(text.replaceAll('\0', '')));
  await fc.assert(fc.asyncProperty(lists(texts), (list) => comesOutAsWritten('text', textArray, list)));
});

test('every moment arrives to the millisecond, and what is none is refused', async () => {
  await client.query(`SET TimeZone = 'UTC'`);
  const moments = fc
    .date({
      min: new Date('1970-01-01T00:00:00Z'),
      max: new Date('2100-01-01T00:00:00Z'),
      noInvalidDate: true,
    })
    .map((date): [Date, string] => [
      date,
      `${date
        .toISOString()
        .replace('T', ' ')
        .replace(/\.?0*Z$/, '')}+00`,
    ]);
  await fc.assert(
    fc.asyncProperty(lists(moments), (list) => comesOutAsWritten('timestamptz', timestamptzArray, list)),
  );
  assert.throws(() => timestamptzArray(same<Date>)([new Date(Number.NaN)]), { code: '22000' });
});

test('uuids and booleans arrive as they are, and half a uuid is refused', async () => {
  const uuids = fc.uuid().map((uuid): [string, string] => [uuid.replaceAll('-', ''), uuid]);
  await fc.assert(fc.asyncProperty(lists(uuids), (list) => comesOutAsWritten('uuid', uuidArray, list)));
  await fc.assert(
    fc.asyncProperty(lists(fc.boolean().map(spelled)), (list) =>
      comesOutAsWritten('boolean', booleanArray, list),
    ),
  );
  const whole = '0123456789abcdef'.repeat(2);
  for (const uuid of ['', whole.slice(1), `${whole}0`, whole.replace('f', 'g')]) {
    assert.throws(() => uuidArray(same<string>)([whole, uuid, whole]), { code: '22000' });
  }
});
