import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { claimDue } from '../../src/webhooks/claim-due.ts';
import { MAX_ENDPOINTS } from '../../src/webhooks/endpoints.ts';
import { countReads } from '../support/rows-read.ts';
import { openWebhookWorld, type WebhookWorld } from './webhook-world.ts';

let world: WebhookWorld;
before(async () => {
  world = await openWebhookWorld();
});
after(() => world.close());

test('however much waits, a claim reads little more of it than it takes', async () => {
  const limits = { total: 64, perOrganization: 64, perEndpoint: 8 };
  const webhooks = world.openProcess({ limits });
  const { db, pool } = world.database;
  const owner = await world.newOwner();
  for (let n = 0; n < MAX_ENDPOINTS; n += 1) await world.newEndpoint(owner, 'http://127.0.0.1:9/');
  await pool.query(`
    INSERT INTO webhook_deliveries (id, endpoint_id, event_id, event_type, payload, next_attempt_at)
    SELECT gen_random_uuid(), e.id, 'evt_' || n, 'credits.loaded', '{}', now() - interval '1 hour'
    FROM webhook_endpoints e, generate_series(1, 1000) n`);
  await pool.query('ANALYZE');
  let claimed = 0;
  const read = await countReads(db, ['webhook_deliveries_due'], async (tx) => {
    claimed = (await claimDue({ ...webhooks, db: tx })).length;
  });
  assert.equal(claimed, limits.perOrganization);
  // Each endpoint is found, what it may send is counted, and what is taken is read once more.
  const most = MAX_ENDPOINTS * (1 + limits.perEndpoint) + limits.perOrganization;
  assert.ok(read >= limits.perOrganization && read <= 2 * most, `${read} read, ${most} needed`);
});
