import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { formatCsv } from '../../src/http/csv.ts';

/** What a cell reads as once a spreadsheet has taken the file apart. */
const cellOf = (text: string): string => parse(formatCsv(['x'], [[text]]), { trim: false })[1]?.[0] ?? '';

for (const text of [
  '=1+1',
  '+1',
  '-1+1',
  '@SUM(A1)',
  '\tx',
  '\r=1',
  '\n=1',
  ' =1',
  '＝1',
  '－1+1',
  '=HYPERLINK("http://x","y")',
  "-2+3+cmd|'/C calc'!A0",
  '--1',
  '-1,5',
  '-',
]) {
  test(`the cell ${JSON.stringify(text)} is not run`, () => assert.equal(cellOf(text), `'${text}`));
}

for (const text of [
  '12.5',
  '-12.5',
  '0',
  '-0.000001',
  '999999999999.999999',
  'plain',
  '',
  'a,b',
  'say "hi"',
  'a=b',
]) {
  test(`the cell ${JSON.stringify(text)} stays as it is`, () => assert.equal(cellOf(text), text));
}

test('a cell that names the separator of another country does not begin the next one', () => {
  assert.equal(formatCsv(['x'], [['a;=1+1', 'a\t=1+1']]), 'x\r\n"a;=1+1","a\t=1+1"\r\n');
});

test('whatever is in them, cells come back as they were, or with an apostrophe in front of a formula', () => {
  const cells = fc.tuple(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }));
  fc.assert(
    fc.property(fc.array(cells), (rows) => {
      const [, ...read] = parse(formatCsv(['a', 'b'], rows), { trim: false });
      assert.equal(read.length, rows.length);
      rows.flat().forEach((cell, index) => {
        const got = read.flat()[index] ?? '';
        assert.ok(got === cell || got === `'${cell}`, JSON.stringify([cell, got]));
        assert.ok(!/^\s*[=+@]/.test(got), JSON.stringify(got));
      });
    }),
  );
});
