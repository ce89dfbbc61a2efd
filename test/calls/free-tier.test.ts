import assert from 'node:assert/strict';
import { EXPIRED_RECEIPT } from '../../src/audit/receipts.ts';
import { after, before, beforeEach, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { newId } from '../../src/base/ids.ts';
import { invariant } from '../../src/base/invariant.ts';
import type { CallResult } from '../../src/calls/call.ts';
import { issueKey } from '../../src/governance/issue-key.ts';
import { removeExpired } from '../../src/calls/sweeper.ts';
import { createAuthenticator } from '../../src/identity/authenticate.ts';
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

function sell(freeCalls: number, changes: Record<string, unknown> = {}): Promise<string> {
  return world.publish({
    pricing: { model: 'per_call', credits_per_call: '10', free_tier_calls: freeCalls },
    ...changes,
  });
}

async function charges(
  count: number,
  make: (n: number) => Promise<CallResult>,
): Promise<(string | undefined)[]> {
  const charged: (string | undefined)[] = [];
  for (let n = 0; n < count; n += 1) charged.push(receiptOf(await make(n)).charged);
  return charged;
}

async function leftOf(caller: Caller, agentId: string, limit: number, at = new Date()): Promise<number> {
  return world.process.freeCalls.countLeft({ accountId: caller.accountId, agentId, at }, limit);
}

test('the free calls of a month are held and settled at nothing, and the next one is paid', async () => {
  const caller = await world.newCaller('10');
  const agentId = await sell(2);
  const free = await call(world.process, caller, agentId);
  const { held, charged, fee, outcome } = receiptOf(free);
  assert.deepEqual([endOf(free), held, charged, fee, outcome], ['answer', '0', '0', '0', 'settled']);
  assert.equal(await leftOf(caller, agentId, 2), 1);
  assert.deepEqual(await charges(2, () => call(other, caller, agentId)), ['0', '10']);
  assert.equal(await leftOf(caller, agentId, 2), 0);
  assert.deepEqual(await world.money(caller), { posted: 0n, held: 0n, earned: 9_700_000n, fees: 300_000n });
});

test('a buyer without a credit may make the free calls, also with max_credits of nothing, and then has to pay', async () => {
  const caller = await world.newCaller('0');
  const agentId = await sell(2);
  assert.equal(endOf(await call(world.process, caller, agentId, { maxMicros: 0n })), 'answer');
  assert.equal(endOf(await call(world.process, caller, agentId)), 'answer');
  assert.equal(endOf(await call(world.process, caller, agentId)), 'PAYMENT_REQUIRED');
  assert.equal(world.seller.visits.length, 2);
});

test('of 200 parallel calls in two gateways exactly 5 are free when 5 are', async () => {
  const caller = await world.newCaller('10000');
  const agentId = await sell(5);
  const results = await Promise.all(
    Array.from({ length: 200 }, (_, n) => call(n % 2 ? other : world.process, caller, agentId)),
  );
  assert.ok(results.every((result) => endOf(result) === 'answer'));
  assert.equal(results.filter((result) => receiptOf(result).charged === '0').length, 5);
  assert.equal((await world.money(caller)).posted, (10_000n - 1_950n) * CREDIT);
});

test('a call that was refunded was not one of them', async () => {
  const caller = await world.newCaller('10');
  const agentId = await sell(1);
  world.seller.automatic = ({ response }) => response.writeHead(500).end();
  const failed = await call(world.process, caller, agentId);
  assert.deepEqual([endOf(failed), receiptOf(failed).held], ['AGENT_ERROR', '0']);
  assert.equal(await leftOf(caller, agentId, 1), 1);
  world.seller.automatic = (visit) => visit.answer({ answer: 'so' });
  assert.deepEqual(await charges(2, () => call(world.process, caller, agentId)), ['0', '10']);
});

test('a call under way counts, and when it is refunded the next one is free again', async () => {
  const caller = await world.newCaller('100');
  const agentId = await sell(1);
  world.seller.automatic = undefined;
  const first = call(world.process, caller, agentId);
  const visit = await world.seller.visit(0);
  assert.equal(await leftOf(caller, agentId, 1), 0);
  world.seller.automatic = (next) => next.answer({ answer: 'so' });
  for (const process of [world.process, other]) {
    assert.equal(receiptOf(await call(process, caller, agentId)).charged, '10');
  }
  visit.response.destroy();
  assert.equal(endOf(await first), 'AGENT_UNREACHABLE');
  assert.equal(receiptOf(await call(world.process, caller, agentId)).charged, '0');
});

test('a call that is refused before its hold gives its place back at once', async () => {
  const caller = await world.newCaller('10', { maxConcurrent: 1 });
  const agentId = await sell(2);
  world.seller.automatic = undefined;
  const running = call(world.process, caller, agentId);
  const visit = await world.seller.visit(0);
  assert.equal(endOf(await call(world.process, caller, agentId)), 'RATE_LIMITED');
  assert.equal(await leftOf(caller, agentId, 2), 1);
  visit.answer({ answer: 'so' });
  assert.equal(receiptOf(await running).charged, '0');
});

test('a place whose gateway died before the hold counts for a minute, and one whose hold expired not at all', async () => {
  const caller = await world.newCaller('10');
  const agentId = await sell(1);
  const tier = { accountId: caller.accountId, agentId, at: new Date() };
  const take = (): Promise<boolean> => world.process.freeCalls.take(newId('call'), tier, 1);
  assert.equal(await take(), true);
  assert.equal(await take(), false);
  const age = "UPDATE free_calls SET taken_at = now() - interval '61 seconds' WHERE agent_id = $1";
  await world.database.pool.query(age, [agentId]);
  assert.equal(await leftOf(caller, agentId, 1), 1);

  const callId = newId('call');
  assert.equal(await world.process.freeCalls.take(callId, tier, 1), true);
  const { accounts, ledger } = world.process;
  const hold = {
    callId,
    buyer: caller.accountId,
    seller: await accounts.earnings(agentAt(agentId).sellerId, 'live'),
    fees: await accounts.fees('live'),
    amountMicros: 0n,
    ttlMs: 60_000,
    keyId: caller.keyId,
    agentId,
    meters: [],
    idempotency: undefined,
  };
  assert.deepEqual(await ledger.hold(hold), { kind: 'placed' });
  await world.database.pool.query(age, [agentId]);
  assert.equal(await take(), false, 'an open hold counts, however old');
  const expire =
    "UPDATE ledger_holds SET expires_at = created_at + interval '1 microsecond' WHERE agent_id = $1";
  await world.database.pool.query(expire, [agentId]);
  assert.equal((await ledger.expireHolds(10, EXPIRED_RECEIPT)).length, 1);
  assert.equal(await take(), true);
});

function agentAt(agentId: string) {
  const agent = world.process.catalog.find(agentId);
  invariant(agent, 'the agent is for sale');
  return agent;
}

test('they begin anew with the UTC month, and the old ones are forgotten', async () => {
  const caller = await world.newCaller('100');
  const agentId = await sell(1);
  let now = Date.parse('2030-01-31T23:59:59.999Z');
  const process = await world.openProcess({ clock: { ...systemClock, now: () => now } });
  assert.deepEqual(await charges(2, () => call(process, caller, agentId)), ['0', '10']);
  now += 1;
  assert.equal(await leftOf(caller, agentId, 1, new Date(now)), 1);
  assert.deepEqual(await charges(2, () => call(process, caller, agentId)), ['0', '10']);
  await process.close();

  const old = "UPDATE free_call_months SET month = '2020-01-01' WHERE agent_id = $1 AND month = '2030-01-01'";
  await world.database.pool.query(old, [agentId]);
  await removeExpired(world.process);
  const { rows } = await world.database.pool.query<{ month: string }>(
    'SELECT month::text FROM free_call_months WHERE agent_id = $1',
    [agentId],
  );
  assert.deepEqual(rows, [{ month: '2030-02-01' }]);
});

test('keys of one organization share them, and test credits are counted apart', async () => {
  const first = await world.newCaller('100');
  const authenticator = createAuthenticator(world.database.db, () => false);
  const keyOf = async (currency: 'live' | 'test'): Promise<Caller> => {
    const { key } = await issueKey(world.database.db, { organizationId: first.organizationId, currency });
    return authenticator.authenticate({ authorization: undefined, apiKey: key });
  };
  const [second, testing] = [await keyOf('live'), await keyOf('test')];
  const agentId = await sell(1);
  assert.equal(receiptOf(await call(world.process, first, agentId)).charged, '0');
  assert.equal(receiptOf(await call(world.process, testing, agentId)).charged, '0');
  assert.equal(receiptOf(await call(world.process, second, agentId)).charged, '10');
});

test('a replay of a free call takes no other', async () => {
  const caller = await world.newCaller('10');
  const agentId = await sell(2);
  const idempotencyKey = 'a-key-of-sixteen-chars';
  for (const process of [world.process, other, world.process])
    await call(process, caller, agentId, { idempotencyKey });
  assert.equal(world.seller.visits.length, 1);
  assert.equal(await leftOf(caller, agentId, 2), 1);
});

test('free calls that were shown to a key stay, and more of them are there at once', async () => {
  const caller = await world.newCaller('100');
  const agentId = await sell(2);
  await world.process.prices.show(caller.keyId, [agentAt(agentId)]);
  await sell(0, { agent_id: agentId, version: '1.1.0' });
  assert.deepEqual(await charges(3, () => call(other, caller, agentId)), ['0', '0', '10']);
  await sell(3, { agent_id: agentId, version: '1.2.0' });
  assert.deepEqual(await charges(2, () => call(other, caller, agentId)), ['0', '10']);
});

test('a free call is made though the price has changed beyond comparison', async () => {
  const caller = await world.newCaller('100');
  const agentId = await sell(1);
  await world.process.prices.show(caller.keyId, [agentAt(agentId)]);
  const pricing = { model: 'per_unit', unit: 'page', credits_per_unit: '1', max: '50' };
  await sell(0, { agent_id: agentId, version: '1.1.0', pricing });
  world.seller.automatic = (visit) => visit.answer({ answer: 'so' }, { 'x-sentinel-usage': '3' });
  assert.equal(receiptOf(await call(world.process, caller, agentId)).charged, '0');
  assert.equal(endOf(await call(world.process, caller, agentId)), 'PRICE_CHANGED');
});

test('what a metered agent used in a free call is not charged, and is no over-report', async () => {
  const caller = await world.newCaller('0');
  const agentId = await sell(1, {
    pricing: { model: 'per_unit', unit: 'page', credits_per_unit: '1', max: '5', free_tier_calls: 1 },
  });
  world.seller.automatic = (visit) => visit.answer({ answer: 'so' }, { 'x-sentinel-usage': '5' });
  assert.equal(receiptOf(await call(world.process, caller, agentId)).charged, '0');
  assert.equal((await world.lastRecord(caller)).over_reported, false);
});

test('a buyer who has had them all, and an agent without any, ask the database nothing', async () => {
  const caller = await world.newCaller('100');
  const agentId = await sell(1);
  await charges(2, () => call(world.process, caller, agentId));
  const tier = { accountId: caller.accountId, agentId, at: new Date() };
  await world.database.pool.query('UPDATE free_call_months SET settled_calls = 0 WHERE agent_id = $1', [
    agentId,
  ]);
  assert.equal(await world.process.freeCalls.take(newId('call'), tier, 1), false, 'remembered, not asked');
  assert.equal(await other.freeCalls.take(newId('call'), tier, 1), true, 'asked, not remembered');
  assert.equal(await leftOf(caller, agentId, 0), 0);
});

test('what is kept of them does not grow with their number', async () => {
  const caller = await world.newCaller('0');
  const agentId = await sell(1_000_000);
  await charges(20, (n) => call(n % 2 ? other : world.process, caller, agentId));
  const { rows } = await world.database.pool.query<{ open: number; settled: number }>(
    `SELECT (SELECT count(*)::int FROM free_calls WHERE agent_id = $1) AS open, settled_calls AS settled
     FROM free_call_months WHERE agent_id = $1`,
    [agentId],
  );
  assert.deepEqual(rows, [{ open: 1, settled: 19 }]);
  assert.equal(await leftOf(caller, agentId, 1_000_000), 999_980);
});
