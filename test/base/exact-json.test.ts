import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalJson, hashJson } from '../../src/base/canonical-json.ts';
import {
  hasWideNumber,
  isRawNumber,
  parseAsDoubles,
  parseExact,
  parseJsonExactly,
} from '../../src/base/exact-json.ts';
import { isJsonObject } from '../../src/base/json.ts';

const WIDE = [
  '12345678901234567890',
  '-12345678901234567890',
  '9007199254740993',
  '1e400',
  '-1E+400',
  '1e-400',
  '4e-324',
  '1.7976931348623159e308',
  '0.1000000000000000055511151231257827',
];
const HELD = [
  '0',
  '-1.50',
  '0.1',
  '0.30000000000000004',
  '1.10000000000000000000000',
  '9007199254740992',
  '123456789012345680000',
  '1e22',
  '100000000000000000000000',
  '0e999',
  '5e-324',
  '1.7976931348623157e308',
];

test('a number that no double holds is found wherever it stands, and no other, nor one in a string', () => {
  for (const literal of WIDE) {
    assert.ok(hasWideNumber(`{"a":[1,{"b":${literal}}]}`), literal);
    assert.ok(!hasWideNumber(JSON.stringify({ [literal]: `"${literal}\\` })), literal);
  }
  for (const literal of [...HELD, '-0', '-0.0e5']) {
    assert.ok(!hasWideNumber(`[${literal}]`), literal);
    assert.deepEqual(parseExact(`[${literal}]`), [Number(literal)]);
  }
});

test('such a number is written again as it was, and stands for its nearest double before a schema', () => {
  for (const literal of WIDE) {
    const text = `{"a":[${literal},1],"__proto__":${literal}}`;
    assert.equal(JSON.stringify(parseExact(text)), text);
    const seen = parseAsDoubles(literal) as number;
    const nearest = Number(literal);
    assert.equal(seen, Number.isFinite(nearest) ? nearest : Math.sign(nearest) * Number.MAX_VALUE);
  }
  const number = parseExact('1e400');
  assert.ok(isRawNumber(number));
  assert.ok(!isJsonObject(number));
});

test('a text without one is the very value that JSON.parse makes of it', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      assert.equal(hasWideNumber(text), false);
      assert.deepEqual(parseJsonExactly(text), JSON.parse(text));
    }),
    { numRuns: 1_000 },
  );
});

test('whatever its digits, a number is kept exactly when a double would be another one', () => {
  const digits = fc.stringMatching(/^[0-9]{0,25}$/);
  const exponent = fc.option(fc.integer({ min: -420, max: 420 }), { nil: undefined });
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.nat({ max: 9 }),
      digits,
      digits,
      exponent,
      (minus, first, int, part, exp) => {
        const whole = first === 0 ? '0' : `${first}${int}`;
        const literal = `${minus ? '-' : ''}${whole}${part && `.${part}`}${exp === undefined ? '' : `e${exp}`}`;
        const nearest = Number(literal);
        const isHeld = Number.isFinite(nearest) && ratioOf(String(nearest)) === ratioOf(literal);
        assert.equal(hasWideNumber(`[${literal}]`), !isHeld, literal);
        if (!isHeld) assert.equal(JSON.stringify(parseExact(`[${literal}]`)), `[${literal}]`);
      },
    ),
    { numRuns: 5_000 },
  );
});

test('a literal of megabytes is judged in no time', () => {
  const before = performance.now();
  for (const literal of [
    `1${'0'.repeat(4_000_000)}1`,
    `0.${'0'.repeat(4_000_000)}1`,
    '9'.repeat(4_000_000),
  ]) {
    assert.ok(hasWideNumber(literal));
  }
  assert.ok(performance.now() - before < 2_000);
});

test('canonical JSON has such a number as it was written, between members in order', () => {
  const value = parseExact('{"b":[1e400,{"z":1,"a":12345678901234567890}],"a":0.5,"10":1,"9":"x"}');
  const canonical = '{"10":1,"9":"x","a":0.5,"b":[1e400,{"a":12345678901234567890,"z":1}]}';
  assert.equal(canonicalJson(value), canonical);
  assert.equal(canonicalJson(parseExact(canonical)), canonical);
  assert.notEqual(
    hashJson(parseExact('[12345678901234567890]')),
    hashJson(parseExact('[12345678901234567891]')),
  );
  assert.throws(() => canonicalJson(parseExact(String.raw`{"b":1e400,"a":"\ud800"}`)));
});

/** The decimal as a fraction of whole numbers over a power of ten that is the same for all: exact, by brute force. */
function ratioOf(literal: string): bigint {
  const [mantissa = '', exponent = '0'] = literal.toLowerCase().split('e');
  const [whole = '', part = ''] = mantissa.split('.');
  return BigInt(whole + part) * 10n ** BigInt(Number(exponent) - part.length + 1_000);
}
