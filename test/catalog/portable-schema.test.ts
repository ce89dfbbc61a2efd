import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import * as fc from 'fast-check';
import type { Json, JsonObject } from '../../src/base/json.ts';
import { makePortable } from '../../src/catalog/portable-schema.ts';
import { compileSchema } from '../../src/catalog/validator.ts';

function refusal(schema: unknown): { path: string; message: string }[] {
  const result = makePortable(schema, '/input_schema');
  assert.ok(result.kind === 'refused', 'the schema is refused');
  return result.faults;
}

function portable(schema: JsonObject): JsonObject {
  const result = makePortable(schema, '/input_schema');
  assert.ok(result.kind === 'ok', JSON.stringify(result));
  return result.schema;
}

const object = (properties: JsonObject, more: JsonObject = {}): JsonObject => ({
  type: 'object',
  properties,
  ...more,
});
const nested = (depth: number): JsonObject =>
  depth === 0 ? { type: 'string' } : { type: 'array', items: nested(depth - 1) };
const deepJson = (depth: number): Json => {
  let value: Json = 1;
  for (let level = 0; level < depth; level++) value = [value];
  return value;
};
/** Each definition uses the next one twice: 2^n parts out of n lines. */
const doubling = (levels: number): JsonObject =>
  object(
    { start: { $ref: '#/$defs/d0' } },
    {
      $defs: Object.fromEntries(
        Array.from({ length: levels }, (_, index) => [
          `d${index}`,
          index === levels - 1
            ? { type: 'string' }
            : { anyOf: [{ $ref: `#/$defs/d${index + 1}` }, { $ref: `#/$defs/d${index + 1}` }] },
        ]),
      ),
    },
  );

describe('a schema that hosts or the gateway cannot take is refused where it is wrong', () => {
  const cases: [title: string, schema: unknown, path: string, message: RegExp][] = [
    ['no object at all', [], '', /must be an object/],
    ['another root type', { type: 'array' }, '/type', /must be "object"/],
    ['no root type', { properties: {} }, '/type', /must be "object"/],
    ['oneOf at the root', { type: 'object', oneOf: [{}] }, '/oneOf', /not accepted at the root/],
    ['anyOf at the root', { type: 'object', anyOf: [{}] }, '/anyOf', /not accepted at the root/],
    ['allOf at the root', { type: 'object', allOf: [{}] }, '/allOf', /not accepted at the root/],
    [
      'a root $ref beside assertions',
      { type: 'object', $ref: '#/$defs/a', $defs: { a: {} } },
      '/allOf',
      /root/,
    ],
    ['a remote $ref', object({ a: { $ref: 'https://evil.example/s.json' } }), '/properties/a/$ref', /remote/],
    ['a file $ref', object({ a: { $ref: 'file:///etc/passwd' } }), '/properties/a/$ref', /remote/],
    ['a $ref to nothing', object({ a: { $ref: '#/$defs/none' } }), '/properties/a/$ref', /points to nothing/],
    [
      'a $ref into a prototype',
      object({ a: { $ref: '#/__proto__' } }),
      '/properties/a/$ref',
      /points to nothing/,
    ],
    ['a $ref to an anchor', object({ a: { $ref: '#name' } }), '/properties/a/$ref', /points to nothing/],
    ['a $ref to the root', object({ a: { $ref: '#' } }), '/properties/a/$ref/properties/a/$ref', /recursive/],
    [
      'a recursive $ref',
      object({ a: { $ref: '#/$defs/n' } }, { $defs: { n: object({ next: { $ref: '#/$defs/n' } }) } }),
      '/properties/a/$ref/properties/next/$ref',
      /recursive/,
    ],
    ['$dynamicRef', object({ a: { $dynamicRef: '#x' } }), '/properties/a/$dynamicRef', /not accepted/],
    [
      'an $id further down',
      object({ a: { $id: 'x', type: 'string' } }),
      '/properties/a/$id',
      /only at the root/,
    ],
    [
      '$async, which would make the validator asynchronous',
      object({}, { $async: true }),
      '/$async',
      /not accepted/,
    ],
    [
      'another dialect',
      object({}, { $schema: 'http://json-schema.org/draft-07/schema#' }),
      '/$schema',
      /2020-12/,
    ],
    ['nullable', object({ a: { type: 'string', nullable: true } }), '/properties/a/nullable', /"null"/],
    ['tuples of older drafts', object({ a: { items: [{}] } }), '/properties/a/items', /must be/],
    ['a misspelt type', object({ a: { type: 'strnig' } }), '/properties/a/type', /must be one of/],
    [
      'a misspelt keyword',
      object({ a: { maxLenght: 3 } }),
      '/properties/a/maxLenght',
      /did you mean "maxLength"/,
    ],
    [
      'a catastrophic pattern',
      object({ a: { pattern: '(a+)+$' } }),
      '/properties/a/pattern',
      /repeats a group/,
    ],
    [
      'a catastrophic property pattern',
      object({}, { patternProperties: { '(a+)+$': {} } }),
      '/patternProperties/(a+)+$',
      /repeats/,
    ],
    ['a property name hosts refuse', object({ 'a b': {} }), '/properties/a b', /property names/],
    [
      'a property name that is too long',
      object({ ['a'.repeat(65)]: {} }),
      `/properties/${'a'.repeat(65)}`,
      /property names/,
    ],
    [
      '__proto__ as a property',
      JSON.parse('{"type":"object","properties":{"__proto__":{}}}'),
      '/properties/__proto__',
      /__proto__/,
    ],
    ['constructor as a property', object({ constructor: {} }), '/properties/constructor', /constructor/],
    [
      'prototype inside an enum',
      object({ a: { enum: [{ prototype: 1 }] } }),
      '/properties/a/enum/0/prototype',
      /prototype/,
    ],
    [
      'a huge enum',
      object({ a: { enum: Array.from({ length: 1001 }, (_, i) => i) } }),
      '/properties/a/enum',
      /1000 values/,
    ],
    [
      'schemas nested too deep',
      object({ a: nested(40) }),
      `/properties/a${'/items'.repeat(32)}`,
      /32 schemas deep/,
    ],
    [
      'JSON nested 50,000 deep',
      object({ a: { default: deepJson(50_000) } }),
      `/properties/a/default${'/0'.repeat(98)}`,
      /levels deep/,
    ],
    ['more than 256 KB', object({ a: { description: 'x'.repeat(256 * 1024) } }), '', /larger than 256 KB/],
    ['NUL, which the database refuses', object({ a: { const: '\0' } }), '/properties/a/const', /NUL/],
    ['half a surrogate pair', object({ a: { const: '\uD800' } }), '/properties/a/const', /surrogate/],
    [
      'words only models see',
      object({ a: { description: 'ok\u202Eevil' } }),
      '/properties/a/description',
      /U\+202E/,
    ],
    ['a value JSON does not have', { type: 'object', default: undefined }, '/default', /not a JSON value/],
  ];
  for (const [title, schema, path, message] of cases) {
    it(title, () => {
      const fault = refusal(schema).find((each) => each.path === `/input_schema${path}`);
      assert.ok(fault, JSON.stringify(refusal(schema)).slice(0, 500));
      assert.match(fault.message, message);
    });
  }
});

it('a small schema that grows without bound when inlined is refused, not expanded', () => {
  assert.match(refusal(doubling(14))[0]?.message ?? '', /more than 5000 parts/);
  assert.equal(makePortable(doubling(8), '').kind, 'ok');
});

it('every fault is reported at once', () => {
  const faults = refusal({
    type: 'array',
    properties: { 'a b': {}, c: { $ref: 'x:y' }, d: { pattern: '(a+)+' } },
  });
  assert.deepEqual(
    faults.map(({ path }) => path),
    ['/input_schema/properties/a b', '/input_schema/properties/c/$ref', '/input_schema/properties/d/pattern'],
  );
});

it('references are inlined and what only serves them is dropped', () => {
  const schema = portable({
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'https://acme.example/s',
    $ref: '#/$defs/root',
    $defs: {
      root: object({
        page: { $ref: '#/$defs/page~1no', description: 'Which page.', 'x-mcp-header': 'Page' },
      }),
      'page/no': { type: 'integer', description: 'A page.', minimum: 1 },
    },
  });
  assert.deepEqual(schema, object({ page: { type: 'integer', description: 'Which page.', minimum: 1 } }));
});

it('a $ref beside assertions keeps them all', () => {
  const schema = portable(
    object({ a: { $ref: '#/$defs/s', minLength: 2 } }, { $defs: { s: { type: 'string', minLength: 5 } } }),
  );
  assert.deepEqual(schema, object({ a: { minLength: 2, allOf: [{ type: 'string', minLength: 5 }] } }));
});

it('the portable schema accepts exactly the values the original accepts', () => {
  const name = fc.constantFrom('a', 'b', 'c');
  const leaf = fc.constantFrom<JsonObject | boolean>(
    { type: 'string' },
    { type: 'integer', minimum: 2 },
    { enum: [1, 'x', null] },
    { type: 'array', uniqueItems: true },
    { pattern: '^x+$' },
    true,
    false,
  );
  /** References only go to later definitions, so that nothing is recursive. */
  const schemaUsing = (firstDefinition: number): fc.Arbitrary<Json> =>
    fc.letrec<{ node: Json; ref: Json }>((tie) => ({
      ref:
        firstDefinition > 2
          ? leaf
          : fc
              .tuple(
                fc.integer({ min: firstDefinition, max: 2 }),
                fc.constantFrom({}, { title: 't' }, { maxLength: 2 }, { unevaluatedProperties: false }),
              )
              .map(([index, siblings]) => ({ $ref: `#/$defs/d${index}`, ...siblings })),
      node: fc.oneof(
        { maxDepth: 3 },
        leaf,
        tie('ref'),
        fc.dictionary(name, tie('node'), { maxKeys: 3 }).map((properties) => ({ properties })),
        fc
          .tuple(
            fc.dictionary(name, tie('node'), { maxKeys: 2 }),
            name,
            fc.boolean(),
            fc.array(tie('node'), { minLength: 1, maxLength: 2 }),
          )
          .map(([properties, required, closed, allOf]) => ({
            type: 'object',
            properties: { ...properties },
            required: [required],
            allOf,
            ...(closed ? { unevaluatedProperties: false } : {}),
          })),
        tie('node').map((items) => ({ type: 'array', items })),
        fc.array(tie('node'), { minLength: 1, maxLength: 2 }).map((anyOf) => ({ anyOf })),
        fc.tuple(tie('node'), tie('node')).map(([condition, not]) => ({ if: condition, else: { not } })),
      ),
    })).node;
  const schemas = fc
    .record({
      d0: schemaUsing(1),
      d1: schemaUsing(2),
      d2: schemaUsing(3),
      a: schemaUsing(0),
      b: schemaUsing(0),
    })
    .map(({ d0, d1, d2, a, b }): JsonObject => ({
      type: 'object',
      properties: { a, b },
      $defs: { d0, d1, d2 },
    }));
  const values = fc.letrec<{ value: Json }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      fc.constantFrom<Json>(1, 2, 'x', 'xyz', null, true),
      fc.dictionary(name, tie('value'), { maxKeys: 3 }).map((entries) => ({ ...entries })),
      fc.array(tie('value'), { maxLength: 2 }),
    ),
  })).value;

  let valid = 0;
  fc.assert(
    fc.property(schemas, fc.array(values, { minLength: 5, maxLength: 10 }), (schema, inputs) => {
      const result = makePortable(schema, '');
      assert.ok(result.kind === 'ok', JSON.stringify(result));
      const original = new Ajv2020({ strict: false, meta: false, validateSchema: false }).compile(schema);
      const check = compileSchema(result.schema);
      for (const input of inputs) {
        const value = { a: input, b: inputs[0] ?? null };
        if (original(value)) valid++;
        assert.equal(check(value).length === 0, original(value), JSON.stringify(value));
      }
    }),
    { numRuns: 300 },
  );
  assert.ok(valid > 100, `enough values were valid: ${valid}`);
});
