import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { JsonObject } from '../../src/base/json.ts';
import { compileSchema } from '../../src/catalog/validator.ts';

const object = (properties: JsonObject, more: JsonObject = {}): JsonObject => ({
  type: 'object',
  properties,
  ...more,
});

describe('a fault names the place to mend and what is expected there', () => {
  const eleven = Array.from({ length: 11 }, (_, index) => `v${index}`);
  const cases: [schema: JsonObject, value: unknown, path: string, message: string][] = [
    [object({}), [], '', 'must be an object, not an array'],
    [object({ a: {} }, { required: ['a/b'] }), {}, '/a~1b', 'is required'],
    [
      object({ text: {} }, { additionalProperties: false }),
      { txt: 1 },
      '/txt',
      'is not a known field; did you mean "text"?',
    ],
    [
      object({ text: {} }, { unevaluatedProperties: false }),
      { other: 1 },
      '/other',
      'is not a known field; known are text',
    ],
    [object({ a: { type: ['string', 'null'] } }), { a: 1 }, '/a', 'must be a string or null, not a number'],
    [object({ a: { type: 'integer' } }), { a: '1' }, '/a', 'must be a whole number, not a string'],
    [object({ a: { enum: ['x', 'y'] } }), { a: 'z' }, '/a', 'must be one of "x", "y"'],
    [
      object({ a: { enum: eleven } }),
      { a: 'z' },
      '/a',
      `must be one of ${eleven
        .slice(0, 10)
        .map((v) => `"${v}"`)
        .join(', ')} or 1 more`,
    ],
    [object({ a: { const: 3 } }), { a: 4 }, '/a', 'must be 3'],
    [object({ a: { items: { minimum: 3 } } }), { a: [5, 2] }, '/a/1', 'must be at least 3'],
    [object({ a: { maxLength: 2 } }), { a: 'abc' }, '/a', 'must have at most 2 characters'],
    [object({ a: { pattern: '^x$' } }), { a: 'abc' }, '/a', 'must match the pattern ^x$'],
    [object({ a: { format: 'date' } }), { a: '2026-02-30' }, '/a', 'must be a valid date'],
    [object({ a: { format: 'uri' } }), { a: 'not a uri' }, '/a', 'must be a valid uri'],
    [
      object({ a: { uniqueItems: true } }),
      {
        a: [
          { x: 1, y: 2 },
          { y: 2, x: 1 },
        ],
      },
      '/a',
      'must not contain the same item twice',
    ],
    [
      object({ a: { anyOf: [{ type: 'string' }, { type: 'null' }] } }),
      { a: 1 },
      '/a',
      'matches none of the 2 allowed forms (a string or null)',
    ],
    [object({ a: { oneOf: [{}, {}] } }), { a: 1 }, '/a', 'matches more than one of the 2 allowed forms'],
    [
      object({ a: { anyOf: [object({ b: { type: 'string' } })] } }),
      { a: { b: 1 } },
      '/a/b',
      'must be a string, not a number',
    ],
    [object({ a: false }), { a: 1 }, '/a', 'is not allowed here'],
    [object({}, { propertyNames: { maxLength: 2 } }), { abc: 1 }, '/abc', 'is not an allowed member name'],
    [object({}, { dependentRequired: { a: ['b'] } }), { a: 1 }, '/b', 'is required when "a" is given'],
    // oxlint-disable-next-line unicorn/no-thenable -- JSON Schema's own keyword
    [object({}, { if: { required: ['a'] }, then: { required: ['b'] } }), { a: 1 }, '/b', 'is required'],
  ];
  for (const [schema, value, path, message] of cases) {
    it(`${path || '(root)'} ${message}`, () => {
      const faults = compileSchema(schema)(value);
      assert.ok(
        faults.some((fault) => fault.path === path && fault.message === message),
        JSON.stringify(faults),
      );
    });
  }
});

it('every fault is listed, but no more than twenty', () => {
  const check = compileSchema({ type: 'array', items: { type: 'string' } });
  assert.equal(check([1, 'a', 2]).length, 2);
  assert.equal(check(Array.from({ length: 50 }, () => 1)).length, 20);
});

it('a large value is told its first fault only', () => {
  const check = compileSchema({ type: 'array', items: { type: 'string' } });
  assert.deepEqual(check(Array.from({ length: 30_000 }, () => 1)), [
    { path: '/0', message: 'must be a string, not a number' },
  ]);
});

it('a fault never repeats the value, which may be a secret', () => {
  const check = compileSchema(object({ a: { type: 'integer' }, b: { format: 'email' }, c: { enum: ['x'] } }));
  assert.doesNotMatch(JSON.stringify(check({ a: 'hunter2', b: 'hunter2', c: 'hunter2' })), /hunter2/);
});

it('nothing is coerced and no default is filled in', () => {
  const value = { a: 1 };
  const check = compileSchema(object({ a: { type: 'number' }, b: { type: 'string', default: 'x' } }));
  assert.deepEqual(check(value), []);
  assert.deepEqual(value, { a: 1 });
  assert.equal(check({ a: '1' }).length, 1);
});

it('what every object inherits does not count as given', () => {
  const check = compileSchema(
    object({ toString: { type: 'string' } }, { required: ['toString', 'valueOf'] }),
  );
  assert.deepEqual(
    check({}).map(({ path }) => path),
    ['/toString', '/valueOf'],
  );
});

it('a text too long for a pattern that V8 matches is refused without trying', () => {
  const check = compileSchema(object({ a: { type: 'string', pattern: '(?=\\s)\\s+$' } }));
  assert.deepEqual(check({ a: `${'x'.repeat(2000)} ` }), []);
  assert.deepEqual(check({ a: ' '.repeat(2_000_000) }), [
    { path: '/a', message: String.raw`must match the pattern (?=\s)\s+$` },
  ]);
});

it('many texts together do not cost more than one validation may', () => {
  const tooMuch = [{ path: '', message: 'has more text than its patterns can be checked against' }];
  for (const pattern of ['(?=\\s)\\s+$', '\\s+$']) {
    const check = compileSchema({ type: 'array', items: { type: 'string', pattern } });
    const hostile = Array.from({ length: 2000 }, () => `${' x'.repeat(2000)} `);
    assert.deepEqual(check(hostile), tooMuch);
    assert.deepEqual(check(['a ']), []);
  }
});

it('a hundred thousand distinct objects are compared for uniqueness in one pass', () => {
  const check = compileSchema({ type: 'array', uniqueItems: true });
  const items = Array.from({ length: 100_000 }, (_, index) => [index]);
  assert.deepEqual(check(items), []);
  assert.equal(check([...items, [5]]).length, 1);
});
