import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { buildTree, followPath, HASH_BYTES, hashLeaf, rootOf, siblingsOf } from '../../src/base/hash-tree.ts';

function nodeAt(tree: Buffer, place: number): Buffer {
  return tree.subarray(place * HASH_BYTES, (place + 1) * HASH_BYTES);
}

/** MTH of RFC 9162 section 2.1.1, word for word. */
function rootByDefinition(entries: string[]): Buffer {
  const sha256 = (...parts: (Buffer | string)[]): Buffer =>
    parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();
  if (entries.length === 0) return sha256();
  if (entries.length === 1) return sha256(Buffer.of(0), entries[0] ?? '');
  let k = 1;
  while (k * 2 < entries.length) k *= 2;
  return sha256(Buffer.of(1), rootByDefinition(entries.slice(0, k)), rootByDefinition(entries.slice(k)));
}

const someEntries = fc.array(fc.string(), { maxLength: 70 });

test('the root is the Merkle tree hash of RFC 9162', () => {
  fc.assert(
    fc.property(someEntries, (entries) => {
      assert.deepEqual(rootOf(buildTree(entries.map(hashLeaf))), rootByDefinition(entries));
    }),
    { numRuns: 1_000 },
  );
});

test('the path of every entry leads to the root; from another place, entry or length it does not', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 70 }), fc.nat(), fc.nat(), (size, one, other) => {
      const entries = Array.from({ length: size }, (_, index) => `entry ${index}`);
      const tree = buildTree(entries.map(hashLeaf));
      const leaf = one % size;
      const path = siblingsOf(size, leaf).map((place) => nodeAt(tree, place));
      assert.deepEqual(followPath(`entry ${leaf}`, leaf, size, path), rootOf(tree));

      const lead = (entry: string, from: number, count: number, by: Buffer[]): boolean =>
        followPath(entry, from, count, by)?.equals(rootOf(tree)) === true;
      assert.ok(!lead('another entry', leaf, size, path));
      if (other % size !== leaf) assert.ok(!lead(`entry ${leaf}`, other % size, size, path));
      assert.ok(!lead(`entry ${leaf}`, leaf, size, [...path, Buffer.alloc(HASH_BYTES)]));
      if (path.length > 0) assert.ok(!lead(`entry ${leaf}`, leaf, size, path.slice(1)));
      assert.equal(followPath(`entry ${leaf}`, leaf + size, size, path), undefined);
      assert.equal(followPath(`entry ${leaf}`, -1, size, path), undefined);
    }),
    { numRuns: 1_000 },
  );
});
