import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { LEASE_MS } from '../../src/webhooks/claim-due.ts';
import { dispatchWebhooks } from '../../src/webhooks/dispatch.ts';
import { startReceiver } from './receiver.ts';
import { openWebhookWorld } from './webhook-world.ts';

const SENDER = fileURLToPath(new URL('crash-sender.ts', import.meta.url));
const EVENTS = 40;

test('a gateway killed between sending and noting it is followed by one that sends it again, with the same id, and loses none', async () => {
  const world = await openWebhookWorld();
  const receiver = await startReceiver();
  const holder = new pg.Client({ connectionString: world.url });
  try {
    const owner = await world.newOwner();
    const { uuid } = await world.newEndpoint(owner, receiver.url);
    for (let n = 0; n < EVENTS; n += 1) await world.happen(owner, { n });
    // Whoever wants to note an attempt waits for this lock, so at the kill nothing that was sent is noted.
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('LOCK TABLE webhook_attempts IN ACCESS EXCLUSIVE MODE');

    const sender = spawn(process.execPath, [SENDER, world.url], { stdio: 'inherit' });
    const exited = once(sender, 'exit');
    await receiver.visit(0);
    await someoneWaits(world.database.pool);
    sender.kill('SIGKILL');
    await exited;
    // The server would go on with what a dead client had asked for.
    await world.database.pool.query(
      `SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE relation = 'webhook_attempts'::regclass AND NOT granted`,
    );
    await holder.query('ROLLBACK');
    const before = new Set(receiver.ids());
    assert.ok(before.size > 0);

    const survivor = world.openProcess();
    await dispatchWebhooks(survivor);
    const whileLeased = receiver.ids();
    assert.equal(new Set(whileLeased).size, whileLeased.length, 'what is leased is left alone until then');
    await world.clock.later(LEASE_MS + 1);
    await dispatchWebhooks(survivor);

    const ids = receiver.ids();
    assert.equal(new Set(ids).size, EVENTS, 'none is lost');
    for (const id of before) assert.equal(ids.filter((each) => each === id).length, 2);
    const { rows } = await world.database.pool.query<{ status: string; count: string }>(
      'SELECT status, count(*) FROM webhook_deliveries WHERE endpoint_id = $1 GROUP BY status',
      [uuid],
    );
    assert.deepEqual(rows, [{ status: 'delivered', count: String(EVENTS) }]);
  } finally {
    await holder.end();
    await receiver.close();
    await world.close();
  }
});

test('a gateway killed at any moment leaves nothing untold, whatever it was doing', async () => {
  const world = await openWebhookWorld();
  const receiver = await startReceiver();
  try {
    const owner = await world.newOwner();
    await world.newEndpoint(owner, receiver.url);
    for (let kill = 0; kill < 4; kill += 1) {
      const earlier = receiver.visits.length;
      for (let n = 0; n < EVENTS; n += 1) await world.happen(owner, { kill, n });
      const sender = spawn(process.execPath, [SENDER, world.url], {
        stdio: 'inherit',
      });
      const exited = once(sender, 'exit');
      await Promise.race([receiver.visit(earlier + kill * 7), exited]);
      sender.kill('SIGKILL');
      await exited;
      await world.clock.later(LEASE_MS + 1);
    }
    await dispatchWebhooks(world.openProcess());
    const told = new Set(receiver.visits.map(({ body }) => JSON.stringify(dataOf(body))));
    assert.equal(told.size, 4 * EVENTS);
    const ids = new Map(
      receiver.visits.map(({ body, headers }) => [headers['webhook-id'], JSON.stringify(dataOf(body))]),
    );
    assert.equal(ids.size, 4 * EVENTS, 'an event has one id however often it comes');
  } finally {
    await receiver.close();
    await world.close();
  }
});

function dataOf(body: string): unknown {
  return (JSON.parse(body) as { data: unknown }).data;
}

/** Resolves when some statement waits for a lock on the log of attempts. */
async function someoneWaits(pool: pg.Pool): Promise<void> {
  for (;;) {
    const { rows } = await pool.query<{ count: string }>(
      `SELECT count(*) FROM pg_locks WHERE relation = 'webhook_attempts'::regclass AND NOT granted`,
    );
    if (rows[0]?.count !== '0') return;
  }
}
