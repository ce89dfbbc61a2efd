import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  contentCodings,
  isJsonInUtf8,
  parseBearer,
  parseMediaType,
  parseRetryAfterMs,
  splitList,
  trimBlanks,
} from '../../src/base/http-fields.ts';
import { parseWholeNumber } from '../../src/base/whole-number.ts';

const NOW = Date.parse('2026-12-01T12:00:00Z');
const DAY_MS = 24 * 60 * 60_000;

/** What is given, and what it says. */
const KINDS: Record<string, { read: (text: string) => unknown; rows: [given: string, said: unknown][] }> = {
  'a value without the blanks around it': {
    read: trimBlanks,
    rows: [
      ['12.5', '12.5'],
      ['12.5 ', '12.5'],
      ['\t 12.5 \t ', '12.5'],
      [' \t ', ''],
      ['a b', 'a b'],
      ['\u00a012.5', '\u00a012.5'],
    ],
  },
  'a list': {
    read: splitList,
    rows: [
      ['', []],
      ['a', ['a']],
      [' a ,b,, \tc', ['a', 'b', 'c']],
      ['"a,b", c', ['"a,b"', 'c']],
      ['"a\\",b", c', ['"a\\",b"', 'c']],
      ['"never closed, c', ['"never closed, c']],
    ],
  },
  'the type of a body': {
    read: (text) => {
      const media = parseMediaType(text);
      return media && [media.type, Object.fromEntries(media.parameters)];
    },
    rows: [
      ['application/json', ['application/json', {}]],
      ['Application/JSON ; Charset=UTF-8', ['application/json', { charset: 'UTF-8' }]],
      ['text/x; a="b;\\"c"; d=e;', ['text/x', { a: 'b;"c', d: 'e' }]],
      ['application/json, text/plain', undefined],
      ['json', undefined],
      ['', undefined],
      ['text/x; =b', undefined],
      ['text/x; a', undefined],
    ],
  },
  'whether a body is JSON': {
    read: isJsonInUtf8,
    rows: [
      ['application/json', true],
      [' APPLICATION/json\t', true],
      ['application/json;charset=utf-8', true],
      ['application/json ; charset = utf-8', false],
      ['application/json; charset="UTF-8"', true],
      ['application/json; charset=utf8;', true],
      ['application/json; odata=verbose; charset=utf-8', true],
      ['application/json; charset=utf-16', false],
      ['application/json; charset=iso-8859-1', false],
      ['application/jsonl', false],
      ['application/json-patch+json', false],
      ['application/json, application/json', false],
      ['text/plain; x="application/json"', false],
    ],
  },
  'how a body is coded': {
    read: contentCodings,
    rows: [
      ['', []],
      ['identity', []],
      ['Identity , ', []],
      ['GZIP', ['gzip']],
      ['identity, br,gzip ', ['br', 'gzip']],
    ],
  },
  'the token of a bearer': {
    read: parseBearer,
    rows: [
      ['Bearer sk_live_x', 'sk_live_x'],
      ['bearer sk_live_x', 'sk_live_x'],
      [' BEARER   sk_live_x \t', 'sk_live_x'],
      ['Bearer\tsk_live_x', undefined],
      ['Bearer \tsk_live_x', undefined],
      ['Bearer', undefined],
      ['Bearer ', undefined],
      ['Basic c2s=', undefined],
      ['Bearersk_live_x', undefined],
      ['Bearer a b', undefined],
      ['Bearer a, Bearer b', undefined],
      ['Bearer a,Bearer', undefined],
    ],
  },
  'how long to wait': {
    read: (text) => parseRetryAfterMs(text, NOW),
    rows: [
      ['0', 0],
      [' 7 ', 7_000],
      ['05', 5_000],
      ['99999999999999999999', DAY_MS],
      ['Tue, 01 Dec 2026 12:00:09 GMT', 9_000],
      ['Tuesday, 01-Dec-26 12:00:09 GMT', 9_000],
      ['Tue Dec  1 12:00:09 2026', 9_000],
      ['Tue, 01 Dec 2026 11:00:00 GMT', 0],
      ['Tue, 01 Dec 2093 11:00:00 GMT', DAY_MS],
      ['-5', undefined],
      ['+5', undefined],
      ['1.5', undefined],
      ['1e3', undefined],
      ['soon', undefined],
      ['', undefined],
      ['2026-12-01', undefined],
      ['5, 6', undefined],
    ],
  },
  'a whole number': {
    read: parseWholeNumber,
    rows: [
      ['0', 0],
      ['100', 100],
      ['999999999999999', 999_999_999_999_999],
      ['9999999999999999', undefined],
      ['05', undefined],
      ['+5', undefined],
      ['-5', undefined],
      [' 5', undefined],
      ['5 ', undefined],
      ['5\n', undefined],
      ['1e3', undefined],
      ['0x10', undefined],
      ['5.0', undefined],
      ['1,000', undefined],
      ['٥', undefined],
      ['NaN', undefined],
      ['', undefined],
    ],
  },
};

for (const [kind, { read, rows }] of Object.entries(KINDS)) {
  for (const [given, said] of rows) {
    test(`${kind} is read from ${JSON.stringify(given)} as ${JSON.stringify(said) ?? 'nothing'}`, () => {
      assert.deepEqual(read(given), said);
    });
  }
}

test('no header is no coding', () => {
  assert.deepEqual(contentCodings(undefined), []);
});

test('a header of many blanks and commas costs no more than its length', () => {
  const started = performance.now();
  for (const value of [
    ' '.repeat(64_000),
    `${'a '.repeat(32_000)}b`,
    ', '.repeat(32_000),
    `"${'\\'.repeat(64_000)}`,
  ]) {
    trimBlanks(`a${value}b`);
    splitList(value);
    parseMediaType(value);
    parseBearer(`Bearer${value}`);
  }
  assert.ok(performance.now() - started < 500);
});
