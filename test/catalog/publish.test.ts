import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { eq, sql } from 'drizzle-orm';
import { Client } from 'pg';
import { silentLog } from '../../src/base/log.ts';
import { Problem } from '../../src/base/problem.ts';
import type { Json } from '../../src/base/json.ts';
import { publishAgent, type CheckEndpoint, type Published } from '../../src/catalog/publish.ts';
import {
  getAgentRecord,
  listAgents,
  resumeAgent,
  suspendAgent,
  verifyAgent,
} from '../../src/catalog/standing.ts';
import { agents, agentVersions } from '../../src/catalog/tables.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { sampleManifest } from './sample-manifest.ts';

let testDatabase: TestDatabase;
let database: Database;
let seller: string;
let rival: string;

before(async () => {
  testDatabase = await createTestDatabase();
  database = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 4 });
  seller = await database.db.transaction(async (tx) => (await insertOrganization(tx, 'Seller')).id);
  rival = await database.db.transaction(async (tx) => (await insertOrganization(tx, 'Rival')).id);
});

after(async () => {
  await database.close();
  await testDatabase.close();
});

const isFine = (): undefined => undefined;

function publish(
  changes: Record<string, Json | undefined>,
  organizationId = seller,
  checkEndpoint: CheckEndpoint = isFine,
): Promise<Published> {
  return database.db.transaction((tx) =>
    publishAgent(tx, { organizationId, manifest: sampleManifest(changes), checkEndpoint }),
  );
}

async function refusal(attempt: Promise<unknown>): Promise<Problem> {
  const error: unknown = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof Problem, 'the attempt is refused');
  return error;
}

it('a published agent is kept word for word, unverified', async () => {
  const published = await publish({ '/agent_id': 'agt_first_words_v1' });
  assert.deepEqual(published, { agentId: 'agt_first_words_v1', version: '2.1.0' });
  const record = await getAgentRecord(database.db, 'agt_first_words_v1');
  const { trustScore, badge, status, organizationId, manifest } = record;
  assert.deepEqual(
    { trustScore, badge, status, organizationId },
    { trustScore: null, badge: null, status: 'published', organizationId: seller },
  );
  assert.deepEqual(manifest.pricing, { model: 'per_call', credits_per_call: '15', free_tier_calls: 2 });
});

it('all faults of a manifest and its endpoint are told at once, and nothing is written', async () => {
  const problem = await refusal(
    publish(
      { '/agent_id': 'agt_unwritten_v1', '/display_name': '', '/colour': 'red' },
      seller,
      (url) => `${url} is a private address`,
    ),
  );
  assert.equal(problem.code, 'INVALID_INPUT');
  assert.deepEqual(
    problem.extras.faults?.map(({ path }) => path),
    ['/colour', '/display_name', '/endpoint/url'],
  );
  await assert.rejects(getAgentRecord(database.db, 'agt_unwritten_v1'), { code: 'NOT_FOUND' });
});

it('a version must rise, and each one stays as it was published', async () => {
  const id = { '/agent_id': 'agt_rising_tide_v1' };
  await publish({ ...id, '/version': '1.2.0' });
  await publish({ ...id, '/version': '1.10.0', '/pricing/credits_per_call': 20 });
  for (const version of ['1.2.0', '1.9.9', '1.10.0-rc.1', '1.10.0']) {
    const problem = await refusal(publish({ ...id, '/version': version, '/pricing/credits_per_call': 30 }));
    assert.equal(problem.code, 'CONFLICT');
    assert.match(problem.message, /does not rise: 1\.10\.0/);
  }
  const versions = await database.db
    .select()
    .from(agentVersions)
    .where(eq(agentVersions.agentId, 'agt_rising_tide_v1'));
  assert.deepEqual(versions.map(({ version }) => version).sort(), ['1.10.0', '1.2.0']);
});

it('publishing the same manifest again succeeds and changes nothing', async () => {
  const manifest = { '/agent_id': 'agt_same_again_v1' };
  await publish(manifest);
  const before = await getAgentRecord(database.db, 'agt_same_again_v1');
  assert.deepEqual(await publish({ ...manifest, '/pricing/credits_per_call': '15.0' }), {
    agentId: 'agt_same_again_v1',
    version: '2.1.0',
  });
  assert.deepEqual(await getAgentRecord(database.db, 'agt_same_again_v1'), before);
});

it("an id that is another seller's, or reads like it, cannot be had", async () => {
  await publish({ '/agent_id': 'agt_wise_owl_v1' });
  const taken = await refusal(publish({ '/agent_id': 'agt_wise_owl_v1', '/version': '3.0.0' }, rival));
  assert.equal(taken.code, 'CONFLICT');
  assert.equal(taken.message, 'The agent id agt_wise_owl_v1 is taken.');
  for (const id of [
    'agt_wise_owl_v2',
    'agt_wise_owls_v1',
    'agt_wise_ow1_v1',
    'agt_wiseowl_v1',
    'agt_owl_wise_v1',
  ]) {
    assert.equal((await refusal(publish({ '/agent_id': id }, rival))).code, 'CONFLICT');
  }
  await publish({ '/agent_id': 'agt_wise_owl_v2' });
});

it('two sellers who publish look-alike ids at the same moment do not both succeed', async () => {
  let second: Promise<Problem> | undefined;
  const progress = { isSettled: false };
  await database.db.transaction(async (tx) => {
    const manifest = sampleManifest({ '/agent_id': 'agt_swift_fox_v1' });
    await publishAgent(tx, { organizationId: seller, manifest, checkEndpoint: isFine });
    second = refusal(publish({ '/agent_id': 'agt_swift_f0x_v1' }, rival)).finally(
      () => (progress.isSettled = true),
    );
    // The first commits only once the second waits for it, or has wrongly gone past it.
    const waiting = sql<{ count: number }>`select count(*)::int as count from pg_locks
      where locktype = 'advisory' and not granted
        and database = (select oid from pg_database where datname = current_database())`;
    for (let poll = 0; poll < 10_000 && !progress.isSettled; poll++) {
      const { rows } = await tx.execute<{ count: number }>(waiting);
      if ((rows[0]?.count ?? 0) > 0) break;
    }
  });
  assert.equal((await second)?.code, 'CONFLICT');
});

describe('standing', () => {
  const id = 'agt_standing_tall_v1';
  const status = async (): Promise<string> => (await getAgentRecord(database.db, id)).status;
  before(() => publish({ '/agent_id': id }));

  it('a score makes an agent verified and gives its badge', async () => {
    assert.deepEqual(await database.db.transaction((tx) => verifyAgent(tx, { agentId: id, score: 90 })), {
      trustScore: 90,
      badge: 'premium',
    });
    assert.equal(await status(), 'verified');
  });

  it('a suspension holds through a new score and ends where it began', async () => {
    await database.db.transaction((tx) => suspendAgent(tx, id));
    await database.db.transaction((tx) => verifyAgent(tx, { agentId: id, score: 75 }));
    assert.equal(await status(), 'suspended');
    await database.db.transaction((tx) => resumeAgent(tx, id));
    assert.equal(await status(), 'verified');
    assert.equal((await getAgentRecord(database.db, id)).badge, 'standard');
  });

  it('a new version of a suspended agent does not end its suspension', async () => {
    await database.db.transaction((tx) => suspendAgent(tx, id));
    await publish({ '/agent_id': id, '/version': '2.2.0' });
    assert.equal(await status(), 'suspended');
  });

  it('a suspension of an agent nobody verified ends as unverified', async () => {
    await publish({ '/agent_id': 'agt_never_seen_v1' });
    await database.db.transaction((tx) => suspendAgent(tx, 'agt_never_seen_v1'));
    await database.db.transaction((tx) => resumeAgent(tx, 'agt_never_seen_v1'));
    assert.equal((await getAgentRecord(database.db, 'agt_never_seen_v1')).status, 'published');
  });

  it('a score outside 0 to 100 and an unknown agent are refused', async () => {
    for (const score of [-1, 101, 50.5, NaN]) {
      const attempt = database.db.transaction((tx) => verifyAgent(tx, { agentId: id, score }));
      assert.equal((await refusal(attempt)).code, 'INVALID_INPUT');
    }
    const attempt = database.db.transaction((tx) => verifyAgent(tx, { agentId: 'agt_nobody_v1', score: 50 }));
    assert.equal((await refusal(attempt)).code, 'NOT_FOUND');
  });

  it('the database itself refuses a score that is no percentage and a verified agent without one', async () => {
    for (const wrong of [{ trustScore: 101 }, { trustScore: null, status: 'verified' as const }]) {
      await assert.rejects(database.db.update(agents).set(wrong).where(eq(agents.id, id)));
    }
  });
});

it('every change is announced when it is committed, and only then', async () => {
  const listener = new Client({ connectionString: testDatabase.url });
  await listener.connect();
  const heard: string[] = [];
  listener.on('notification', ({ payload }) => heard.push(payload ?? ''));
  await listener.query('LISTEN sentinel_changes');
  await publish({ '/agent_id': 'agt_loud_voice_v1' });
  await assert.rejects(
    database.db.transaction(async (tx) => {
      await verifyAgent(tx, { agentId: 'agt_loud_voice_v1', score: 10 });
      throw new Error('rolled back');
    }),
  );
  await database.db.transaction((tx) => suspendAgent(tx, 'agt_loud_voice_v1'));
  // Notifications come before the answer to a later query on the same connection.
  await listener.query('SELECT 1');
  await listener.end();
  assert.deepEqual(heard, ['agent:agt_loud_voice_v1', 'agent:agt_loud_voice_v1']);
});

it('a list comes in pages by id, of all sellers or of one', async () => {
  await publish({ '/agent_id': 'agt_zebra_stripes_v1' }, rival);
  const all = await listAgents(database.db, { limit: 100 });
  assert.deepEqual(
    all.map(({ agentId }) => agentId),
    all.map(({ agentId }) => agentId).sort(),
  );
  assert.ok(all.length > 3);
  const [second] = await listAgents(database.db, { after: all[0]?.agentId ?? '', limit: 1 });
  assert.deepEqual(second, all[1]);
  const own = await listAgents(database.db, { organizationId: rival, limit: 100 });
  assert.ok(own.some(({ agentId }) => agentId === 'agt_zebra_stripes_v1'));
  assert.ok(own.every(({ organizationId }) => organizationId === rival));
});
