import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { newId } from '../../src/base/ids.ts';
import type { Caller } from '../../src/identity/caller.ts';
import { call, endOf, openWorld, type Process, type World } from '../support/world.ts';

const CREDIT = 1_000_000n;
let world: World;
let other: Process;
before(async () => {
  world = await openWorld();
  other = await world.openProcess();
});
after(() => world.close());
beforeEach(() => {
  world.seller.visits = [];
  world.seller.automatic = undefined;
});

async function spent(caller: Caller): Promise<bigint> {
  const { posted, held } = await world.money(caller);
  assert.equal(held, 0n, 'nothing is left on hold');
  return 100n * CREDIT - posted;
}

/** Calls, waits until the seller is at work, and hangs up. */
async function callAndLeave(agentId: string, caller: Caller, changes: { idempotencyKey?: string } = {}) {
  const buyer = new AbortController();
  const result = call(world.process, caller, agentId, { ...changes, signal: buyer.signal });
  const visit = await world.seller.visit(0);
  buyer.abort();
  assert.equal(endOf(await result), 'CANCELLED');
  return visit;
}

/** Until every call of the process has ended and is written down. */
async function allEnded(): Promise<void> {
  while (world.process.running.count() > 0) await new Promise((resolve) => setImmediate(resolve));
  await world.process.recorder.flushed();
}

test('a call that may not run on is aborted at the seller and refunded when its buyer leaves', async () => {
  const caller = await world.newCaller('100');
  const visit = await callAndLeave(await world.publish(), caller);
  await visit.gone;
  await allEnded();
  assert.equal(await spent(caller), 0n);
  const record = await world.lastRecord(caller);
  assert.deepEqual(
    [record.outcome, record.code, record.held, record.delivered],
    ['refunded', 'CANCELLED', '10', false],
  );
});

test('an answer that is there when its buyer has just left is not paid', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish();
  world.seller.automatic = (visit) => visit.answer({ answer: 'so' });
  const buyer = new AbortController();
  const { upstream } = world.process;
  const leaving = {
    ...upstream,
    prepare: (request: Parameters<typeof upstream.prepare>[0]) => ({
      send: async () => {
        const outcome = await upstream.prepare(request).send();
        buyer.abort();
        return outcome;
      },
    }),
  };
  const result = await call({ ...world.process, upstream: leaving }, caller, agentId, {
    signal: buyer.signal,
  });
  assert.equal(endOf(result), 'CANCELLED');
  await allEnded();
  assert.equal(await spent(caller), 0n);
  assert.equal((await world.lastRecord(caller)).code, 'CANCELLED');
});

test('an answer that comes at the moment its buyer leaves is not paid twice, nor held for ever', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish();
  for (let n = 0; n < 8; n++) {
    const buyer = new AbortController();
    const result = call(world.process, caller, agentId, { signal: buyer.signal });
    const visit = await world.seller.visit(n);
    visit.answer({ answer: 'so' });
    for (let turn = 0; turn < n; turn++) await new Promise((resolve) => setImmediate(resolve));
    buyer.abort();
    await result;
  }
  await allEnded();
  const records = await world.records(caller);
  const settled = records.filter((record) => record.outcome === 'settled').length;
  assert.equal(records.length, 8);
  assert.equal(await spent(caller), BigInt(settled) * 10n * CREDIT);
});

for (const capabilities of [{ idempotent: true }, { keep_running: true }]) {
  describe(`an agent that is ${Object.keys(capabilities)[0]}`, () => {
    test('runs on without its buyer, is charged once, and hands its answer over free, once', async () => {
      const caller = await world.newCaller('100');
      const agentId = await world.publish({ capabilities });
      const visit = await callAndLeave(agentId, caller);
      visit.answer({ answer: 'so' });
      await allEnded();
      assert.equal(await spent(caller), 10n * CREDIT);
      assert.equal((await world.lastRecord(caller)).delivered, false);

      const input = { question: 'another?' };
      world.seller.automatic = (next) => next.answer({ answer: 'new' });
      assert.equal(
        endOf(await call(world.process, caller, agentId, { input })),
        'answer',
        'not for other arguments',
      );
      const stranger = await world.newCaller('100');
      assert.equal(endOf(await call(world.process, stranger, agentId)), 'answer', 'not for another key');

      const ends = await Promise.all(
        [world.process, other].map((each) => call(each, caller, agentId).then(endOf)),
      );
      assert.deepEqual(ends.sort(), ['answer', 'replay'], 'of two at once, one gets it and one buys');
      assert.equal(endOf(await call(world.process, caller, agentId)), 'answer');
      assert.equal(await spent(caller), 40n * CREDIT);
      const first = (await world.records(caller)).at(-1);
      assert.equal(first?.delivered, true);
    });
  });
}

for (const where of ['the same process', 'another process'] as const) {
  test(`a call that still runs without its buyer is joined from ${where}`, async () => {
    const caller = await world.newCaller('100');
    const agentId = await world.publish({ capabilities: { idempotent: true } });
    const visit = await callAndLeave(agentId, caller);
    // The other process asks the books: what it waits for must be in them.
    await waitFor(
      async () =>
        (await world.database.pool.query('SELECT 1 FROM call_results WHERE key_id = $1', [caller.keyId])).rows
          .length > 0,
    );
    const joined = call(where === 'another process' ? other : world.process, caller, agentId);
    visit.answer({ answer: 'so' });
    const result = await joined;
    assert.ok(result.kind === 'answer');
    assert.deepEqual(result.answer.output, { answer: 'so' });
    await allEnded();
    assert.equal(world.seller.visits.length, 1);
    assert.equal(await spent(caller), 10n * CREDIT);
    world.seller.automatic = (next) => next.answer({ answer: 'new' });
    assert.equal(endOf(await call(world.process, caller, agentId)), 'answer', 'it was handed over already');
  });
}

test('a call that runs on and fails is refunded, and nobody waits for it', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish({ capabilities: { idempotent: true } });
  const visit = await callAndLeave(agentId, caller);
  visit.response.writeHead(500).end();
  await allEnded();
  assert.equal(await spent(caller), 0n);
  const { rows } = await world.database.pool.query('SELECT 1 FROM call_results WHERE key_id = $1', [
    caller.keyId,
  ]);
  assert.equal(rows.length, 0);
  world.seller.automatic = (next) => next.answer({ answer: 'new' });
  assert.equal(endOf(await call(other, caller, agentId)), 'answer');
});

test('an answer that arrives while its buyer is leaving is never lost behind a note that it still runs', async () => {
  const caller = await world.newCaller('1000');
  const agentId = await world.publish({ capabilities: { idempotent: true } });
  for (let n = 0; n < 20; n++) {
    const buyer = new AbortController();
    const input = { question: `number ${n}` };
    const result = call(world.process, caller, agentId, { signal: buyer.signal, input });
    const visit = await world.seller.visit(n);
    buyer.abort();
    visit.answer({ answer: 'so' });
    await result;
  }
  await allEnded();
  const { rows } = await world.database.pool.query<{ lost: number }>(
    'SELECT count(*)::int AS lost FROM call_results WHERE key_id = $1 AND answer IS NULL',
    [caller.keyId],
  );
  assert.deepEqual(rows, [{ lost: 0 }]);
});

test('a call that runs on with an idempotency key is there for the same key and for it alone', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish({ capabilities: { idempotent: true } });
  const idempotencyKey = 'a-key-of-sixteen-chars';
  const visit = await callAndLeave(agentId, caller, { idempotencyKey });
  visit.answer({ answer: 'so' });
  await allEnded();
  assert.equal(endOf(await call(other, caller, agentId, { idempotencyKey })), 'replay');
  assert.equal(endOf(await call(world.process, caller, agentId, { idempotencyKey })), 'replay');
  assert.equal(world.seller.visits.length, 1);
  assert.equal(await spent(caller), 10n * CREDIT);
});

test('a call with a key of its own that was handed an earlier answer gets it again, and never buys it', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish({ capabilities: { idempotent: true } });
  const visit = await callAndLeave(agentId, caller, {});
  visit.answer({ answer: 'so' });
  await allEnded();
  const idempotencyKey = 'another-key-of-its-own';
  for (const process of [world.process, other, world.process]) {
    assert.equal(endOf(await call(process, caller, agentId, { idempotencyKey })), 'replay');
  }
  assert.equal(world.seller.visits.length, 1);
  assert.equal(await spent(caller), 10n * CREDIT);
});

test('an answer its own key came for is not handed over to a call without one', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish({ capabilities: { idempotent: true } });
  const idempotencyKey = 'a-key-of-sixteen-chars';
  const visit = await callAndLeave(agentId, caller, { idempotencyKey });
  visit.answer({ answer: 'so' });
  await allEnded();
  assert.equal(endOf(await call(other, caller, agentId, { idempotencyKey })), 'replay');
  world.seller.automatic = (next) => next.answer({ answer: 'again' });
  assert.equal(endOf(await call(other, caller, agentId)), 'answer');
  assert.equal(await spent(caller), 20n * CREDIT);
});

test('an answer that is not paid for yet is handed over to nobody', async () => {
  const { keyId } = await world.newCaller('100');
  const callId = newId('call');
  const owner = { callId, keyId, requestHash: 'h' };
  await world.process.results.keepForHandover(owner, { output: 'unpaid' });
  assert.deepEqual(await world.process.results.takeHandover(keyId, 'h'), { kind: 'running' });
});

async function waitFor(isTrue: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + 20_000; performance.now() < deadline;) {
    if (await isTrue()) return;
  }
  assert.fail('it did not happen within 20 s');
}
