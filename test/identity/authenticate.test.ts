import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import type { Problem } from '../../src/base/problem.ts';
import { issueKey } from '../../src/governance/issue-key.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { listenForChanges, type ChangeFeed } from '../../src/db/listen.ts';
import { assertScope, createAuthenticator, type Authenticator } from '../../src/identity/authenticate.ts';
import { SCOPES } from '../../src/identity/caller.ts';
import { hashKey, isWellFormedKey, markRevoked } from '../../src/identity/keys.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let testDatabase: TestDatabase;
let database: Database;
let organizationId: string;
before(async () => {
  testDatabase = await createTestDatabase();
  database = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 4 });
  organizationId = (await database.db.transaction((tx) => insertOrganization(tx, 'Acme'))).id;
});
after(async () => {
  await database.close();
  await testDatabase.close();
});

const newKey = (wish = {}) => issueKey(database.db, { organizationId, currency: 'live', ...wish });
const bearer = (key: string) => ({ authorization: `Bearer ${key}`, apiKey: undefined });
const refused = { name: 'Problem', code: 'UNAUTHENTICATED' };

/** One process' worth of authenticator, with a feed of its own. `lookUps` counts what it asks the database. */
async function openProcess(): Promise<{
  auth: Authenticator;
  feed: ChangeFeed;
  lookUps(): number;
  close(): Promise<void>;
}> {
  const own = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 2 });
  let lookUps = 0;
  own.pool.on('acquire', () => (lookUps += 1));
  let isLive = (): boolean => false;
  const auth = createAuthenticator(own.db, () => isLive());
  const feed = await listenForChanges(testDatabase.url, {
    log: silentLog,
    onChange: (change) => change.kind === 'key' && auth.forget(change.id),
    onReconnect: () => auth.forgetAll(),
  });
  isLive = () => feed.isLive();
  return {
    auth,
    feed,
    lookUps: () => lookUps,
    close: async () => {
      await feed.close();
      await own.close();
    },
  };
}

test('a key is stored as its hash and its last four characters, and nothing else of it', async () => {
  const { id, key } = await newKey({ currency: 'test' });
  assert.match(key, /^sk_test_[0-9a-f]{40}$/);
  const { rows } = await database.pool.query<{ row: string }>(
    'SELECT k::text AS row FROM api_keys k WHERE id = $1',
    [id],
  );
  const row = rows[0]?.row ?? '';
  assert.ok(row.includes(hashKey(key)) && row.includes(key.slice(-4)));
  assert.ok(!row.includes(key.slice(0, -4)) && !row.includes(key.slice(8, 20)));
  assert.equal(hashKey('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});

test('a key tells who is calling, with its limits and what it spends from', async () => {
  const { auth, close } = await openProcess();
  const { id, key } = await newKey({
    currency: 'test',
    scopes: ['calls:read'],
    caps: { maxPerCallMicros: 5n, capDayMicros: 7n },
    ratePerMinute: 3,
    maxConcurrent: 2,
  });
  const caller = await auth.authenticate({ authorization: undefined, apiKey: ` ${key}\t` });
  for (const authorization of ['', ' ']) {
    assert.equal((await auth.authenticate({ authorization, apiKey: key })).keyId, id);
  }
  for (const authorization of [`bearer ${key}`, `BEARER   ${key} `]) {
    assert.equal((await auth.authenticate({ authorization, apiKey: undefined })).keyId, id);
  }
  assert.equal(typeof caller.accountId, 'bigint');
  assert.equal(typeof caller.meterId, 'bigint');
  assert.deepEqual(
    { ...caller, accountId: 0n, meterId: 0n },
    {
      keyId: id,
      organizationId,
      currency: 'test',
      scopes: new Set(['calls:read']),
      caps: { maxPerCallMicros: 5n },
      ratePerMinute: 3,
      maxConcurrent: 2,
      accountId: 0n,
      meterId: 0n,
    },
  );
  const plain = await auth.authenticate(bearer((await newKey()).key));
  assert.ok(!('meterId' in plain), 'without caps that need counting there is no meter');
  await close();
});

describe('a credential that is none', () => {
  const key = `sk_live_${'a'.repeat(40)}`;
  const MALFORMED: [title: string, authorization: string | undefined, apiKey?: string][] = [
    ['nothing', undefined],
    ['an empty API key', undefined, ''],
    ['an unknown key', `Bearer ${key}`],
    ['an unknown API key', undefined, key],
    ['no scheme', key],
    ['another scheme', `Basic ${key}`],
    ['a scheme alone', 'Bearer'],
    ['a scheme and a blank', 'Bearer '],
    ['two keys', `Bearer ${key} ${key}`],
    ['a tab instead of a blank', `Bearer\t${key}`],
    ['a key that is too long', `Bearer ${key}a`],
    ['a key with capitals', `Bearer ${key.toUpperCase()}`],
    ['a key with a line break', `Bearer ${key}\n`],
    ['a key of a megabyte', `Bearer ${'a'.repeat(1_000_000)}`],
    ['SQL', `Bearer ' OR 1=1 --`],
    ['a NUL', `Bearer ${key.slice(0, -1)}\u0000`],
    ['an empty header beside a key', '', key],
  ];
  for (const [title, authorization, apiKey] of MALFORMED) {
    test(`${title} is refused, and not repeated`, async () => {
      const auth = createAuthenticator(database.db, () => true);
      await assert.rejects(auth.authenticate({ authorization, apiKey }), (problem: Problem) => {
        assert.equal(problem.code, 'UNAUTHENTICATED');
        assert.ok(!problem.message.includes('aaaa'), problem.message);
        return true;
      });
    });
  }

  test('an unknown key and a revoked one are told the same', async () => {
    const auth = createAuthenticator(database.db, () => true);
    const { id, key: revoked } = await newKey();
    await database.db.transaction((tx) => markRevoked(tx, id, organizationId));
    const say = (credential: string) =>
      auth.authenticate(bearer(credential)).then(
        () => 'let in',
        (problem: Problem) => problem.message,
      );
    assert.equal(await say(revoked), await say(key));
  });

  test('a key is found by its hash and never compared with another: nothing about it can be timed', async () => {
    const { key: real } = await newKey();
    const auth = createAuthenticator(database.db, () => true);
    for (const changed of [
      `${real.slice(0, -1)}${real.endsWith('0') ? '1' : '0'}`,
      real.replace('live', 'test'),
    ]) {
      assert.ok(isWellFormedKey(changed));
      assert.notEqual(hashKey(changed).slice(0, 8), hashKey(real).slice(0, 8));
      await assert.rejects(auth.authenticate(bearer(changed)), refused);
    }
  });
});

test('a key is looked up once while the change feed is up', async () => {
  const process = await openProcess();
  const { key } = await newKey();
  for (let n = 0; n < 5; n++) await process.auth.authenticate(bearer(key));
  assert.equal(process.lookUps(), 1);
  await process.close();
});

test('a key that is revoked in one process is refused in every other when that commits', async () => {
  const [here, there] = [await openProcess(), await openProcess()];
  const [kept, { id, key }] = [await newKey(), await newKey()];
  for (const { auth } of [here, there]) {
    await auth.authenticate(bearer(key));
    await auth.authenticate(bearer(kept.key));
  }
  await database.db.transaction((tx) => markRevoked(tx, id, undefined));
  // Both hear of it over a connection of their own; what comes next on it has come after.
  await Promise.all(
    [here, there].map(async ({ auth }) => {
      for (const deadline = performance.now() + 5_000; performance.now() < deadline;) {
        const isIn = await auth.authenticate(bearer(key)).then(
          () => true,
          () => false,
        );
        if (!isIn) return;
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.fail('it is still let in after 5 s, and the cache alone would have kept it for 10');
    }),
  );
  const before_ = [here.lookUps(), there.lookUps()];
  for (const { auth } of [here, there]) await auth.authenticate(bearer(kept.key));
  assert.deepEqual([here.lookUps(), there.lookUps()], before_, 'other keys stay cached');
  await Promise.all([here.close(), there.close()]);
});

test('while the change feed is down nothing is believed from memory', async () => {
  let isLive = true;
  const auth = createAuthenticator(database.db, () => isLive);
  const { id, key } = await newKey();
  await auth.authenticate(bearer(key));
  await database.db.transaction((tx) => markRevoked(tx, id, undefined));
  assert.equal((await auth.authenticate(bearer(key))).keyId, id, 'nobody told it: it believes its memory');
  isLive = false;
  await assert.rejects(auth.authenticate(bearer(key)), refused);
});

test('a look-up that a change overtakes is not remembered', async () => {
  const auth = createAuthenticator(database.db, () => true);
  const { id, key } = await newKey();
  const asked = auth.authenticate(bearer(key));
  auth.forget(id);
  await asked;
  await database.db.transaction((tx) => markRevoked(tx, id, undefined));
  await assert.rejects(auth.authenticate(bearer(key)), refused);
});

test('a key is revoked once, and not by another organization', async () => {
  const { id } = await newKey();
  const stranger = await database.db.transaction((tx) => insertOrganization(tx, 'Stranger'));
  const revoke = (owner: string | undefined) =>
    database.db.transaction((tx) => markRevoked(tx, id, owner)).then((row) => row?.revokedAt?.getTime());
  assert.equal(await revoke(stranger.id), undefined);
  const first = await revoke(organizationId);
  assert.equal(typeof first, 'number');
  assert.equal(await revoke(organizationId), first);
});

test('a scope lets in exactly what it names, and an operator everywhere', async () => {
  const auth = createAuthenticator(database.db, () => true);
  for (const held of SCOPES) {
    const caller = await auth.authenticate(bearer((await newKey({ scopes: [held] })).key));
    for (const wanted of SCOPES) {
      if (held === wanted || held === 'operator') assertScope(caller, wanted);
      else assert.throws(() => assertScope(caller, wanted), { code: 'FORBIDDEN' });
    }
  }
});
