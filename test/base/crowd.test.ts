import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createCrowd } from '../../src/base/crowd.ts';

test('whoever came and has not left is here, whatever the order of coming and leaving', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(40), { maxLength: 120 }), (moves) => {
      const crowd = createCrowd<number>();
      const here = new Map<number, () => void>();
      const gone: (() => void)[] = [];
      for (const member of moves) {
        const leave = here.get(member);
        if (leave) {
          leave();
          here.delete(member);
          gone.push(leave);
        } else {
          here.set(member, crowd.add(member));
        }
        // Leaving twice takes nobody else's place.
        gone[member % Math.max(1, gone.length)]?.();
        assert.equal(crowd.size(), here.size);
        assert.deepEqual(new Set(crowd.members()), new Set(here.keys()));
      }
    }),
    { numRuns: 1_000 },
  );
});

test('who leaves while the members are gone through changes nothing about who is visited', () => {
  const crowd = createCrowd<string>();
  const leaves = ['a', 'b', 'c'].map((member) => crowd.add(member));
  const seen: string[] = [];
  for (const member of crowd.members()) {
    seen.push(member);
    for (const leave of leaves) leave();
  }
  assert.deepEqual(seen, ['a', 'b', 'c']);
  assert.equal(crowd.size(), 0);
});
