import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatCredits, formatUsd, parseCredits, splitPrice } from '../../src/base/money.ts';

const LARGEST = 10n ** 18n - 1n;
const amount = fc.bigInt({ min: 0n, max: LARGEST });

test('every amount is written so that it reads as itself', () => {
  fc.assert(
    fc.property(amount, (micros) => assert.equal(parseCredits(formatCredits(micros)), micros)),
    { numRuns: 2_000 },
  );
});

test('an amount has one shortest spelling, and a debt keeps its sign', () => {
  const SPELLINGS: [bigint, string][] = [
    [0n, '0'],
    [1n, '0.000001'],
    [1_000_000n, '1'],
    [12_500_000n, '12.5'],
    [1_000_001n, '1.000001'],
    [-500_000n, '-0.5'],
    [LARGEST, '999999999999.999999'],
  ];
  for (const [micros, text] of SPELLINGS) assert.equal(formatCredits(micros), text);
});

test('what is read is a plain decimal of at most six places, and nothing else', () => {
  for (const text of [
    '',
    ' ',
    '.',
    '1.',
    '.5',
    '-1',
    '+1',
    '01',
    '00',
    '1e3',
    '0x10',
    '1,5',
    '1.0000001',
    ' 1',
    '1 ',
    '1\n',
    'NaN',
    'Infinity',
    '１',
    '1_000',
    '1.5.0',
    '1000000000000',
    '9'.repeat(400),
  ]) {
    assert.equal(parseCredits(text), undefined, JSON.stringify(text));
  }
  assert.equal(parseCredits('1.500000'), 1_500_000n);
  assert.equal(parseCredits('0.0'), 0n);
});

test('the largest amount there is fits into a PostgreSQL bigint', () => {
  assert.ok((parseCredits('999999999999.999999') ?? 0n) < 2n ** 63n);
});

test('the parts of a price add up to it, and the fee is never more than its share', () => {
  fc.assert(
    fc.property(amount, fc.bigInt({ min: 0n, max: 10_000n }), (price, basisPoints) => {
      const { feeMicros, proceedsMicros } = splitPrice(price, basisPoints);
      assert.equal(feeMicros + proceedsMicros, price);
      assert.ok(feeMicros >= 0n && proceedsMicros >= 0n);
      assert.ok(feeMicros * 10_000n <= price * basisPoints);
      assert.ok((feeMicros + 1n) * 10_000n > price * basisPoints);
    }),
    { numRuns: 2_000 },
  );
});

test('the fee is rounded down, once', () => {
  const ROUNDED: [price: bigint, basisPoints: bigint, fee: bigint][] = [
    [10_000_000n, 300n, 300_000n],
    [33n, 300n, 0n],
    [34n, 300n, 1n],
    [1n, 9_999n, 0n],
    [1n, 10_000n, 1n],
    [99n, 5_000n, 49n],
  ];
  for (const [price, basisPoints, fee] of ROUNDED)
    assert.equal(splitPrice(price, basisPoints).feeMicros, fee);
  assert.throws(() => splitPrice(-1n, 300n), { name: 'InvariantViolation' });
  assert.throws(() => splitPrice(1n, 10_001n), { name: 'InvariantViolation' });
});

test('a hundred credits are a dollar, with at least two places', () => {
  for (const [micros, usd] of [
    [0n, '0.00'],
    [15_000_000n, '0.15'],
    [100_000_000n, '1.00'],
    [1n, '0.00000001'],
    [-50_000_000n, '-0.50'],
  ] as const) {
    assert.equal(formatUsd(micros), usd);
  }
});
