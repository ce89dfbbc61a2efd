import assert from 'node:assert/strict';
import { after, before, beforeEach, it } from 'node:test';
import { sql } from 'drizzle-orm';
import { silentLog } from '../../src/base/log.ts';
import type { Json } from '../../src/base/json.ts';
import { loadCatalog } from '../../src/catalog/catalog.ts';
import { publishAgent } from '../../src/catalog/publish.ts';
import { suspendAgent, verifyAgent } from '../../src/catalog/standing.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { sampleManifest } from './sample-manifest.ts';

let testDatabase: TestDatabase;
let database: Database;
let seller: string;

before(async () => {
  testDatabase = await createTestDatabase();
  database = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 4 });
  seller = await database.db.transaction(async (tx) => (await insertOrganization(tx, 'Seller')).id);
});

beforeEach(() => database.db.execute(sql`truncate agents, agent_versions cascade`));

after(async () => {
  await database.close();
  await testDatabase.close();
});

const publish = (agentId: string, changes: Record<string, Json> = {}): Promise<unknown> =>
  database.db.transaction((tx) =>
    publishAgent(tx, {
      organizationId: seller,
      manifest: sampleManifest({ '/agent_id': agentId, ...changes }),
      checkEndpoint: () => undefined,
    }),
  );

const verify = (agentId: string, score: number): Promise<unknown> =>
  database.db.transaction((tx) => verifyAgent(tx, { agentId, score }));

const suspend = (agentId: string): Promise<void> =>
  database.db.transaction((tx) => suspendAgent(tx, agentId));

async function publishVerified(
  agentId: string,
  score: number,
  changes: Record<string, Json> = {},
): Promise<void> {
  await publish(agentId, changes);
  await verify(agentId, score);
}

const anyScore = { minTrustScore: 0 };

it('only verified agents that are not suspended are for sale', async () => {
  await publishVerified('agt_good_v1', 80);
  await publishVerified('agt_zero_v1', 0);
  await publish('agt_unverified_v1');
  await publishVerified('agt_suspended_v1', 80);
  await suspend('agt_suspended_v1');
  const catalog = await loadCatalog(database.db);
  assert.deepEqual(
    catalog.list(anyScore).map(({ id }) => id),
    ['agt_good_v1', 'agt_zero_v1'],
  );
  assert.equal(catalog.find('agt_unverified_v1'), undefined);
  assert.equal(catalog.find('agt_suspended_v1'), undefined);
  assert.equal(catalog.find('constructor'), undefined);
});

it('an agent is found by id and by tool name, ready to be called', async () => {
  await publishVerified('agt_ready_v1', 87);
  const catalog = await loadCatalog(database.db);
  const agent = catalog.find('agt_ready_v1');
  assert.ok(agent);
  assert.equal(catalog.findByToolName('sentinel_agt_ready_v1'), agent);
  assert.equal(catalog.findByToolName('agt_ready_v1'), undefined);
  assert.equal(agent.toolName, 'sentinel_agt_ready_v1');
  assert.equal(agent.sellerId, seller);
  assert.equal(agent.badge, 'standard');
  // The manifest asks for two free calls; none is granted yet, so none is promised.
  assert.deepEqual(agent.price, { kind: 'per_call', maxMicros: 15_000_000n, freeTierCalls: 2 });
  assert.equal(agent.timeoutMs, 45_000);
  assert.equal(agent.maxPayloadBytes, 10 * 1024 * 1024);
  assert.deepEqual(agent.checkInput({ url: 'https://a.example' }), []);
  assert.deepEqual(
    agent.checkInput({ text: 1 }).map(({ path }) => path),
    ['/url', '/text'],
  );
  assert.deepEqual(
    agent.checkOutput({}).map(({ path }) => path),
    ['/bullets'],
  );
});

it('a list is ordered by trust and id, obeys the filters, and is the same array until something changes', async () => {
  await publishVerified('agt_b_v1', 80);
  await publishVerified('agt_c_v1', 95, { '/category': 'finance' });
  await publishVerified('agt_a_v1', 80, { '/pricing/credits_per_call': 1 });
  await publishVerified('agt_low_v1', 49);
  const catalog = await loadCatalog(database.db);
  const ids = (filters: Parameters<typeof catalog.list>[0]): string[] =>
    catalog.list(filters).map(({ id }) => id);
  assert.deepEqual(ids({ minTrustScore: 50 }), ['agt_c_v1', 'agt_a_v1', 'agt_b_v1']);
  assert.deepEqual(ids({ minTrustScore: 50, badge: 'standard' }), ['agt_a_v1', 'agt_b_v1']);
  assert.deepEqual(ids({ minTrustScore: 50, category: 'finance' }), ['agt_c_v1']);
  assert.deepEqual(ids({ minTrustScore: 50, maxPriceMicros: 1_000_000n }), ['agt_a_v1']);
  assert.deepEqual(ids({ minTrustScore: 0, agents: new Set(['agt_low_v1', 'agt_b_v1']) }), [
    'agt_b_v1',
    'agt_low_v1',
  ]);
  const list = catalog.list({ minTrustScore: 0, agents: new Set(['agt_b_v1', 'agt_a_v1']) });
  assert.equal(catalog.list({ minTrustScore: 0, agents: new Set(['agt_a_v1', 'agt_b_v1']) }), list);
  await verify('agt_a_v1', 81);
  await catalog.refresh('agt_a_v1');
  assert.notEqual(catalog.list({ minTrustScore: 0, agents: new Set(['agt_a_v1', 'agt_b_v1']) }), list);
});

it('a refresh takes in one agent, replaces it, and drops it again', async () => {
  await publishVerified('agt_stays_v1', 80);
  const catalog = await loadCatalog(database.db);
  const stays = catalog.find('agt_stays_v1');
  await publishVerified('agt_moves_v1', 80);
  assert.equal(catalog.find('agt_moves_v1'), undefined);

  await catalog.refresh('agt_moves_v1');
  const first = catalog.find('agt_moves_v1');
  assert.equal(first?.version, '2.1.0');

  await publish('agt_moves_v1', { '/version': '2.2.0', '/pricing/credits_per_call': 16 });
  await catalog.refresh('agt_moves_v1');
  assert.equal(catalog.find('agt_moves_v1')?.price.maxMicros, 16_000_000n);
  // A call that is under way keeps the agent it began with.
  assert.equal(first.price.maxMicros, 15_000_000n);

  await suspend('agt_moves_v1');
  await catalog.refresh('agt_moves_v1');
  assert.equal(catalog.find('agt_moves_v1'), undefined);
  assert.equal(catalog.find('agt_stays_v1'), stays);
});

it('listeners hear of changes and of nothing else', async () => {
  await publishVerified('agt_heard_v1', 80);
  const catalog = await loadCatalog(database.db);
  const heard: number[] = [];
  const stop = catalog.onChange(() => heard.push(catalog.revision));
  const start = catalog.revision;
  await catalog.refresh();
  await catalog.refresh('agt_heard_v1');
  await catalog.refresh('agt_nobody_v1');
  assert.deepEqual(heard, []);
  await verify('agt_heard_v1', 81);
  await catalog.refresh();
  assert.deepEqual(heard, [start + 1]);
  stop();
  await verify('agt_heard_v1', 82);
  await catalog.refresh();
  assert.deepEqual(heard, [start + 1]);
  assert.equal(catalog.revision, start + 2);
});

it('a refresh that fails leaves the snapshot, and the next one works', async () => {
  await publishVerified('agt_kept_v1', 80);
  const failing = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 1 });
  const catalog = await loadCatalog(failing.db);
  await database.db.execute(sql`alter table agents rename to agents_away`);
  try {
    await assert.rejects(catalog.refresh());
  } finally {
    await database.db.execute(sql`alter table agents_away rename to agents`);
  }
  assert.ok(catalog.find('agt_kept_v1'));
  await verify('agt_kept_v1', 90);
  await catalog.refresh('agt_kept_v1');
  assert.equal(catalog.find('agt_kept_v1')?.trustScore, 90);
  await failing.close();
});

it('agents share few compiled schemas and still each check by their own', async () => {
  const range = (maximum: number): Record<string, Json> => ({
    '/input_schema/properties/max_bullets/maximum': maximum,
  });
  await publishVerified('agt_one_v1', 80, range(1));
  await publishVerified('agt_two_v1', 80, range(2));
  const catalog = await loadCatalog(database.db, { maxCompiledSchemas: 1 });
  const faults = (id: string): number | undefined =>
    catalog.find(id)?.checkInput({ url: 'https://a.example', max_bullets: 2 }).length;
  for (let round = 0; round < 3; round++) {
    assert.equal(faults('agt_one_v1'), 1);
    assert.equal(faults('agt_two_v1'), 0);
  }
});
