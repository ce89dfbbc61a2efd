import assert from 'node:assert/strict';
import { test } from 'node:test';
import { specTypeSchemas } from '@modelcontextprotocol/client';
import { ContentBlockSchema } from '@modelcontextprotocol/sdk/types.js';
import fc from 'fast-check';
import type { Json } from '../../src/base/json.ts';
import { readContent } from '../../src/upstream/content-blocks.ts';
import { anyBlock } from '../support/content-blocks.ts';

/** Both official clients take it. */
function isRead(block: unknown): boolean {
  const first = ContentBlockSchema.safeParse(block).success;
  const second = specTypeSchemas.ContentBlock['~standard'].validate(block);
  assert.ok(!(second instanceof Promise));
  return first && second.issues === undefined;
}

const isAccepted = (block: unknown): boolean => readContent([block as Json]).kind === 'ok';

test('a block is accepted exactly when both official clients read it', () => {
  const wrong = fc.oneof(
    fc.jsonValue({ maxDepth: 1 }),
    fc.constantFrom(
      null,
      -1,
      1.5,
      '',
      '%',
      'a',
      'x:y',
      '2026-02-30T00:00:00Z',
      '2026-01-01T00:00:00+02:00',
      {},
      [],
    ),
  );
  const spoilt = fc.record({ block: anyBlock, at: fc.nat(), inside: fc.boolean(), value: wrong }).map(spoil);
  fc.assert(
    fc.property(fc.oneof(anyBlock, spoilt), (block) => {
      assert.equal(isAccepted(block), isRead(block), JSON.stringify(block));
    }),
    { numRuns: 3_000 },
  );
});

test('a block of a type that only other messages have is not accepted', () => {
  for (const type of ['tool_use', 'tool_result', 'hologram', '', 'constructor', '__proto__', 'TEXT']) {
    assert.deepEqual(
      readContent([
        { type: 'text', text: 'x' },
        { type, text: 'x' },
      ]),
      {
        kind: 'bad',
        detail:
          'content block 2 is not valid: its type is none of text, image, audio, resource, resource_link',
      },
    );
  }
});

/** One member, of the block or of an object in it, has another value, or is gone. */
function spoil(change: { block: object; at: number; inside: boolean; value: unknown }): object {
  const copy = structuredClone(change.block) as Record<string, unknown>;
  const objects = Object.values(copy).filter((value) => typeof value === 'object' && value !== null);
  const into = (change.inside ? objects[change.at % objects.length] : undefined) ?? copy;
  const names = Object.keys(into);
  const name = names[change.at % names.length];
  if (name === undefined) return copy;
  if (change.value === '') delete (into as Record<string, unknown>)[name];
  else (into as Record<string, unknown>)[name] = change.value;
  return copy;
}
