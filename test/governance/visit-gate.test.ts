import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../../src/base/ids.ts';
import { visitGate } from '../../src/governance/gate.ts';
import { createMemoryGate } from '../../src/governance/memory-gate.ts';
import { callerWith, enter, handClock } from './requests.ts';

const spends: [title: string, spent: readonly bigint[], left: bigint][] = [
  ['nothing was held', [], 100n],
  ['the hold is not resolved yet', [40n], 60n],
  ['less than the hold was charged', [40n, 15n], 85n],
];

for (const [title, spent, left] of spends) {
  test(`a call that leaves the gate gives back what it did not spend: ${title}`, async () => {
    const gate = createMemoryGate(handClock());
    const caller = callerWith({});
    gate.noteBalance(caller.accountId, 100n);
    {
      using visit = await visitGate(gate, {
        caller,
        callId: newId('call'),
        amountMicros: 40n,
        ttlMs: 60_000,
      });
      assert.equal(visit.answer.kind, 'entered');
      for (const micros of spent) visit.spent(micros);
    }
    const more = await enter(gate, caller, left + 1n);
    assert.deepEqual(more, { kind: 'insufficient', availableMicros: left });
  });
}

test('a call that was not let in leaves nothing behind', async () => {
  const gate = createMemoryGate(handClock());
  const caller = callerWith({});
  gate.noteBalance(caller.accountId, 39n);
  {
    using visit = await visitGate(gate, { caller, callId: newId('call'), amountMicros: 40n, ttlMs: 60_000 });
    assert.equal(visit.answer.kind, 'insufficient');
  }
  const more = await enter(gate, caller, 40n);
  assert.deepEqual(more, { kind: 'insufficient', availableMicros: 39n });
});
