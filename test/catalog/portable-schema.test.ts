import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import * as fc from 'fast-check';
import type { Json, JsonObject } from '../../src/base/json.ts';
import { toHostForm } from '../../src/catalog/host-form.ts';
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

const DRAFT_04 = 'http://json-schema.org/draft-04/schema#';
const DRAFT_07 = 'http://json-schema.org/draft-07/schema#';
const DRAFT_2019 = 'https://json-schema.org/draft/2019-09/schema';
const DRAFT_2020 = 'https://json-schema.org/draft/2020-12/schema';

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
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
      'an $id further down with a $ref under it',
      object({ a: { $id: 'x', properties: { b: { $ref: '#/properties/c' } } } }),
      '/properties/a/$id',
      /no \$ref stands under it/,
    ],
    [
      'a dialect that cannot be read',
      object({}, { $schema: 'http://json-schema.org/draft-03/schema#' }),
      '/$schema',
      /draft-04.*2020-12/,
    ],
    [
      'a tuple of an older draft in a schema that says it is of 2020-12',
      { ...object({ a: { items: [{}] } }), $schema: DRAFT_2020 },
      '/properties/a/items',
      /must be/,
    ],
    [
      'unevaluatedItems beside contains in 2019-09, where it means something else',
      { ...object({ a: { contains: {}, unevaluatedItems: false } }), $schema: DRAFT_2019 },
      '/properties/a/unevaluatedItems',
      /no exact form/,
    ],
    ['a misspelt type', object({ a: { type: 'strnig' } }), '/properties/a/type', /must be one of/],
    [
      'a catastrophic pattern',
      object({ a: { pattern: '((?!b)a+)+$' } }),
      '/properties/a/pattern',
      /repeats a group/,
    ],
    [
      'a catastrophic property pattern',
      object({}, { patternProperties: { '((?!b)a+)+$': {} } }),
      '/patternProperties/((?!b)a+)+$',
      /repeats/,
    ],
    [
      'patterns that are too large together',
      object(Object.fromEntries(numbers(40).map((n) => [`p${n}`, { pattern: `^${n}.{900}$` }]))),
      '/properties/p22/pattern',
      /too large together/,
    ],
    ['a property name hosts refuse', object({ 'a b': {} }), '/properties/a b', /names of 1 to 64/],
    ['a required name hosts refuse', object({}, { required: ['a b'] }), '/required/0', /names of 1 to 64/],
    [
      'a property name that is too long',
      object({ ['a'.repeat(65)]: {} }),
      `/properties/${'a'.repeat(65)}`,
      /names of 1 to 64/,
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
    [
      'names only models see',
      object({ a: object({ 'b\u202Ec': {} }) }),
      '/properties/a/properties/b\u202Ec',
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
    properties: { b: { $dynamicRef: '#x' }, c: { $ref: 'x:y' }, d: { pattern: '((?!b)a+)+' } },
  });
  assert.deepEqual(
    faults.map(({ path }) => path),
    [
      '/input_schema/properties/b/$dynamicRef',
      '/input_schema/properties/c/$ref',
      '/input_schema/properties/d/pattern',
    ],
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

/** What a schema becomes, and where it warns. */
function publish(schema: JsonObject, role: 'input' | 'output' = 'input') {
  const result = makePortable(schema, '', role);
  assert.ok(result.kind === 'ok', JSON.stringify(result));
  return { schema: result.schema, warnings: result.warnings };
}

describe('an older draft becomes 2020-12, read as its $schema says', () => {
  const tuple = { type: 'array', items: [{ type: 'number' }, {}], additionalItems: false };
  const cases: [title: string, draft: string | undefined, a: JsonObject, published: JsonObject][] = [
    [
      'a tuple',
      DRAFT_07,
      tuple,
      { type: 'array', prefixItems: [{ type: 'number' }, {}], items: { not: {} } },
    ],
    ['a tuple of 2019-09', DRAFT_2019, { items: [{}] }, { prefixItems: [{}] }],
    [
      'a tuple of an undeclared draft',
      undefined,
      { items: [{}], additionalItems: { type: 'null' } },
      { prefixItems: [{}], items: { type: 'null' } },
    ],
    [
      'a tuple of whatever is the latest draft',
      'http://json-schema.org/schema#',
      { items: [{}] },
      { prefixItems: [{}] },
    ],
    ['additionalItems without a tuple, which says nothing', DRAFT_07, { additionalItems: false }, {}],
    [
      'dependencies',
      DRAFT_07,
      { dependencies: { b: ['c'], d: { required: ['e'] } } },
      { dependentRequired: { b: ['c'] }, dependentSchemas: { d: { required: ['e'] } } },
    ],
    [
      'dependencies of an undeclared draft, beside their successors',
      undefined,
      {
        dependencies: { b: ['c'], d: { required: ['e'] } },
        dependentRequired: { b: ['f'] },
        dependentSchemas: { d: { required: ['g'] } },
      },
      {
        dependentRequired: { b: ['f', 'c'] },
        dependentSchemas: { d: { allOf: [{ required: ['g'] }, { required: ['e'] }] } },
      },
    ],
    [
      'bounds of draft-04',
      DRAFT_04,
      { minimum: 1, exclusiveMinimum: true, maximum: 5, exclusiveMaximum: false },
      { exclusiveMinimum: 1, maximum: 5 },
    ],
    ['an anchor of draft-07', DRAFT_07, { $id: '#a', type: 'string' }, { type: 'string' }],
    ['an id of draft-04', DRAFT_04, { id: '#a', type: 'string' }, { type: 'string' }],
  ];
  for (const [title, draft, a, published] of cases) {
    it(title, () => {
      const schema = { ...(draft === undefined ? {} : { $schema: draft }), ...object({ a }) };
      assert.deepEqual(publish(schema), { schema: object({ a: published }), warnings: [] });
    });
  }

  it('a whole schema behind a $ref, as draft-07 generators write it', () => {
    const schema = {
      $schema: DRAFT_07,
      $ref: '#/definitions/Input',
      definitions: {
        Input: object({ at: { $ref: '#/definitions/Input/properties/n' }, n: { type: 'null' } }),
      },
    };
    assert.deepEqual(publish(schema).schema, object({ at: { type: 'null' }, n: { type: 'null' } }));
  });

  it('a $ref behind the own $id is local', () => {
    const schema = { $id: 'https://a.example/s', ...object({ a: { $ref: 'https://a.example/s#/$defs/n' } }) };
    assert.deepEqual(
      publish({ ...schema, $defs: { n: { type: 'null' } } }).schema,
      object({ a: { type: 'null' } }),
    );
  });

  const silent: [title: string, draft: string, a: JsonObject, place: string][] = [
    ['a neighbour of $ref', DRAFT_07, { $ref: '#/definitions/s', minLength: 9 }, 'minLength'],
    [
      'a word that came later',
      DRAFT_07,
      { type: 'string', dependentRequired: { b: ['c'] } },
      'dependentRequired',
    ],
    ['a word that was given up', DRAFT_2020, { type: 'string', dependencies: { b: ['c'] } }, 'dependencies'],
    ['const in draft-04', DRAFT_04, { type: 'string', const: 'x' }, 'const'],
  ];
  for (const [title, draft, a, place] of silent) {
    it(`${title} says nothing there, and is left out with a warning`, () => {
      const { schema, warnings } = publish({
        $schema: draft,
        ...object({ a }, { definitions: { s: { type: 'string' } } }),
      });
      assert.deepEqual(schema, object({ a: { type: 'string' } }));
      assert.deepEqual(
        warnings.map(({ path }) => path),
        [`/properties/a/${place}`],
      );
    });
  }
});

describe('what is no keyword is left out with a warning', () => {
  const cases: [title: string, a: JsonObject, message: RegExp][] = [
    ['an annotation of a vendor', { 'x-unit': 'kg' }, /left out$/],
    ["a word of Ajv's, which would make the validator asynchronous", { $async: true }, /left out$/],
    ['nullable, which asserts nothing here', { nullable: true }, /write "type": \["…", "null"\]/],
    ['example, which examples could not replace as it is', { example: 2.5 }, /left out$/],
    ['a slip', { maxLenght: 3 }, /did you mean "maxLength"\?$/],
    ['a slip whose value the right word would not take', { maxLenght: 'three' }, /left out$/],
    ['a slip beside the right word', { maxLenght: 3, maxLength: 5 }, /left out$/],
    ['a slip over a part that would be refused', { propertis: { b: { $ref: 'x:y' } } }, /left out$/],
    [
      'a slip over a part with a $ref of its own',
      { propertis: { b: { $ref: '#/$defs/s' } } },
      /"properties"\?$/,
    ],
  ];
  for (const [title, a, message] of cases) {
    it(title, () => {
      const { schema, warnings } = publish(object({ a }, { $defs: { s: {} } }));
      const kept = 'maxLength' in a ? { maxLength: 5 } : {};
      assert.deepEqual(schema, object({ a: kept }));
      assert.equal(warnings[0]?.path, `/properties/a/${Object.keys(a)[0]}`);
      assert.match(warnings[0]?.message ?? '', message);
      assert.equal(warnings.length, 1);
    });
  }

  it('no more than twenty are named, and the rest are counted', () => {
    const words = Object.fromEntries(numbers(25).map((n) => [`x-${n}`, n]));
    const { warnings } = publish(object({}, words));
    assert.equal(warnings.length, 21);
    assert.equal(warnings.at(-1)?.message, '5 more keywords were left out');
  });
});

it('only the arguments themselves are bound to the names hosts take', () => {
  const inner = object({ a: object({ $text: {}, 'a b': {} }) });
  assert.deepEqual(publish(inner).schema, inner);
  const outer = object({ '@data.next': {} });
  assert.deepEqual(publish(outer, 'output').schema, outer);
});

describe('the root is an object, said or not', () => {
  it('arguments are never anything else', () => {
    assert.deepEqual(publish({}).schema, { type: 'object', properties: {} });
    assert.deepEqual(publish({ type: ['object', 'null'] }).schema, { type: 'object', properties: {} });
  });
  it('an answer that may be something else is refused', () => {
    assert.equal(makePortable({ type: ['object', 'null'] }, '', 'output').kind, 'refused');
  });
});

describe('the published form is what strict hosts and providers take', () => {
  const cases: [title: string, schema: JsonObject, published: JsonObject][] = [
    [
      'booleans are schemas, but where everybody writes them',
      object(
        { a: true, b: false, c: { anyOf: [true], additionalProperties: true } },
        { additionalProperties: false },
      ),
      object(
        { a: {}, b: { not: {} }, c: { anyOf: [{}], additionalProperties: true } },
        { additionalProperties: false },
      ),
    ],
    [
      'an array says its items',
      object({ a: { type: ['array', 'null'] } }),
      object({ a: { type: ['array', 'null'], items: {} } }),
    ],
    [
      'an array whose unseen items are asked about does not',
      object({ a: { type: 'array', allOf: [{ prefixItems: [{}] }], unevaluatedItems: false } }),
      object({ a: { type: 'array', allOf: [{ prefixItems: [{}] }], unevaluatedItems: false } }),
    ],
    ['an object says its properties', { type: 'object' }, { type: 'object', properties: {} }],
    ['what is required is declared', object({}, { required: ['a'] }), object({ a: {} }, { required: ['a'] })],
    [
      'as what undeclared members have to be',
      object({}, { required: ['a'], additionalProperties: { type: 'null' } }),
      object({ a: { type: 'null' } }, { required: ['a'], additionalProperties: { type: 'null' } }),
    ],
    [
      'and not where unseen members are asked about',
      object({}, { required: ['a'], unevaluatedProperties: false }),
      object({}, { required: ['a'], unevaluatedProperties: false }),
    ],
    [
      'an enum of several types is told in the description',
      object({ a: { description: 'The level', enum: ['low', 3, null] }, b: { enum: ['x', 'y'] } }),
      object({
        a: { description: 'The level. One of "low", 3, null.', enum: ['low', 3, null] },
        b: { enum: ['x', 'y'] },
      }),
    ],
  ];
  for (const [title, schema, published] of cases) {
    it(title, () => {
      const form = publish(schema).schema;
      assert.deepEqual(form, published);
      assert.equal(toHostForm(form), form, 'a form that is published already stays the same object');
    });
  }
});

it('the portable schema accepts exactly the values the original accepts', () => {
  const name = fc.constantFrom('a', 'b', 'c');
  const leaf = fc.constantFrom<JsonObject | boolean>(
    { type: 'string' },
    { type: 'integer', minimum: 2 },
    { enum: [1, 'x', null] },
    { type: 'array', uniqueItems: true },
    { pattern: '^x+$' },
    { type: 'array' },
    { type: 'object', required: ['a'] },
    { required: ['c'], additionalProperties: { type: 'string' }, properties: { a: true } },
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
