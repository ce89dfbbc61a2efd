import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import type { CallDeps } from '../../src/calls/deps.ts';
import { removeExpiredIdempotencyKeys } from '../../src/ledger/idempotency.ts';
import type { Caller } from '../../src/identity/caller.ts';
import { call, endOf, openWorld, type World } from '../support/world.ts';

const KEYS = ['the-first-key-of-two', 'the-second-key-of-two'] as const;
let world: World;
let runsOn: string;
before(async () => {
  world = await openWorld();
  runsOn = await world.publish({ capabilities: { idempotent: true } });
});
after(() => world.close());
beforeEach(() => {
  world.seller.visits = [];
  world.seller.automatic = (visit) => visit.answer({ answer: `number ${world.seller.visits.length}` });
});

/** Buys, hangs up while the agent works, and lets the call end: its answer waits for the next identical one. */
async function buyAndLeave(caller: Caller, idempotencyKey?: string): Promise<void> {
  const { automatic } = world.seller;
  world.seller.automatic = undefined;
  const buyer = new AbortController();
  const before = world.seller.visits.length;
  const options = { signal: buyer.signal, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) };
  const result = call(world.process, caller, runsOn, options);
  // A retry that is given an earlier answer reaches no seller.
  const visit = await Promise.race([world.seller.visit(before), result.then(() => undefined)]);
  buyer.abort();
  visit?.answer({ answer: `number ${world.seller.visits.length}` });
  await result;
  while (world.process.running.count() > 0) await new Promise((resolve) => setImmediate(resolve));
  world.seller.automatic = automatic;
}

const run = (text: string, ...values: unknown[]) => world.database.pool.query(text, values);

test('an answer that was handed to a key lives as long as the key', async () => {
  const caller = await world.newCaller('100');
  await buyAndLeave(caller);
  await run(
    `UPDATE call_results SET expires_at = now() + interval '1 minute' WHERE key_id = $1`,
    caller.keyId,
  );
  const handed = await call(world.process, caller, runsOn, { idempotencyKey: KEYS[0] });
  assert.equal(endOf(handed), 'replay');
  const { rows } = await run(
    `SELECT r.expires_at >= k.expires_at AS outlives FROM call_results r
     JOIN idempotency_keys k ON k.call_id = r.call_id WHERE r.key_id = $1`,
    caller.keyId,
  );
  assert.deepEqual(rows, [{ outlives: true }]);
});

test('a key whose answer is gone is refused at once, and names the call it paid for', async () => {
  const caller = await world.newCaller('100');
  const first = await call(world.process, caller, runsOn, { idempotencyKey: KEYS[0] });
  assert.ok(first.kind === 'answer');
  await run('DELETE FROM call_results WHERE key_id = $1', caller.keyId);
  const again = await call(world.process, caller, runsOn, { idempotencyKey: KEYS[0] });
  assert.ok(again.kind === 'problem');
  assert.equal(again.problem.code, 'IDEMPOTENCY_CONFLICT');
  assert.equal(again.problem.extras.call_id, first.receipt.callId);
  assert.equal((await world.money(caller)).posted, 90_000_000n);
});

test('a key that has expired and is not removed yet stands for the answer it is handed next', async () => {
  const caller = await world.newCaller('100');
  await call(world.process, caller, runsOn, { idempotencyKey: KEYS[0] });
  await run(`UPDATE idempotency_keys SET expires_at = now() WHERE key_id = $1`, caller.keyId);
  await buyAndLeave(caller);
  const handed = await call(world.process, caller, runsOn, { idempotencyKey: KEYS[0] });
  const retried = await call(world.process, caller, runsOn, { idempotencyKey: KEYS[0] });
  assert.deepEqual([endOf(handed), endOf(retried)], ['replay', 'replay']);
  assert.equal((await world.money(caller)).posted, 80_000_000n);
});

const step = fc.oneof(
  fc.record({ kind: fc.constant('call' as const), key: fc.constantFrom(...KEYS, undefined) }),
  fc.record({ kind: fc.constant('leave' as const), key: fc.constantFrom(...KEYS, undefined) }),
  fc.record({ kind: fc.constant('expire key' as const), key: fc.constantFrom(...KEYS) }),
  fc.record({ kind: fc.constant('expire answers' as const) }),
  fc.record({ kind: fc.constant('end handovers' as const) }),
  fc.record({ kind: fc.constant('remove expired' as const) }),
);

test('in whatever order keys, answers and handovers expire, a call ends in an answer or a refusal after two holds at most', async () => {
  const { ledger } = world.process;
  let holds = 0;
  const counting: CallDeps = {
    ...world.process,
    ledger: {
      ...ledger,
      hold: (request) => {
        holds += 1;
        return ledger.hold(request);
      },
    },
  };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 8 }), async (steps) => {
      const caller = await world.newCaller('1000');
      for (const step of steps) {
        switch (step.kind) {
          case 'call': {
            holds = 0;
            const options = step.key === undefined ? {} : { idempotencyKey: step.key };
            const end = endOf(await call(counting, caller, runsOn, options));
            assert.ok(['answer', 'replay', 'IDEMPOTENCY_CONFLICT'].includes(end), end);
            assert.ok(holds <= 2, `${holds} holds`);
            break;
          }
          case 'leave':
            await buyAndLeave(caller, step.key);
            break;
          case 'expire key':
            await run(
              'UPDATE idempotency_keys SET expires_at = now() WHERE key_id = $1 AND idempotency_key = $2',
              caller.keyId,
              step.key,
            );
            break;
          case 'expire answers':
            await run('UPDATE call_results SET expires_at = now() WHERE key_id = $1', caller.keyId);
            break;
          case 'end handovers':
            await run('UPDATE call_results SET handover_until = now() WHERE key_id = $1', caller.keyId);
            break;
          case 'remove expired':
            await removeExpiredIdempotencyKeys(world.database.db);
            await world.process.results.removeExpired();
        }
      }
      const { held, posted, earned, fees } = await world.money(caller);
      assert.deepEqual([held, posted + earned + fees], [0n, 1_000_000_000n]);
    }),
    { numRuns: 60 },
  );
});
