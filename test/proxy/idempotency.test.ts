import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { JsonObject } from '../../src/base/json.ts';
import { withIdempotencyKey } from '../../src/proxy/idempotency.ts';

const KEY = 'k'.repeat(32);
const splice = (text: string): string => {
  const { params } = JSON.parse(text) as { params?: JsonObject };
  return withIdempotencyKey(text, params ?? {}, () => KEY);
};

test('the key is added and nothing else changes, whatever the arguments are and however they are printed', () => {
  const meta = fc.option(fc.dictionary(fc.string(), fc.jsonValue()), { nil: undefined });
  const spacing = fc.constantFrom(undefined, 1, '\t', ' \r\n');
  fc.assert(
    fc.property(fc.jsonValue(), meta, spacing, fc.boolean(), (args, _meta, indent, metaFirst) => {
      const params = metaFirst
        ? { ...(_meta && { _meta }), arguments: args }
        : { arguments: args, ...(_meta && { _meta }) };
      const message = { jsonrpc: '2.0', id: 1, method: 'tools/call', params };
      const text = JSON.stringify(message, null, indent);
      const expected = JSON.parse(text) as typeof message;
      const added = { ...expected.params._meta, 'xyz.sentinel/idempotency-key': KEY };
      assert.deepEqual(JSON.parse(splice(text)), {
        ...expected,
        params: { ...expected.params, _meta: added },
      });
    }),
    { numRuns: 1_000 },
  );
});

const ROWS: [string, string, string][] = [
  [
    'no _meta',
    '{"params":{"name":"a"}}',
    `{"params":{"_meta":{"xyz.sentinel/idempotency-key":"${KEY}"},"name":"a"}}`,
  ],
  ['empty params', '{"params":{ }}', `{"params":{"_meta":{"xyz.sentinel/idempotency-key":"${KEY}"} }}`],
  [
    'empty _meta',
    '{"params":{"_meta":{}}}',
    `{"params":{"_meta":{"xyz.sentinel/idempotency-key":"${KEY}"}}}`,
  ],
  [
    'an escaped name',
    '{"p\\u0061rams":{"n":1}}',
    `{"p\\u0061rams":{"_meta":{"xyz.sentinel/idempotency-key":"${KEY}"},"n":1}}`,
  ],
  [
    'a decoy inside a string',
    '{"x":"\\"params\\":{","params":{}}',
    `{"x":"\\"params\\":{","params":{"_meta":{"xyz.sentinel/idempotency-key":"${KEY}"}}}`,
  ],
  [
    'numbers beyond 2^53',
    '{"params":{"n":9007199254740993}}',
    `{"params":{"_meta":{"xyz.sentinel/idempotency-key":"${KEY}"},"n":9007199254740993}}`,
  ],
  ['no params', '{"method":"tools/call"}', '{"method":"tools/call"}'],
  ['params that are a list', '{"params":[1]}', '{"params":[1]}'],
  ['_meta that is a list', '{"params":{"_meta":[]}}', '{"params":{"_meta":[]}}'],
  [
    "the host's own key",
    '{"params":{"_meta":{"xyz.sentinel/idempotency-key":"mine"}}}',
    '{"params":{"_meta":{"xyz.sentinel/idempotency-key":"mine"}}}',
  ],
];

for (const [what, text, expected] of ROWS) {
  test(`${what}: beside the key, the text stays as it was written`, () =>
    assert.equal(splice(text), expected));
}
