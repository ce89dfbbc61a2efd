import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import type pg from 'pg';
import { publishAgent } from '../../src/catalog/publish.ts';
import { suspendAgent } from '../../src/catalog/standing.ts';
import { recordUnrecorded } from '../../src/calls/record-unrecorded.ts';
import { createSweeper } from '../../src/calls/sweeper.ts';
import { call, endOf, manifestOf, openWorld, type World } from '../support/world.ts';
import { receiptOf } from '../support/receipt-of.ts';

const CREDIT = 1_000_000n;
let world: World;
before(async () => {
  world = await openWorld();
});
after(() => world.close());
beforeEach(() => {
  world.seller.visits = [];
  world.seller.automatic = (visit) => visit.answer({ answer: 'so' });
});

/** How many of each end there were. */
function tally(ends: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const end of ends) counts[end] = (counts[end] ?? 0) + 1;
  return counts;
}

test('of 200 parallel calls on a balance for 10, exactly 10 reach the seller', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish();
  const other = await world.openProcess();
  const ends = await Promise.all(
    Array.from({ length: 200 }, (_, n) => call(n % 2 ? other : world.process, caller, agentId).then(endOf)),
  );
  assert.deepEqual(tally(ends), { answer: 10, PAYMENT_REQUIRED: 190 });
  assert.equal(world.seller.visits.length, 10);
  assert.deepEqual(await world.money(caller), {
    posted: 0n,
    held: 0n,
    earned: 97n * CREDIT,
    fees: 3n * CREDIT,
  });
  await other.close();
  assert.equal((await world.records(caller)).length, 200);
});

for (const caps of [
  { capDayMicros: 70n * CREDIT },
  { capMonthMicros: 79_999_999n },
  { capTotalMicros: 75n * CREDIT },
]) {
  test(`100 parallel calls of two processes cannot pass ${Object.keys(caps)[0]}`, async () => {
    const caller = await world.newCaller('10000', { caps });
    const agentId = await world.publish();
    const other = await world.openProcess();
    const ends = await Promise.all(
      Array.from({ length: 100 }, (_, n) => call(n % 2 ? other : world.process, caller, agentId).then(endOf)),
    );
    assert.deepEqual(tally(ends), { answer: 7, BUDGET_EXCEEDED: 93 });
    assert.equal(world.seller.visits.length, 7);
    assert.equal((await world.money(caller)).posted, 9_930n * CREDIT);
    await other.close();
  });
}

test('a refunded call gives back to the cap, and the next one may be made', async () => {
  const caller = await world.newCaller('100', { caps: { capDayMicros: 10n * CREDIT } });
  const agentId = await world.publish();
  world.seller.automatic = ({ response }) => response.writeHead(500).end();
  assert.equal(endOf(await call(world.process, caller, agentId)), 'AGENT_ERROR');
  world.seller.automatic = (visit) => visit.answer({ answer: 'so' });
  assert.equal(endOf(await call(world.process, caller, agentId)), 'answer');
  assert.equal(endOf(await call(world.process, caller, agentId)), 'BUDGET_EXCEEDED');
});

test('an agent that is suspended during a call is still paid for it, and sells no more', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish();
  world.seller.automatic = undefined;
  const running = call(world.process, caller, agentId);
  const visit = await world.seller.visit(0);
  await world.database.db.transaction((tx) => suspendAgent(tx, agentId));
  await world.process.catalog.refresh(agentId);
  visit.answer({ answer: 'so' });
  assert.equal(endOf(await running), 'answer');
  assert.equal((await world.money(caller)).posted, 90n * CREDIT);
  assert.equal(endOf(await call(world.process, caller, agentId)), 'NOT_FOUND');
});

test('a price that rises, and a promise that changes, do so for the next call and not for the running one', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish();
  world.seller.automatic = undefined;
  const running = call(world.process, caller, agentId);
  const visit = await world.seller.visit(0);
  const manifest = {
    ...manifestOf(agentId, world.seller.url),
    version: '1.1.0',
    pricing: { model: 'per_call', credits_per_call: '20' },
    output_schema: { type: 'object', required: ['reply'] },
  };
  const { rows } = await world.database.pool.query<{ seller: string }>(
    'SELECT organization_id AS seller FROM agents WHERE id = $1',
    [agentId],
  );
  const organizationId = rows[0]?.seller ?? '';
  await world.database.db.transaction((tx) =>
    publishAgent(tx, { organizationId, manifest, checkEndpoint: () => undefined }),
  );
  await world.process.catalog.refresh(agentId);
  visit.answer({ answer: 'so' });
  const result = await running;
  assert.deepEqual(
    [endOf(result), receiptOf(result).charged, receiptOf(result).agent_version],
    ['answer', '10', '1.0.0'],
  );
  world.seller.automatic = (next) => next.answer({ reply: 'so' });
  assert.equal(receiptOf(await call(world.process, caller, agentId)).charged, '20');
});

test('the calls of a process that died are refunded by any other and written down', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish();
  world.seller.automatic = undefined;
  const dying = await world.openProcess();
  const idempotencyKey = 'a-key-of-sixteen-chars';
  void call(dying, caller, agentId, { idempotencyKey });
  const late = await world.seller.visit(0);
  assert.equal((await world.money(caller)).held, 10n * CREDIT);
  assert.equal(await createSweeper(world.process).sweep(), 0, 'it is not late yet');
  // The process is gone as far as the books know: its hold's time passes.
  await world.database.pool.query(
    `UPDATE ledger_holds SET expires_at = created_at + interval '1 microsecond'`,
  );
  assert.equal(await createSweeper(world.process).sweep(), 1);
  assert.deepEqual(await world.money(caller), { posted: 100n * CREDIT, held: 0n, earned: 0n, fees: 0n });
  const record = await world.lastRecord(caller);
  assert.deepEqual(
    [record.wire, record.outcome, record.code, record.held, record.agent_id],
    ['sweeper', 'refunded', 'INTERNAL', '10', agentId],
  );

  // Should it have lived after all: an answer that comes now is not paid, nor kept for anybody.
  late.answer({ answer: 'late' });
  await dying.running.drain(10_000);
  await dying.recorder.flushed();
  assert.equal((await world.money(caller)).posted, 100n * CREDIT);
  const after_ = await world.lastRecord(caller);
  assert.deepEqual([after_.outcome, after_.code, after_.wire], ['refunded', 'TIMEOUT', 'mcp']);
  const { rows } = await world.database.pool.query('SELECT 1 FROM call_results');
  assert.equal(rows.length, 0, 'an unpaid answer is kept for nobody');
  world.seller.automatic = (visit) => visit.answer({ answer: 'so' });
  assert.equal(endOf(await call(world.process, caller, agentId, { idempotencyKey })), 'answer');
  await dying.close();
});

test('a call that was paid and never written down gets its record, once', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish();
  const silent = { record: () => {}, flushed: () => Promise.resolve(), depth: () => 0 };
  const dying = await world.openProcess({ recorder: silent });
  assert.equal(endOf(await call(dying, caller, agentId)), 'answer');
  assert.equal((await world.records(caller)).length, 0);
  const first = await recordUnrecorded(world.database.db);
  const progress = await recordUnrecorded(world.database.db, first);
  assert.equal((await world.records(caller)).length, 0, 'its own process may still be about to write it');
  // Of a time that was looked at already: the clock was set back a little meanwhile.
  await world.database.pool.query('ALTER TABLE ledger_journal DISABLE TRIGGER journal_is_immutable');
  await world.database.pool.query(
    `UPDATE ledger_journal SET created_at = created_at - interval '11 seconds' WHERE debit = $1`,
    [caller.accountId],
  );
  await world.database.pool.query('ALTER TABLE ledger_journal ENABLE TRIGGER journal_is_immutable');
  await recordUnrecorded(world.database.db, progress);
  await recordUnrecorded(world.database.db, progress);
  const records = await world.records(caller);
  assert.deepEqual(
    records.map((record) => [record.outcome, record.charged, record.fee, record.wire]),
    [['settled', '10', '0.3', 'sweeper']],
  );
  await dying.close();
});

test('a movement that is long in being committed gets its record, and what a clock far ahead had looked at', async () => {
  const { db, pool } = world.database;
  const caller = await world.newCaller('100');
  // Somebody has a record, so that not everything is looked at the first time.
  await call(world.process, caller, await world.publish());
  await world.process.recorder.flushed();
  const settle = (client: pg.ClientBase | pg.Pool) =>
    client.query(
      `INSERT INTO ledger_journal (id, kind, debit, credit, amount, held, key_id, agent_id, created_at)
       SELECT gen_random_uuid(), 'settle', $1, id, 0, 0, $2, 'agt_test_v1', now() - interval '5 minutes'
       FROM ledger_accounts WHERE kind = 'earnings' LIMIT 1`,
      [caller.accountId, caller.keyId],
    );
  const swept = async () => (await world.records(caller)).filter(({ wire }) => wire === 'sweeper').length;

  const slow = await pool.connect();
  await slow.query('BEGIN');
  await settle(slow);
  let progress = await recordUnrecorded(db);
  for (let round = 0; round < 3; round += 1) progress = await recordUnrecorded(db, progress);
  await slow.query('COMMIT');
  slow.release();
  assert.equal(await swept(), 0);
  progress = await recordUnrecorded(db, progress);
  assert.equal(await swept(), 1);
  assert.ok(progress.recordedUntil, 'and it goes on');

  const ahead = new Date(Date.now() + 3_600_000);
  await settle(pool);
  await recordUnrecorded(db, { recordedUntil: ahead, mark: { until: ahead, writers: [] } });
  assert.equal(await swept(), 2);
});

test('a shutdown lets calls end in its grace period and refunds the rest', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish();
  const stubborn = await world.publish({ capabilities: { keep_running: true } });
  world.seller.automatic = undefined;
  const stopping = await world.openProcess();
  const running = [agentId, agentId, stubborn].map((id) => call(stopping, caller, id));
  const visits = await Promise.all([0, 1, 2].map((n) => world.seller.visit(n)));
  const drained = stopping.running.drain(300);
  assert.equal(endOf(await call(stopping, caller, agentId)), 'UNAVAILABLE');
  visits[0]?.answer({ answer: 'so' });
  await drained;
  assert.deepEqual(tally((await Promise.all(running)).map(endOf)), { answer: 1, CANCELLED: 2 });
  assert.deepEqual(await world.money(caller), {
    posted: 90n * CREDIT,
    held: 0n,
    earned: 9_700_000n,
    fees: 300_000n,
  });
  await stopping.close();
  assert.deepEqual(tally((await world.records(caller)).map((record) => record.outcome)), {
    settled: 1,
    refunded: 2,
    refused: 1,
  });
});

test('an answer that was kept by a process that died before it was paid is given to nobody', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish();
  const dying = await world.openProcess();
  // It dies at the worst moment: the answer is kept, and the settle is never sent.
  const stopped = Promise.withResolvers<never>();
  const settling = Promise.withResolvers<void>();
  const ledger = {
    ...dying.ledger,
    settle: () => {
      settling.resolve();
      return stopped.promise;
    },
  };
  const running = call({ ...dying, ledger }, caller, agentId, { idempotencyKey: 'a-key-of-sixteen-chars' });
  await settling.promise;
  const kept = () =>
    world.database.pool.query('SELECT 1 FROM call_results WHERE key_id = $1', [caller.keyId]);
  assert.equal((await kept()).rows.length, 1);
  await world.database.pool.query(
    `UPDATE ledger_holds SET expires_at = created_at + interval '1 microsecond'`,
  );
  assert.equal(await createSweeper(world.process).sweep(), 1);
  assert.equal((await kept()).rows.length, 0);
  assert.equal((await world.money(caller)).posted, 100n * CREDIT);
  stopped.reject(new Error('the process is gone'));
  await running;
  await dying.close();
});
