import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ColumnProfile } from '../../src/demo/csv-column.ts';
import type { CsvProfile } from '../../src/demo/csv-profile.ts';
import { SAMPLES } from '../../src/demo/samples.ts';
import { refusalOf, startSeller } from './seller.ts';

let seller: Awaited<ReturnType<typeof startSeller>>;
before(async () => {
  seller = await startSeller({
    '/orders.csv': { headers: { 'content-type': 'text/csv' }, body: SAMPLES['orders.csv']!.bytes },
    '/large.csv': {
      body: `id,name\n${Array.from({ length: 200_000 }, (_, id) => `${id},"name, ${id % 7}"`).join('\n')}`,
    },
    '/excel.csv': { body: Buffer.from('\ufeffname;größe\na;1\n', 'utf16le') },
    '/page.csv': { headers: { 'content-type': 'text/html' }, body: '<p>' },
  });
});
after(() => seller.close());

async function profile(input: Record<string, unknown>): Promise<CsvProfile> {
  const response = await seller.post('/csv-profiler', input);
  assert.equal(response.status, 200);
  return (await response.json()) as CsvProfile;
}

async function profileColumn(values: string[]): Promise<ColumnProfile> {
  const { columns } = await profile({
    csv: `"c","other"\n${values.map((value) => `"${value}",x`).join('\n')}`,
  });
  assert.ok(columns[0]);
  return columns[0];
}

void test('every column of a table gets its type, counts, extremes, mean and examples', async () => {
  const { rows, delimiter, columns, warnings } = await profile({ url: `${seller.origin}/orders.csv` });

  assert.deepEqual([rows, delimiter, warnings], [10, ',', []]);
  assert.deepEqual(
    columns.map((column) => [column.name, column.type, column.count, column.nulls, column.distinct]),
    [
      ['order_id', 'integer', 10, 0, 10],
      ['placed_on', 'date', 10, 0, 8],
      ['customer', 'string', 10, 0, 6],
      ['country', 'string', 10, 0, 6],
      ['postcode', 'string', 10, 0, 6],
      ['items', 'integer', 10, 0, 7],
      ['total', 'number', 9, 1, 9],
      ['paid', 'boolean', 10, 0, 2],
      ['note', 'string', 4, 6, 3],
    ],
  );
  assert.deepEqual(columns[6], {
    name: 'total',
    type: 'number',
    count: 9,
    nulls: 1,
    distinct: 9,
    distinct_is_exact: true,
    min: 19,
    max: 1043.25,
    mean: 230.355555556,
    examples: ['149.90', '19.00', '1043.25'],
  });
  assert.deepEqual([columns[1]?.min, columns[1]?.max], ['2026-03-02', '2026-03-15']);
});

void test('a large file is profiled whole, and distinct values past the limit are a lower bound', async () => {
  const { rows, columns } = await profile({ url: `${seller.origin}/large.csv` });

  assert.equal(rows, 200_000);
  assert.deepEqual(
    [columns[0]?.distinct, columns[0]?.distinct_is_exact, columns[0]?.max, columns[0]?.mean],
    [50_000, false, 199_999, 99_999.5],
  );
  assert.deepEqual([columns[1]?.distinct, columns[1]?.distinct_is_exact], [7, true]);
});

const columnTypes = [
  [['1', '-20', '0'], 'integer'],
  [['1', '2.50', '1e3'], 'number'],
  [['01234', '99999'], 'string'],
  [['9007199254740993', '9007199254740995'], 'string'],
  [['true', 'FALSE'], 'boolean'],
  [['0', '1'], 'integer'],
  [['2024-02-29'], 'date'],
  [['2023-02-29'], 'string'],
  [['2024-02-29T10:00:00Z', '2024-03-01'], 'datetime'],
  [['', 'N/A', 'null'], 'empty'],
  [['1e999'], 'string'],
] as const;

for (const [values, type] of columnTypes) {
  void test(`a column of ${values.join(' ')} is ${type}`, async () => {
    assert.equal((await profileColumn([...values])).type, type);
  });
}

void test('one stray value in ten leaves a column numeric and is pointed at', async () => {
  const csv = `n,x\n${['1', '2', '3', '4', '5', '6', '7', 'eight', '9', '10'].map((n) => `${n},a`).join('\n')}`;
  const { columns, warnings } = await profile({ csv });

  assert.deepEqual([columns[0]?.type, columns[0]?.min, columns[0]?.max], ['integer', 1, 10]);
  assert.deepEqual(warnings, ['Column "n" is mostly integer, but 1 value is not: first "eight" in row 8.']);
});

void test('the delimiter is detected beside quoted cells that contain others, unless it is given', async () => {
  assert.equal((await profile({ csv: '"a,b,c";d\n"1,2";3\n' })).delimiter, ';');
  assert.equal((await profile({ csv: 'a\tb\n1,5\t2\n' })).delimiter, '\t');
  assert.equal((await profile({ csv: 'a|b\n1|2\n' })).delimiter, '|');
  assert.deepEqual((await profile({ csv: 'a;b,c\n1;2,3\n', delimiter: ';' })).columns.length, 2);
});

void test('ragged rows and unclear headers are warned about and still profiled', async () => {
  const { rows, columns, warnings } = await profile({ csv: 'a,a,,b\n1,2,3,4\n1,2\n1,2,3,4,5\n' });

  assert.equal(rows, 3);
  assert.deepEqual(
    columns.map(({ name, nulls }) => [name, nulls]),
    [
      ['a', 0],
      ['a_2', 0],
      ['column_3', 1],
      ['b', 1],
    ],
  );
  assert.deepEqual(warnings, [
    'The header names "a" more than once; column 2 is called "a_2" here.',
    'Column 3 has no name in the header; it is called "column_3" here.',
    '1 row (row 2) has fewer cells than the 4 columns of the header; the missing cells count as nulls.',
    '1 row (row 3) has more cells than the 4 columns of the header; the extra cells are ignored.',
  ]);
});

void test('a spreadsheet export in UTF-16 is read by its byte order mark', async () => {
  const { columns } = await profile({ url: `${seller.origin}/excel.csv` });

  assert.deepEqual(
    columns.map((column) => column.name),
    ['name', 'größe'],
  );
});

void test('what is no table is refused with the reason', async () => {
  const refusals = [
    [{}, 400, /exactly one of url and csv/],
    [{ csv: 'a', url: 'https://a.example/' }, 400, /exactly one of url and csv/],
    [{ csv: 'a', delimiter: '"' }, 400, /delimiter must match pattern/],
    [{ csv: '\n\n' }, 422, /empty/],
    [{ csv: 'a,b\n"1,2\n' }, 422, /a quote that is never closed/],
    [{ csv: `a,b\n"${'x'.repeat(1_100_000)}` }, 422, /row of more than 1 MB/],
    [{ csv: `${'a,'.repeat(500)}a` }, 422, /has 501 columns; at most 500/],
    [{ csv: 'PK\u0003\u0004\u0000\u0000' }, 422, /binary/],
    [{ url: `${seller.origin}/page.csv` }, 422, /is of the type text\/html/],
  ] as const;
  for (const [input, status, message] of refusals) {
    const response = await seller.post('/csv-profiler', input);
    assert.equal(response.status, status);
    assert.match(await refusalOf(response), message);
  }
});
