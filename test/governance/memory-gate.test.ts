import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMemoryGate } from '../../src/governance/memory-gate.ts';
import { callerWith, enter, handClock, tally } from './requests.ts';

test('exactly a minute of calls may come at once, whatever the rate', async () => {
  for (const ratePerMinute of [1, 2, 3, 7, 11, 13, 59, 60, 61, 97, 333, 1_000, 6_000]) {
    const gate = createMemoryGate(handClock());
    const caller = callerWith({ ratePerMinute });
    const asked = Array.from({ length: ratePerMinute + 3 }, () => enter(gate, caller));
    assert.deepEqual(tally(await Promise.all(asked)), { entered: ratePerMinute, rate_limited: 3 });
  }
});

test('after the burst, one more call may come each time a share of the minute has passed', async () => {
  const clock = handClock();
  const gate = createMemoryGate(clock);
  const caller = callerWith({ ratePerMinute: 60 });
  for (let n = 0; n < 60; n++) await enter(gate, caller);
  const refused = await enter(gate, caller);
  assert.ok(refused.kind === 'rate_limited');
  assert.equal(Math.round(refused.retryAfterMs), 1_000);
  clock.pass(refused.retryAfterMs);
  assert.equal((await enter(gate, caller)).kind, 'entered');
  assert.equal((await enter(gate, caller)).kind, 'rate_limited');
  clock.pass(30_000);
  const asked = Array.from({ length: 40 }, () => enter(gate, caller));
  assert.deepEqual(tally(await Promise.all(asked)), { entered: 30, rate_limited: 10 });
});

test('a refused call does not use up the rate, and keys do not share it', async () => {
  const clock = handClock();
  const gate = createMemoryGate(clock);
  const caller = callerWith({ ratePerMinute: 1, maxConcurrent: 1 });
  assert.equal((await enter(gate, caller)).kind, 'entered');
  for (let n = 0; n < 50; n++) assert.equal((await enter(gate, caller)).kind, 'rate_limited');
  assert.equal((await enter(gate, callerWith({ ratePerMinute: 1 }))).kind, 'entered');
  clock.pass(60_000);
  assert.equal((await enter(gate, caller)).kind, 'too_many_at_once', 'the first still runs');
});

test('so many calls run at once as the key may have, and a place is free when one leaves, once', async () => {
  const gate = createMemoryGate(handClock());
  const caller = callerWith({ maxConcurrent: 10 });
  const answers = await Promise.all(Array.from({ length: 100 }, () => enter(gate, caller)));
  assert.deepEqual(tally(answers), { entered: 10, too_many_at_once: 90 });
  const first = answers[0];
  assert.ok(first?.kind === 'entered');
  first.leave(0n);
  first.leave(0n);
  assert.equal((await enter(gate, caller)).kind, 'entered');
  assert.equal((await enter(gate, caller)).kind, 'too_many_at_once');
});

test('a noted balance spares hopeless calls for a second, and counts what enters and comes back', async () => {
  const clock = handClock();
  const gate = createMemoryGate(clock);
  const caller = callerWith({});
  gate.noteBalance(caller.accountId, 25n);
  const [one, two, three] = [await enter(gate, caller), await enter(gate, caller), await enter(gate, caller)];
  assert.deepEqual([one.kind, two.kind], ['entered', 'entered']);
  assert.deepEqual(three, { kind: 'insufficient', availableMicros: 5n });
  assert.ok(one.kind === 'entered');
  one.leave(10n);
  assert.equal((await enter(gate, caller)).kind, 'entered');
  clock.pass(1_000);
  assert.equal((await enter(gate, caller)).kind, 'entered', 'what was noted is no longer believed');
  gate.noteBalance(caller.accountId, 0n);
  assert.equal((await enter(gate, caller)).kind, 'insufficient');
  gate.forgetBalance(caller.accountId);
  assert.equal((await enter(gate, caller)).kind, 'entered', 'credits came in');
  assert.equal(gate.state(), 'local');
});
