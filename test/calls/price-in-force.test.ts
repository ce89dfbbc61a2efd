import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { invariant } from '../../src/base/invariant.ts';
import { removeExpired } from '../../src/calls/sweeper.ts';
import { createPriceListings } from '../../src/calls/price-listings.ts';
import { openDatabase } from '../../src/db/db.ts';
import type { Caller } from '../../src/identity/caller.ts';
import { call, endOf, openWorld, type Process, type World } from '../support/world.ts';
import { receiptOf } from '../support/receipt-of.ts';

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
  world.seller.automatic = (visit) => visit.answer({ answer: 'so' });
});

/** Publishes an agent at a price, or its next version at another one. */
async function sell(pricing: string | Record<string, unknown>, agentId?: string, minor = 0): Promise<string> {
  return world.publish({
    ...(agentId === undefined ? {} : { agent_id: agentId }),
    version: `1.${minor}.0`,
    pricing: typeof pricing === 'string' ? { model: 'per_call', credits_per_call: pricing } : pricing,
  });
}

function agentAt(process: Process, agentId: string) {
  const agent = process.catalog.find(agentId);
  invariant(agent, 'the agent is for sale');
  return agent;
}

/** Shows the key an agent's price, as a list does. */
async function list(process: Process, caller: Caller, ...agentIds: string[]): Promise<void> {
  await process.prices.show(
    caller.keyId,
    agentIds.map((agentId) => agentAt(process, agentId)),
  );
}

async function chargeOf(process: Process, caller: Caller, agentId: string): Promise<string | undefined> {
  return receiptOf(await call(process, caller, agentId)).charged;
}

test('a price that rises after it was shown to a key is held, charged, shared and receipted as it was shown', async () => {
  const caller = await world.newCaller('10');
  const agentId = await sell('10');
  await list(world.process, caller, agentId);
  await sell('20', agentId, 1);
  const result = await call(world.process, caller, agentId);
  assert.equal(endOf(result), 'answer');
  const { held, charged, fee, agent_version } = receiptOf(result);
  assert.deepEqual([held, charged, fee, agent_version], ['10', '10', '0.3', '1.1.0']);
  assert.deepEqual(await world.money(caller), { posted: 0n, held: 0n, earned: 9_700_000n, fees: 300_000n });
});

test('a key that is shown the new price pays the new price', async () => {
  const caller = await world.newCaller('100');
  const agentId = await sell('10');
  await list(world.process, caller, agentId);
  await sell('20', agentId, 1);
  assert.equal(await chargeOf(world.process, caller, agentId), '10');
  await list(world.process, caller, agentId);
  assert.equal(await chargeOf(world.process, caller, agentId), '20');
});

/** As if it had been that long since every price was shown to this key. */
async function passTime(caller: Caller, interval: string): Promise<void> {
  await world.database.pool.query(
    'UPDATE price_listings SET shown_at = shown_at - $2::interval WHERE key_id = $1',
    [caller.keyId, interval],
  );
}

test('a price binds for a day after it was last shown, and not for ever', async () => {
  const caller = await world.newCaller('100');
  const agentId = await sell('10');
  await list(world.process, caller, agentId);
  await sell('20', agentId, 1);
  await passTime(caller, '24 hours');
  assert.equal(await chargeOf(other, caller, agentId), '10');
  await passTime(caller, '16 minutes');
  assert.equal(await chargeOf(world.process, caller, agentId), '20');
});

test('a price that is shown all the time binds all the time, and is written down four times an hour', async () => {
  const caller = await world.newCaller('100');
  const agentId = await sell('10');
  const page = [agentAt(world.process, agentId)];
  let elapsedMs = 5;
  const clock = { now: () => 0, elapsed: () => elapsedMs };
  const prices = createPriceListings(world.database, clock);
  const shownAt = async (): Promise<unknown> =>
    (
      await world.database.pool.query<{ at: string }>(
        'SELECT shown_at::text AS at FROM price_listings WHERE key_id = $1',
        [caller.keyId],
      )
    ).rows[0]?.at;
  await prices.show(caller.keyId, page);
  const first = await shownAt();
  elapsedMs += 15 * 60_000;
  // Neither as the same page, nor as another one with the same agent.
  assert.equal(prices.show(caller.keyId, page), undefined);
  assert.equal(prices.show(caller.keyId, [...page]), undefined);
  elapsedMs += 1;
  await prices.show(caller.keyId, [...page]);
  assert.notEqual(await shownAt(), first);
});

test('what was shown more than a day ago is forgotten', async () => {
  const caller = await world.newCaller('100');
  const [old, recent] = [await sell('10'), await sell('10')];
  await list(world.process, caller, old);
  await passTime(caller, '25 hours');
  await list(world.process, caller, recent);
  await removeExpired(world.process);
  const { rows } = await world.database.pool.query('SELECT agent_id FROM price_listings WHERE key_id = $1', [
    caller.keyId,
  ]);
  assert.deepEqual(rows, [{ agent_id: recent }]);
});

test('a price that falls is paid at once, and what was shown bounds every later one', async () => {
  const caller = await world.newCaller('100');
  const agentId = await sell('10');
  await list(world.process, caller, agentId);
  await sell('4', agentId, 1);
  assert.equal(await chargeOf(world.process, caller, agentId), '4');
  await sell('8', agentId, 2);
  assert.equal(await chargeOf(world.process, caller, agentId), '8', 'four was never shown');
  await sell('12', agentId, 3);
  assert.equal(await chargeOf(world.process, caller, agentId), '10');
});

test('a key that was never shown a price pays today’s, and so does another key of the organization', async () => {
  const caller = await world.newCaller('100');
  const stranger = await world.newCaller('100');
  const agentId = await sell('10');
  await list(world.process, caller, agentId);
  await sell('20', agentId, 1);
  assert.equal(await chargeOf(world.process, stranger, agentId), '20');
  assert.equal(await chargeOf(world.process, caller, agentId), '10');
});

test('being shown one agent’s price says nothing about another’s', async () => {
  const caller = await world.newCaller('100');
  const [agentId, another] = [await sell('10'), await sell('10')];
  await list(world.process, caller, agentId, another);
  await sell('20', agentId, 1);
  await sell('20', another, 1);
  await list(world.process, caller, another);
  assert.equal(await chargeOf(world.process, caller, agentId), '10');
  assert.equal(await chargeOf(world.process, caller, another), '20');
});

test('what one gateway has shown binds every other one, also one that starts later', async () => {
  const caller = await world.newCaller('100');
  const agentId = await sell('10');
  await list(world.process, caller, agentId);
  await sell('20', agentId, 1);
  assert.equal(await chargeOf(other, caller, agentId), '10');
  const restarted = await world.openProcess();
  assert.equal(await chargeOf(restarted, caller, agentId), '10');
  await list(other, caller, agentId);
  for (const process of [world.process, other, restarted]) {
    assert.equal(await chargeOf(process, caller, agentId), '20');
  }
  await restarted.close();
});

test('a gateway that has not heard of a new price does not take back that another has shown it', async () => {
  const caller = await world.newCaller('100');
  const agentId = await sell('10');
  const before = agentAt(other, agentId);
  await sell('20', agentId, 1);
  await list(world.process, caller, agentId);
  await other.prices.show(caller.keyId, [before]);
  const restarted = await world.openProcess();
  assert.equal(await chargeOf(restarted, caller, agentId), '20');
  await restarted.close();
});

test('max_credits, caps and balance are held against the price in force', async () => {
  const caller = await world.newCaller('30', { caps: { maxPerCallMicros: 10n * CREDIT } });
  const agentId = await sell('10');
  await list(world.process, caller, agentId);
  await sell('20', agentId, 1);
  const within = await call(world.process, caller, agentId, { maxMicros: 10n * CREDIT });
  assert.equal(endOf(within), 'answer');
  const beyond = await call(world.process, caller, agentId, { maxMicros: 10n * CREDIT - 1n });
  assert.equal(endOf(beyond), 'BUDGET_EXCEEDED');
  assert.ok(beyond.kind === 'problem');
  assert.equal(beyond.problem.extras.needed, '10');
  await list(world.process, caller, agentId);
  assert.equal(endOf(await call(world.process, caller, agentId)), 'BUDGET_EXCEEDED', 'the cap of the key');
  assert.equal((await world.money(caller)).posted, 20n * CREDIT);
});

describe('metered agents', () => {
  const metered = (perUnit: string, max: string, unit = 'page') => ({
    model: 'per_unit',
    unit,
    credits_per_unit: perUnit,
    max,
  });
  const report = (usage: string): void => {
    world.seller.automatic = (visit) => visit.answer({ answer: 'so' }, { 'x-sentinel-usage': usage });
  };

  test('the unit and the most are each the cheaper of what was shown and what is', async () => {
    const caller = await world.newCaller('100');
    const agentId = await sell(metered('1', '10'));
    await list(world.process, caller, agentId);
    await sell(metered('2', '6'), agentId, 1);
    report('4');
    const result = await call(world.process, caller, agentId);
    assert.deepEqual([receiptOf(result).held, receiptOf(result).charged], ['6', '4']);
  });

  const CHANGES: [title: string, before: string | object, after: string | object, isRefused: boolean][] = [
    ['a fixed price that became a metered one within it', '10', metered('1', '10'), false],
    ['a fixed price that became a metered one beyond it', '10', metered('1', '10.000001'), true],
    ['a metered price that became a fixed one', metered('1', '10'), '1', true],
    ['a price for another unit', metered('1', '10'), metered('1', '10', 'line'), true],
  ];
  for (const [title, earlier, later, isRefused] of CHANGES) {
    test(`${title} is ${isRefused ? 'refused with the new one, free, until it is accepted' : 'paid as it is now'}`, async () => {
      const caller = await world.newCaller('100');
      const agentId = await sell(earlier as string);
      await list(other, caller, agentId);
      await sell(later as string, agentId, 1);
      report('3');
      const first = await call(world.process, caller, agentId);
      const accepted = isRefused ? await call(other, caller, agentId) : first;
      assert.equal(receiptOf(accepted).charged, later === '1' ? '1' : '3');
      if (!isRefused) return;
      assert.ok(first.kind === 'problem');
      assert.equal(first.problem.code, 'PRICE_CHANGED');
      assert.equal(first.receipt, undefined);
      assert.ok(first.problem.message.includes('Nothing was charged'));
      assert.equal(first.problem.extras.price?.['model'], later === '1' ? 'per_call' : 'per_unit');
      assert.equal(world.seller.visits.length, 1, 'the refused call did not reach the agent');
      const refused = (await world.records(caller)).find(({ outcome }) => outcome === 'refused');
      assert.deepEqual([refused?.code, refused?.held], ['PRICE_CHANGED', '0']);
    });
  }
});

test('a price that cannot be written down is not shown', async () => {
  const caller = await world.newCaller('10');
  const agentId = await sell('10');
  const closed = openDatabase(world.url, { log: silentLog, maxConnections: 1 });
  await closed.close();
  const prices = createPriceListings(closed, systemClock);
  await assert.rejects(async () => prices.show(caller.keyId, [agentAt(world.process, agentId)]));
});

test('a list that was shown before, and an agent that never was cheaper, ask the database nothing', async () => {
  const caller = await world.newCaller('100');
  const agentId = await sell('10');
  const page = [agentAt(world.process, agentId)];
  await world.process.prices.show(caller.keyId, page);
  assert.equal(world.process.prices.show(caller.keyId, page), undefined);
  assert.equal(world.process.prices.show(caller.keyId, [...page]), undefined);
  await sell('5', agentId, 1);
  const closed = openDatabase(world.url, { log: silentLog, maxConnections: 1 });
  await closed.close();
  const { price } = await createPriceListings(closed, systemClock).inForce(
    caller.keyId,
    agentAt(world.process, agentId),
  );
  assert.equal(price.maxMicros, 5n * CREDIT);
});

test('a version at the same price is not written down again', async () => {
  const caller = await world.newCaller('100');
  const agentId = await sell('10');
  await list(world.process, caller, agentId);
  await sell('10', agentId, 1);
  assert.equal(world.process.prices.show(caller.keyId, [agentAt(world.process, agentId)]), undefined);
});

test('what a revoked key was shown is forgotten', async () => {
  const [caller, stays] = [await world.newCaller('10'), await world.newCaller('10')];
  const agentId = await sell('10');
  await list(world.process, caller, agentId);
  await list(world.process, stays, agentId);
  await world.database.pool.query('UPDATE api_keys SET revoked_at = now() WHERE id = $1', [caller.keyId]);
  await removeExpired(world.process);
  const { rows } = await world.database.pool.query<{ key_id: string }>(
    'SELECT key_id FROM price_listings WHERE agent_id = $1',
    [agentId],
  );
  assert.deepEqual(rows, [{ key_id: stays.keyId }]);
});

test('whatever is published, shown and called in whatever order and gateway, a call costs the cheaper of what was last shown and today’s', async () => {
  const caller = await world.newCaller('1000000', { ratePerMinute: 1_000_000 });
  const step = fc.oneof(
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('publish' as const),
        credits: fc.integer({ min: 1, max: 9 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('list' as const), on: fc.nat(1) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('call' as const), on: fc.nat(1) }) },
  );
  const processes = [world.process, other];
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 12 }), async (steps) => {
      let today = 5;
      let shown: number | undefined;
      let version = 0;
      const agentId = await sell(String(today));
      for (const each of steps) {
        if (each.kind === 'publish') {
          today = each.credits;
          await sell(String(today), agentId, ++version);
        } else {
          const process = processes[each.on];
          assert.ok(process);
          if (each.kind === 'list') {
            await list(process, caller, agentId);
            shown = today;
          } else {
            const cheaper = shown === undefined || today < shown ? today : shown;
            assert.equal(await chargeOf(process, caller, agentId), String(cheaper));
          }
        }
      }
    }),
    { numRuns: 250, interruptAfterTimeLimit: 90_000 },
  );
});
