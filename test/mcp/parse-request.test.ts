import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { countMembers, scanJson } from '../../src/mcp/json-scan.ts';
import { parseMessage } from '../../src/mcp/parse-request.ts';

test('a JSON text has as many members as its value, whatever is in it and however it is spaced', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 5 }), fc.constantFrom(undefined, 2, '\t'), (text, space) => {
      const value: unknown = JSON.parse(text);
      assert.equal(scanJson(JSON.stringify(value, null, space)).members, countMembers(value));
    }),
    { numRuns: 1_000 },
  );
});

test('a member written twice is noticed at any depth, in any spelling', () => {
  const member = fc.record({ path: fc.array(fc.string(), { maxLength: 5 }), name: fc.string() });
  fc.assert(
    fc.property(member, fc.boolean(), ({ path, name }, isEscaped) => {
      const spelt = isEscaped
        ? `"${Array.from({ length: name.length }, (_, at) => `\\u${name.charCodeAt(at).toString(16).padStart(4, '0')}`).join('')}"`
        : JSON.stringify(name);
      const inner = `{${JSON.stringify(name)}:1,${spelt}:2}`;
      const text = path.reduceRight((value, each) => `{${JSON.stringify(each)}:[${value}]}`, inner);
      const body = `{"jsonrpc":"2.0","id":1,"method":"m","params":{"p":${text}}}`;
      const parsed = parseMessage(Buffer.from(body));
      assert.equal(parsed.kind, 'fault');
      assert.match(parsed.kind === 'fault' ? parsed.message : '', /named twice/);
    }),
    { numRuns: 1_000 },
  );
});

test('any message an SDK could send is read as it was meant', () => {
  const id = fc.oneof(fc.maxSafeInteger(), fc.string({ maxLength: 128 }));
  const params = fc.option(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })), { nil: undefined });
  fc.assert(
    fc.property(id, fc.string({ minLength: 1 }), params, (id, method, params) => {
      const sent = JSON.parse(JSON.stringify({ jsonrpc: '2.0', id, method, params })) as object;
      const parsed = parseMessage(Buffer.from(JSON.stringify(sent)));
      assert.equal(parsed.kind, 'request');
      assert.deepEqual(parsed.kind === 'request' ? parsed.body : undefined, sent);
    }),
    { numRuns: 1_000 },
  );
});

test('no bytes make the parser throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.ok(['fault', 'request', 'notification'].includes(parseMessage(bytes).kind));
    }),
    { numRuns: 1_000 },
  );
});
