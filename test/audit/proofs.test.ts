import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { compactVerify, createLocalJWKSet } from 'jose';
import { findProof, publishProof, type Proof, type ProofDeps } from '../../src/audit/proofs.ts';
import { canonicalJson } from '../../src/base/canonical-json.ts';
import type { Json, JsonObject } from '../../src/base/json.ts';
import { InvariantViolation } from '../../src/base/invariant.ts';
import { verifyChain } from '../../src/client/verify-chain.ts';
import { verifyProof } from '../../src/client/verify-proof.ts';
import type { Caller } from '../../src/identity/caller.ts';
import { openDatabaseClock, type DatabaseClock } from '../support/database-clock.ts';
import { testKey, testSigningKey } from '../support/signing.ts';
import { call, openWorld, type World } from '../support/world.ts';
import { provenChain } from './filed-chain.ts';
import { HEADER, jwsOf, keys } from './receipt-book.ts';
import { receiptOf } from '../support/receipt-of.ts';

const NOON = Date.parse('2026-03-10T12:00:00Z');
const ISSUER = 'https://sentinel.example.com';

let world: World;
let agentId: string;
let clock: DatabaseClock;
before(async () => {
  world = await openWorld();
  clock = openDatabaseClock(world.database);
  agentId = await world.publish();
});
after(() => world.close());
beforeEach(() => {
  world.seller.automatic = (visit) => visit.answer({ answer: 'so' });
});

function publishAt(now: number, day?: string, changes: Partial<ProofDeps> = {}): Promise<boolean> {
  const deps = { db: world.database.db, issuer: ISSUER, key: testKey, ...changes };
  return clock.at(now, () => publishProof(deps, day));
}

async function proofOf(caller: Caller, day?: string): Promise<Proof> {
  const proof = await findProof(world.database.db, caller.accountId, day);
  assert.ok(proof);
  return proof;
}

const asJson = (proof: Proof): JsonObject => structuredClone(proof);

test('a proof says that all credits sum to zero, that the accounts agree with the journal, and where every chain ended', async () => {
  const buyers = [
    await world.newCaller('100'),
    await world.newCaller('50', { currency: 'test' }),
    await world.newCaller('30'),
  ];
  const none = await world.newCaller('5');
  for (const [index, buyer] of buyers.entries()) {
    for (let made = 0; made <= index; made += 1) await call(world.process, buyer, agentId);
  }
  assert.equal(await publishAt(NOON), true);

  for (const [index, buyer] of buyers.entries()) {
    const proof = await proofOf(buyer);
    const { payload } = await compactVerify(
      proof.jws,
      createLocalJWKSet({ keys: [{ ...testSigningKey.publicJwk }] }),
    );
    assert.deepEqual(JSON.parse(Buffer.from(payload).toString()), proof.proof);
    assert.equal(Buffer.from(payload).toString(), canonicalJson(proof.proof as unknown as Json));

    assert.deepEqual(proof.proof.sums, { live: '0', test: '0' });
    assert.deepEqual([proof.proof.day, proof.proof.iss], ['2026-03-09', ISSUER]);
    assert.equal(proof.proof.chains.count, 3);
    const funding = proof.proof.accounts.filter(({ kind }) => kind === 'funding');
    assert.deepEqual(
      funding.map(({ currency, posted, journal }) => [currency, posted, journal]),
      [
        ['live', '-135', '-135'],
        ['test', '-50', '-50'],
      ],
    );

    const { chain } = verifyProof(asJson(proof), keys);
    assert.equal(chain?.organizationId, buyer.organizationId);
    assert.equal(chain?.currency, buyer.currency);
    assert.equal(chain?.seq, index + 1);
    const proven = await provenChain(world.process, buyer);
    verifyChain(proven, [{ kind: 'proof', chain }]);
  }

  const bystander = await proofOf(none);
  assert.equal(bystander.chain, null);
  assert.equal(verifyProof(asJson(bystander), keys).chain, undefined);
  // Neither who the others are nor where their chains ended can be read from it.
  for (const { organizationId } of buyers) assert.ok(!JSON.stringify(bystander).includes(organizationId));
});

test('a proof holds for the chain as it goes on, and not for one that was cut off or rewritten behind it', async () => {
  const buyer = await world.newCaller('100');
  for (let made = 0; made < 3; made += 1) await call(world.process, buyer, agentId);
  await publishAt(NOON, '2026-03-01');
  await call(world.process, buyer, agentId);
  const { chain } = verifyProof(asJson(await proofOf(buyer, '2026-03-01')), keys);
  assert.ok(chain);
  const proven = await provenChain(world.process, buyer);
  assert.equal(proven.length, 4);
  verifyChain(proven, [{ kind: 'proof', chain }]);
  assert.throws(() => verifyChain(proven.slice(0, 2), [{ kind: 'proof', chain }]), /there were 3/);
});

test('a day has one proof, however many processes make it at once, and it is never made again', async () => {
  const buyer = await world.newCaller('100');
  await call(world.process, buyer, agentId);
  const deps = { db: world.database.db, issuer: ISSUER, key: testKey };
  const made = await clock.at(NOON, () =>
    Promise.all(Array.from({ length: 5 }, () => publishProof(deps, '2026-02-02'))),
  );
  assert.equal(made.filter(Boolean).length, 1);
  const first = await proofOf(buyer, '2026-02-02');
  await call(world.process, buyer, agentId);
  assert.equal(await publishAt(NOON + 1_000, '2026-02-02'), false);
  assert.deepEqual(await proofOf(buyer, '2026-02-02'), first);
});

test('a day that has not ended has no proof, and yesterday is the day before in UTC', async () => {
  await assert.rejects(publishAt(NOON, '2026-03-10'), InvariantViolation);
  await assert.rejects(publishAt(Date.parse('2026-03-10T23:59:59.999Z'), '2026-03-10'), InvariantViolation);
  await publishAt(Date.parse('2026-05-01T00:00:00Z'));
  const buyer = await world.newCaller('1');
  assert.equal((await proofOf(buyer)).proof.day, '2026-04-30');
});

test('proofs made while calls run balance, and every one of their chains leads to its root', async () => {
  const buyers = await Promise.all([1, 2, 3, 4, 5].map(() => world.newCaller('1000')));
  const days = Array.from({ length: 8 }, (_, index) => `2025-01-0${index + 1}`);
  const over = new AbortController();
  const calling = buyers.map(async (buyer) => {
    while (!over.signal.aborted) await call(world.process, buyer, agentId);
  });
  for (const day of days) await publishAt(NOON, day);
  over.abort();
  await Promise.all(calling);

  for (const buyer of buyers) {
    const proven = await provenChain(world.process, buyer);
    let before = 0;
    for (const day of days) {
      const { chain } = verifyProof(asJson(await proofOf(buyer, day)), keys);
      if (!chain) continue;
      verifyChain(proven, [{ kind: 'proof', chain }]);
      assert.ok(chain.seq >= before, 'a chain only grows');
      before = chain.seq;
    }
    assert.ok(before > 0 && before <= proven.length);
  }
});

test('a proof is of one moment: a call that ends between two of its reads is not half in it', async () => {
  const buyer = await world.newCaller('1000');
  await call(world.process, buyer, agentId);
  const { db } = world.database;
  // Not a stand-in: the same transaction, with a paid call after each of its statements.
  const busy = Object.create(db) as typeof db;
  busy.transaction = (work, config) =>
    db.transaction((tx) => {
      const watched = Object.create(tx) as typeof tx;
      watched.execute = ((query: Parameters<typeof tx.execute>[0]) =>
        tx.execute(query).then(async (answer) => {
          await call(world.process, buyer, agentId);
          return answer;
        })) as typeof tx.execute;
      return work(watched);
    }, config);
  await publishAt(NOON, '2026-03-05', { db: busy });

  const { proof, chain } = await proofOf(buyer, '2026-03-05');
  assert.equal(chain?.seq, 1);
  const { rows } = await world.database.pool.query<{ ends: string }>(
    `SELECT (SELECT sum(seq) FROM proof_chains WHERE day = '2026-03-05')
       + (SELECT count(*) FROM ledger_journal WHERE kind = 'grant') AS ends`,
  );
  assert.equal(proof.journal_rows, Number(rows[0]?.ends), 'as many receipts as ends of holds in the journal');
});

test('a proof altered anywhere, and the chain of another place, are refused', async () => {
  const [buyer, other] = [await world.newCaller('100'), await world.newCaller('100')];
  for (const each of [buyer, other]) await call(world.process, each, agentId);
  await publishAt(NOON, '2026-03-02');
  const proof = asJson(await proofOf(buyer, '2026-03-02'));
  const { chain: theirs } = asJson(await proofOf(other, '2026-03-02'));
  const chain = proof['chain'] as JsonObject;
  const refused = (changed: JsonObject, why: RegExp): void =>
    assert.throws(() => verifyProof(changed, keys), why);

  const zeros = '0'.repeat(64);
  for (const changes of [
    { seq: 2 },
    { head: zeros },
    { leaf: (chain['leaf'] as number) + 1 },
    { currency: 'test' },
    { organization_id: other.organizationId },
    { path: [zeros, ...(chain['path'] as Json[]).slice(1)] },
    { path: (chain['path'] as Json[]).slice(1) },
    { path: [...(chain['path'] as Json[]), zeros] },
    { path: (theirs as JsonObject)['path'] as Json },
  ]) {
    refused({ ...proof, chain: { ...chain, ...changes } }, /not one it was made over/);
  }
  refused({ ...proof, chain: { ...chain, path: 'x' } }, /does not have the members/);
  refused({ ...proof, proof: { ...(proof['proof'] as JsonObject), day: '2026-03-03' } }, /something else/);
  const jws = proof['jws'] as string;
  for (let at = 0; at < jws.length; at += 7) {
    const altered = `${jws.slice(0, at)}${jws[at] === 'A' ? 'B' : 'A'}${jws.slice(at + 1)}`;
    assert.throws(() => verifyProof({ ...proof, jws: altered }, keys), `byte ${at}`);
  }
  // A receipt is no proof, though the same key signed it.
  const [receipt] = await world.process.receipts.list(buyer.accountId, 1, 1);
  refused({ ...proof, jws: receiptOf({ receipt }).jws ?? '' }, /another kind of document/);
});

test('books that do not balance are told by the proof itself, and refused by who checks it', async () => {
  const buyer = await world.newCaller('100');
  await world.database.pool.query('UPDATE ledger_accounts SET posted = posted + 1 WHERE id = $1', [
    buyer.accountId,
  ]);
  try {
    await publishAt(NOON, '2024-01-01');
    const proof = await proofOf(buyer, '2024-01-01');
    assert.equal(proof.proof.sums.live, '0.000001');
    assert.throws(() => verifyProof(asJson(proof), keys), /books are wrong/);

    // Nor is a sum believed that the accounts beside it do not have.
    const accounts = proof.proof.accounts.map((each) => ({ ...each, journal: each.posted }));
    const lie = canonicalJson({ ...proof.proof, accounts, sums: { live: '0', test: '0' } });
    const jws = jwsOf({ ...HEADER, typ: 'sentinel-proof+jws' }, lie);
    assert.throws(() => verifyProof({ jws, chain: null }, keys), /live credits sum to 0\.000001/);
  } finally {
    await world.database.pool.query('UPDATE ledger_accounts SET posted = posted - 1 WHERE id = $1', [
      buyer.accountId,
    ]);
  }
});
