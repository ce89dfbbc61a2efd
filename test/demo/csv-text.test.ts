import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Json } from '../../src/base/json.ts';
import { parseManifest } from '../../src/catalog/manifest.ts';
import { compileSchema } from '../../src/catalog/validator.ts';
import { profileCsv, type CsvProfile } from '../../src/demo/csv-profile.ts';
import { Refusal } from '../../src/demo/refusal.ts';

const profile = (csv: string): Promise<CsvProfile> => profileCsv({ source: csv, delimiter: undefined });
const download = (bytes: Uint8Array, contentType = 'text/csv'): Promise<CsvProfile> =>
  profileCsv({ source: { bytes: Uint8Array.from(bytes), contentType }, delimiter: undefined });
const examplesOf = ({ columns }: CsvProfile): string[][] => columns.map(({ examples }) => examples);

const TABLE = 'name;city\nJosé;Köln\n';
const utf16be = (text: string): Buffer => Buffer.from(text, 'utf16le').swap16();

const ENCODED: [title: string, bytes: Buffer, contentType: string, isGuessed: boolean][] = [
  ['UTF-8', Buffer.from(TABLE), 'text/csv', false],
  ['UTF-8 with a byte order mark', Buffer.from(`\ufeff${TABLE}`), 'text/csv', false],
  ['Latin-1 that says so', Buffer.from(TABLE, 'latin1'), 'text/csv; charset=iso-8859-1', false],
  ['Latin-1 that says nothing', Buffer.from(TABLE, 'latin1'), 'text/csv', true],
  ['Latin-1 that names no encoding there is', Buffer.from(TABLE, 'latin1'), 'text/csv; charset=x', true],
  ['UTF-16 with a mark', Buffer.from(`\ufeff${TABLE}`, 'utf16le'), 'text/csv', false],
  ['UTF-16 the other way with a mark', utf16be(`\ufeff${TABLE}`), 'text/csv', false],
  ['UTF-16 without a mark', Buffer.from(TABLE, 'utf16le'), 'text/csv', false],
  ['UTF-16 the other way without a mark', utf16be(TABLE), 'text/csv', false],
  [
    'UTF-8 whose mark contradicts the header',
    Buffer.from(`\ufeff${TABLE}`),
    'text/csv; charset=latin1',
    false,
  ],
];

for (const [title, bytes, contentType, isGuessed] of ENCODED) {
  test(`a table in ${title} is read as it was written${isGuessed ? ', with a warning' : ''}`, async () => {
    const found = await download(bytes, contentType);
    assert.deepEqual(examplesOf(found), [['José'], ['Köln']]);
    assert.equal(found.columns[0]?.name, 'name');
    assert.deepEqual(
      found.warnings.map((warning) => /Windows-1252/.test(warning)),
      isGuessed ? [true] : [],
    );
  });
}

test('the line by which spreadsheets name the delimiter is no header', async () => {
  for (const [line, delimiter] of [
    ['sep=;\n', ';'],
    ['\ufeffSEP=|\r\n', '|'],
    ['sep=\t\n', '\t'],
  ] as const) {
    const found = await profile(`${line}a${delimiter}b\n1${delimiter}2\n`);
    assert.deepEqual([found.delimiter, found.columns.map(({ name }) => name)], [delimiter, ['a', 'b']]);
  }
});

test('quotes behind a blank hold a cell together', async () => {
  const found = await profile('x, y\na, "b, c"\nd,  "e ""f"", g"\n');
  assert.deepEqual(examplesOf(found), [
    ['a', 'd'],
    ['b, c', 'e "f", g'],
  ]);
});

test('an empty cell between tabs stays where it is', async () => {
  const found = await profile('a\tb\tc\n1\t\t3\n');
  assert.deepEqual(
    found.columns.map(({ nulls, count }) => [count, nulls]),
    [
      [1, 0],
      [0, 1],
      [1, 0],
    ],
  );
});

test('what is cut is never cut inside of what a person sees as one character', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom('👩‍👩‍👧', '💸', 'é', 'ß', 'a', '🇩🇪'), { minLength: 60, maxLength: 120 }),
      async (letters) => {
        const text = letters.join('');
        const [example = ''] = examplesOf(await profile(`a\n${text}\n`)).flat();
        const kept = example.endsWith('…') ? example.slice(0, -1) : example;
        assert.ok(example.isWellFormed() && text.startsWith(kept));
        const seen = [...new Intl.Segmenter('en').segment(text)].map(({ index }) => index);
        assert.ok(kept === text || seen.includes(kept.length));
      },
    ),
    { numRuns: 50 },
  );
});

const LOOKALIKE: [values: string[], words: RegExp][] = [
  [['1,5', '2.000,75', '-3,0'], /decimal comma/],
  [['10 %', '2.5%', '7,5 %'], /percentages/],
  [['$1,200.00', '€ 3', '4.50 EUR'], /amounts of money/],
  [['31.12.2025', '1.2.2026'], /day-first/],
  [['03/04/2026', '05/06/2026'], /day-first/],
  [['1,200', '3,400,000'], /thousands/],
];

for (const [values, words] of LOOKALIKE) {
  test(`a column of ${values.join(' and ')} is warned about`, async () => {
    const found = await profile(`id;value\n${values.map((value, n) => `${n};${value}`).join('\n')}\n`);
    assert.equal(found.columns[1]?.type, 'string');
    assert.equal(found.warnings.length, 1);
    assert.match(found.warnings[0] ?? '', words);
  });
}

test('a column of words, codes and versions is not warned about', async () => {
  const found = await profile('a;b;c\nyesterday;007;1.2.3\ntoday;0815;10.4.1\n');
  assert.deepEqual(found.warnings, []);
});

const OTHER_FORMS: [what: string, text: string, told: RegExp][] = [
  ['JSON', '[{"a": 1, "b": 2}]', /is JSON, not CSV/],
  ['an object of JSON', '\n {"a,b": [1, 2]}', /is JSON, not CSV/],
  ['HTML', '<!DOCTYPE html>\n<p>a,b</p>', /HTML or XML/],
  ['XML', '<?xml version="1.0"?><a/>', /HTML or XML/],
];

for (const [what, text, told] of OTHER_FORMS) {
  test(`${what} is refused, and costs nothing`, async () => {
    await assert.rejects(profile(text), (error) => error instanceof Refusal && told.test(error.message));
  });
}

test('a table whose first cell begins like JSON is a table', async () => {
  const found = await profile('[unit],{x}\n1,2\n');
  assert.deepEqual(
    found.columns.map(({ name }) => name),
    ['[unit]', '{x}'],
  );
});

test('a data: URL with a # is refused before it is paid for, because what follows would be lost', async () => {
  const manifest = JSON.parse(
    await readFile(new URL('../../manifests/gzip-file.json', import.meta.url), 'utf8'),
  ) as Json;
  const parsed = parseManifest(manifest);
  assert.ok(parsed.kind === 'ok');
  const check = compileSchema(parsed.manifest.input_schema);
  const faultsOf = (data: string) => check({ name: 'a.gz', data, outputType: 'resource' });
  assert.deepEqual(faultsOf('data:text/plain,one%23two'), []);
  for (const data of ['data:text/plain,one#two', 'data:text/plain#,one']) {
    assert.deepEqual(
      faultsOf(data).map(({ path }) => path),
      ['/data'],
    );
  }
});
