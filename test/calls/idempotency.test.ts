import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Caller } from '../../src/identity/caller.ts';
import { call, endOf, openWorld, type Process, type World } from '../support/world.ts';

const CREDIT = 1_000_000n;
const idempotencyKey = 'a-key-of-sixteen-chars';
let world: World;
let other: Process;
before(async () => {
  world = await openWorld();
  other = await world.openProcess();
});
after(() => world.close());
beforeEach(() => {
  world.seller.visits = [];
  world.seller.automatic = (visit) => visit.answer({ answer: `number ${world.seller.visits.length}` });
});

async function spent(caller: Caller): Promise<bigint> {
  const { posted, held } = await world.money(caller);
  assert.equal(held, 0n, 'nothing is left on hold');
  return 100n * CREDIT - posted;
}

for (const where of ['the same process', 'another process'] as const) {
  describe(`with an idempotency key, in ${where}`, () => {
    const second = (): Process => (where === 'another process' ? other : world.process);

    test('the same call again gets the recorded answer and is not charged', async () => {
      const caller = await world.newCaller('100');
      const agentId = await world.publish();
      const first = await call(world.process, caller, agentId, { idempotencyKey });
      const again = await call(second(), caller, agentId, { idempotencyKey });
      assert.deepEqual([endOf(first), endOf(again)], ['answer', 'replay']);
      assert.ok(first.kind === 'answer' && again.kind === 'answer');
      assert.deepEqual(again.answer, first.answer);
      assert.deepEqual(again.receipt, first.receipt);
      assert.equal(world.seller.visits.length, 1);
      assert.equal(await spent(caller), 10n * CREDIT);
    });

    test('other arguments, or another agent, are a conflict', async () => {
      const caller = await world.newCaller('100');
      const [agentId, another] = [await world.publish(), await world.publish()];
      await call(world.process, caller, agentId, { idempotencyKey });
      const input = { question: 'why?' };
      assert.equal(
        endOf(await call(second(), caller, agentId, { idempotencyKey, input })),
        'IDEMPOTENCY_CONFLICT',
      );
      assert.equal(endOf(await call(second(), caller, another, { idempotencyKey })), 'IDEMPOTENCY_CONFLICT');
      assert.equal(await spent(caller), 10n * CREDIT);
    });

    test('another API key of the same organization may use the same idempotency key', async () => {
      const [caller, stranger] = [await world.newCaller('100'), await world.newCaller('100')];
      const agentId = await world.publish();
      assert.equal(endOf(await call(world.process, caller, agentId, { idempotencyKey })), 'answer');
      assert.equal(endOf(await call(second(), stranger, agentId, { idempotencyKey })), 'answer');
    });

    test('a call that is still running is joined, and a conflict with it is told at once', async () => {
      const caller = await world.newCaller('100');
      const agentId = await world.publish();
      world.seller.automatic = undefined;
      const first = call(world.process, caller, agentId, { idempotencyKey });
      const visit = await world.seller.visit(0);
      const joined = [1, 2, 3].map(() => call(second(), caller, agentId, { idempotencyKey }));
      const input = { question: 'why?' };
      assert.equal(
        endOf(await call(second(), caller, agentId, { idempotencyKey, input })),
        'IDEMPOTENCY_CONFLICT',
      );
      visit.answer({ answer: 'so' });
      assert.equal(endOf(await first), 'answer');
      for (const result of await Promise.all(joined)) {
        assert.ok(result.kind === 'answer');
        assert.deepEqual(result.answer.output, { answer: 'so' });
      }
      assert.equal(world.seller.visits.length, 1);
      assert.equal(await spent(caller), 10n * CREDIT);
    });

    test('a refunded call frees the key: the next one is a purchase of its own', async () => {
      const caller = await world.newCaller('100');
      const agentId = await world.publish();
      world.seller.automatic = ({ response }) => response.writeHead(500).end();
      assert.equal(endOf(await call(world.process, caller, agentId, { idempotencyKey })), 'AGENT_ERROR');
      world.seller.automatic = (visit) => visit.answer({ answer: 'so' });
      assert.equal(endOf(await call(second(), caller, agentId, { idempotencyKey })), 'answer');
      assert.equal(await spent(caller), 10n * CREDIT);
    });

    test('a call that was refused for want of money leaves the key free', async () => {
      const caller = await world.newCaller('5');
      const agentId = await world.publish();
      const cheap = await world.publish({ pricing: { model: 'per_call', credits_per_call: '5' } });
      assert.equal(endOf(await call(world.process, caller, agentId, { idempotencyKey })), 'PAYMENT_REQUIRED');
      assert.equal(endOf(await call(second(), caller, cheap, { idempotencyKey })), 'answer');
    });
  });
}

test('fifty identical calls at once through two processes are one purchase', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish();
  const results = await Promise.all(
    Array.from({ length: 50 }, (_, n) =>
      call(n % 2 ? other : world.process, caller, agentId, { idempotencyKey }),
    ),
  );
  for (const result of results) {
    assert.ok(result.kind === 'answer', endOf(result));
    assert.deepEqual(result.answer.output, { answer: 'number 1' });
  }
  assert.equal(world.seller.visits.length, 1);
  assert.equal(await spent(caller), 10n * CREDIT);
});

test('a replayed and a joined call leave a record of their own that names the paid one', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish();
  world.seller.automatic = undefined;
  const first = call(world.process, caller, agentId, { idempotencyKey });
  const visit = await world.seller.visit(0);
  const joined = call(world.process, caller, agentId, { idempotencyKey });
  visit.answer({ answer: 'once' });
  await Promise.all([first, joined]);
  await call(world.process, caller, agentId, { idempotencyKey });
  const records = await world.records(caller);
  const paid = records.filter((record) => record.outcome === 'settled');
  const replays = records.filter((record) => record.outcome === 'replayed');
  assert.deepEqual([paid.length, replays.length], [1, 2]);
  for (const replay of replays) {
    assert.equal(replay.replay_of, paid[0]?.call_id);
    assert.deepEqual([replay.held, replay.charged, replay.code], ['0', '0', null]);
  }
});

test('without a key two equal calls are two purchases, delivered or not joined', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish({ capabilities: { idempotent: true } });
  const ends = await Promise.all([1, 2].map(() => call(world.process, caller, agentId).then(endOf)));
  assert.deepEqual(
    [...ends, endOf(await call(world.process, caller, agentId))],
    ['answer', 'answer', 'answer'],
  );
  assert.equal(await spent(caller), 30n * CREDIT);
});
