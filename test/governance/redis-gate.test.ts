import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Redis } from 'ioredis';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import type { Gate } from '../../src/governance/gate.ts';
import { createMemoryGate } from '../../src/governance/memory-gate.ts';
import { createRedisGate } from '../../src/governance/redis-gate.ts';
import {
  createTestRedis,
  skipWithoutRedis,
  skipWithoutRedisServer,
  startRedis,
  type TestRedis,
} from '../support/redis.ts';
import { callerWith, enter, tally } from './requests.ts';

async function openGate(url: string, prefix = 'sentinel-test:'): Promise<Gate> {
  const gate = createRedisGate(url, createMemoryGate(systemClock), { log: silentLog, prefix });
  await until(() => gate.state() === 'shared');
  return gate;
}

async function until(isTrue: () => boolean): Promise<void> {
  for (const deadline = performance.now() + 20_000; performance.now() < deadline;) {
    if (isTrue()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.fail('it did not happen within 20 s');
}

describe('two gates on one Redis', { skip: skipWithoutRedis }, () => {
  let redis: TestRedis;
  let gates: Gate[];
  const gateOf = (n: number): Gate => gates[n % 2] as Gate;
  before(async () => {
    redis = await createTestRedis();
    gates = [await openGate(redis.url, redis.prefix), await openGate(redis.url, redis.prefix)];
  });
  after(async () => {
    for (const gate of gates) await gate.close();
    await redis.close();
  });

  test('admit exactly 10 of 100 calls that come at once to a key that may have 10', async () => {
    const caller = callerWith({ maxConcurrent: 10 });
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => enter(gateOf(n), caller)));
    assert.deepEqual(tally(answers), { entered: 10, too_many_at_once: 90 });
    for (const answer of answers) if (answer.kind === 'entered') answer.leave(0n);
    // The commands of one connection are answered in order: what this gate was told is done.
    await Promise.all(gates.map((gate) => enter(gate, callerWith({}))));
    const again = await Promise.all(Array.from({ length: 20 }, (_, n) => enter(gateOf(n), caller)));
    assert.deepEqual(tally(again), { entered: 10, too_many_at_once: 10 });
  });

  test('share one rate, and let exactly a minute of calls come at once', async () => {
    for (const ratePerMinute of [1, 3, 7, 13, 97]) {
      const caller = callerWith({ ratePerMinute });
      const asked = Array.from({ length: ratePerMinute + 20 }, (_, n) => enter(gateOf(n), caller));
      const { entered = 0 } = tally(await Promise.all(asked));
      assert.equal(entered, ratePerMinute);
    }
  });

  test('share a noted balance, and what comes back to it once', async () => {
    const caller = callerWith({});
    gateOf(0).noteBalance(caller.accountId, 25n);
    await enter(gateOf(0), callerWith({}));
    const first = await enter(gateOf(1), caller);
    assert.equal((await enter(gateOf(0), caller)).kind, 'entered');
    assert.deepEqual(await enter(gateOf(1), caller), { kind: 'insufficient', availableMicros: 5n });
    assert.ok(first.kind === 'entered');
    first.leave(10n);
    first.leave(10n);
    assert.equal((await enter(gateOf(1), caller)).kind, 'entered');
    assert.equal((await enter(gateOf(1), caller)).kind, 'insufficient');
    gateOf(1).forgetBalance(caller.accountId);
    assert.equal((await enter(gateOf(1), caller)).kind, 'entered');
  });

  test('free the place of a call whose process never said that it ended', async () => {
    const caller = callerWith({ maxConcurrent: 1 });
    assert.equal((await enter(gateOf(0), caller, 10n, 50)).kind, 'entered');
    const asked = performance.now();
    let kind = 'too_many_at_once';
    while (kind === 'too_many_at_once') ({ kind } = await enter(gateOf(1), caller, 10n, 50));
    assert.equal(kind, 'entered');
    assert.ok(performance.now() - asked < 10_000);
  });
});

describe('a Redis that goes away', { skip: skipWithoutRedisServer }, () => {
  test('stops no call: limits are local, the gate says so, and shares again when it is back', async () => {
    const server = await startRedis();
    const gate = await openGate(server.url);
    try {
      const caller = callerWith({ maxConcurrent: 5 });
      const flood = callerWith({});
      const over = new AbortController();
      const kinds = new Set<string>();
      const load = Array.from({ length: 20 }, async () => {
        while (!over.signal.aborted) {
          const answer = await enter(gate, flood);
          kinds.add(answer.kind);
          if (answer.kind === 'entered') answer.leave(0n);
          await new Promise((resolve) => setImmediate(resolve));
        }
      });
      await enter(gate, callerWith({}));
      await server.kill();
      await until(() => gate.state() === 'degraded');
      const answers = await Promise.all(Array.from({ length: 30 }, () => enter(gate, caller)));
      assert.deepEqual(tally(answers), { entered: 5, too_many_at_once: 25 }, 'limits hold in this process');
      const back = await startRedis(server.port);
      try {
        await until(() => gate.state() === 'shared');
        assert.equal((await enter(gate, callerWith({}))).kind, 'entered');
      } finally {
        over.abort();
        await Promise.all(load);
        await back.kill();
      }
      assert.deepEqual([...kinds], ['entered'], 'no call was refused or failed for it');
    } finally {
      await gate.close();
      await server.kill().catch(() => {});
    }
  });

  test('and only stalls does not keep the places of the calls it let in unheard', async () => {
    const server = await startRedis();
    const gate = await openGate(server.url);
    const admin = new Redis(server.url);
    try {
      const caller = callerWith({ maxConcurrent: 3 });
      await admin.client('PAUSE', 600, 'ALL');
      const during = await Promise.all([1, 2, 3].map(() => enter(gate, caller)));
      assert.deepEqual(tally(during), { entered: 3 });
      await admin.ping();
      // Redis has by now done what it was told while it stalled, the leaving included.
      const kinds = await Promise.all([1, 2, 3].map(() => enter(gate, caller)));
      assert.deepEqual(tally(kinds), { entered: 3 });
      assert.equal(await admin.zcard(`sentinel-test:running:${caller.keyId}`), 3);
    } finally {
      admin.disconnect();
      await gate.close();
      await server.kill();
    }
  });
});
