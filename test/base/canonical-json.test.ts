import assert from 'node:assert/strict';
import { test } from 'node:test';
import canonicalize from 'canonicalize';
import fc from 'fast-check';
import { canonicalJson, hashJson } from '../../src/base/canonical-json.ts';
import { isJsonObject, type Json } from '../../src/base/json.ts';

test('the example of RFC 8785 section 3.2.2 has the form the RFC gives it', () => {
  const value = JSON.parse(
    String.raw`{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
      "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`,
  ) as Json;
  assert.equal(
    canonicalJson(value),
    String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
  );
});

test('members are sorted by their UTF-16 code units, as RFC 8785 section 3.2.3 shows', () => {
  const value = JSON.parse(
    String.raw`{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`,
  ) as Json;
  assert.deepEqual(Object.values(JSON.parse(canonicalJson(value)) as object).length, 7);
  const order = ['Carriage Return', 'One', 'Control', 'Latin', 'Euro', 'Emoji', 'Hebrew'];
  const positions = order.map((name) => canonicalJson(value).indexOf(`"${name}`));
  assert.deepEqual(
    positions,
    positions.toSorted((a, b) => a - b),
  );
});

test('whatever the order of its members, a value has the form another implementation gives it', () => {
  const sorted = (value: Json): Json => {
    if (Array.isArray(value)) return value.map(sorted);
    if (!isJsonObject(value)) return value;
    const names = Object.keys(value).toSorted();
    return Object.fromEntries(names.map((name) => [name, sorted(value[name] ?? null)]));
  };
  const names = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.nat({ max: 120 }).map(String),
    fc.constant('__proto__'),
  );
  const values = fc.letrec<{ value: Json }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom(null, true, -0, 1e21),
      fc.string({ unit: 'binary' }),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(names, tie('value'), { maxKeys: 5, noNullPrototype: true }),
    ),
  })).value;
  fc.assert(
    fc.property(values, (value) => {
      const expected = canonicalize(value);
      assert.equal(canonicalJson(value), expected);
      assert.equal(canonicalJson(sorted(value)), expected);
    }),
    { numRuns: 2_000 },
  );
});

test('numbers have the form ECMAScript gives them (RFC 8785 appendix B)', () => {
  const NUMBERS: [number, string][] = [
    [-0, '0'],
    [5e-324, '5e-324'],
    [1.7976931348623157e308, '1.7976931348623157e+308'],
    [9007199254740992, '9007199254740992'],
    [295147905179352830000, '295147905179352830000'],
    [1e21, '1e+21'],
    [0.000001, '0.000001'],
    [333333333.33333325, '333333333.33333325'],
  ];
  for (const [number, text] of NUMBERS) assert.equal(canonicalJson(number), text);
});

test('the order in which members were written does not change the hash, and anything else does', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue() as fc.Arbitrary<Json>), (value) => {
      const shuffled = Object.fromEntries(Object.entries(value).toReversed());
      assert.equal(hashJson(shuffled), hashJson(value));
      assert.notEqual(hashJson({ ...value, 'one more': 1 }), hashJson(value));
    }),
    { numRuns: 300 },
  );
  assert.notEqual(hashJson({ a: 1 }), hashJson({ a: '1' }));
  assert.notEqual(hashJson([1, 2]), hashJson([2, 1]));
});

test('what JSON cannot say the same way everywhere has no canonical form', () => {
  for (const value of [
    '\ud800',
    ['\ud800'],
    { '\ud800': 1 },
    { a: { b: '\ud800' } },
    Number.NaN,
    Number.POSITIVE_INFINITY,
  ])
    assert.throws(() => canonicalJson(value));
});
