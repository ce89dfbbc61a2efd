import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import pg from 'pg';
import { insertEvent } from '../../src/audit/events.ts';
import { newId } from '../../src/base/ids.ts';
import type { JsonObject } from '../../src/base/json.ts';
import { silentLog } from '../../src/base/log.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import type { Webhooks } from '../../src/webhooks/deps.ts';
import { markDeleted, updateEndpoint, type WebhookOwner } from '../../src/webhooks/endpoints.ts';
import { fanOut } from '../../src/webhooks/fan-out.ts';
import { moveOn, type Cursor } from '../../src/webhooks/follow-journal.ts';
import { forgetDeliveries, KEEP_MS } from '../../src/webhooks/forget-deliveries.ts';
import { assertDescribed } from '../support/events.ts';
import { endCall, openWebhookWorld, type CallEnd, type WebhookWorld } from './webhook-world.ts';

// Nothing is sent in these tests; the address is only kept.
const HOOK = 'http://127.0.0.1:9/';

let world: WebhookWorld;
let webhooks: Webhooks;
before(async () => {
  world = await openWebhookWorld();
  webhooks = world.openProcess();
});
after(() => world.close());

type Told = { event_id: string; event_type: string; payload: { data: JsonObject } };

/** What is on its way to an endpoint, in the order it was made. */
async function toldTo(endpointUuid: string): Promise<Told[]> {
  const { rows } = await world.database.pool.query<Told>(
    'SELECT event_id, event_type, payload FROM webhook_deliveries WHERE endpoint_id = $1 ORDER BY id',
    [endpointUuid],
  );
  return rows;
}

const callsOf = (told: Told[]) => told.map(({ payload }) => payload.data['call_id'] as string);

/** A buyer and a seller that listen, with the accounts of one call between them. */
async function newMarket(currency: WebhookOwner['currency'] = 'live') {
  const [buyer, seller] = [await world.newOwner(currency), await world.newOwner(currency)];
  const accounts: CallEnd = {
    buyer: await world.accountOf(buyer, 'balance'),
    seller: await world.accountOf(seller, 'earnings'),
  };
  return { buyer, seller, accounts };
}

test('an event is told once to each endpoint of its organization and currency that wants it', async () => {
  const owner = await world.newOwner('live');
  const other = await world.newOwner('live');
  const all = await world.newEndpoint(owner, HOOK);
  const chosen = await world.newEndpoint(owner, HOOK, ['credits.loaded', 'payout.paid']);
  const unmoved = await world.newEndpoint(owner, HOOK, ['payout.paid']);
  const foreign = await world.newEndpoint(other, HOOK);
  const test = await world.newEndpoint({ ...owner, currency: 'test' }, HOOK);
  await world.happen(owner);
  assert.equal(await fanOut(webhooks), 2);
  assert.equal(await fanOut(webhooks), 0);
  // Nor when whoever told it could not say so.
  await world.database.pool.query('UPDATE events SET fanned_out_at = NULL');
  assert.equal(await fanOut(webhooks), 0);
  const counts = await Promise.all(
    [all, chosen, unmoved, foreign, test].map(async ({ uuid }) => (await toldTo(uuid)).length),
  );
  assert.deepEqual(counts, [1, 1, 0, 0, 0]);
});

test('an event whose transaction is rolled back is told to nobody', async () => {
  const owner = await world.newOwner();
  const { uuid } = await world.newEndpoint(owner, HOOK);
  const doomed = world.database.db.transaction(async (tx) => {
    await insertEvent(tx, { ...owner, type: 'credits.loaded', data: {} });
    throw new Error('the card was declined after all');
  });
  await assert.rejects(doomed, /declined/);
  await fanOut(webhooks);
  assert.deepEqual(await toldTo(uuid), []);
});

test('an endpoint hears of what happens from its making on, and of nothing while it is disabled or deleted', async () => {
  const { buyer, accounts } = await newMarket();
  await world.happen(buyer);
  await endCall(world.database.pool, accounts);
  const { id, uuid } = await world.newEndpoint(buyer, HOOK);
  await fanOut(webhooks);
  assert.deepEqual(await toldTo(uuid), []);

  await world.happen(buyer);
  const heard = await endCall(world.database.pool, accounts);
  await fanOut(webhooks);
  assert.deepEqual((await toldTo(uuid)).map(({ event_type }) => event_type).sort(), [
    'call.settled',
    'credits.loaded',
  ]);
  assert.ok(callsOf(await toldTo(uuid)).includes(heard));

  const { db } = world.database;
  const ends = [
    () => db.transaction((tx) => updateEndpoint(tx, buyer, id, { isDisabled: true })),
    () => db.transaction((tx) => markDeleted(tx, buyer, id)),
  ];
  for (const end of ends) {
    await end();
    await world.happen(buyer);
    await endCall(world.database.pool, accounts);
    await fanOut(webhooks);
    assert.equal((await toldTo(uuid)).length, 2);
  }
});

test('an endpoint hears of what happened a microsecond after its making, and not of what happened with it', async () => {
  const { buyer, accounts } = await newMarket();
  const [earlier, later] = [await world.newEndpoint(buyer, HOOK), await world.newEndpoint(buyer, HOOK)];
  const { pool } = world.database;
  await world.happen(buyer);
  await endCall(pool, accounts);
  // Both of one moment, that of the call: an endpoint is made just before it, another at it.
  const { rows } = await pool.query<{ at: string }>(
    `UPDATE events SET occurred_at = j.created_at FROM ledger_journal j
     WHERE events.organization_id = $1 AND j.debit = $2 RETURNING occurred_at::text AS at`,
    [buyer.organizationId, accounts.buyer],
  );
  const moment = rows[0]?.at;
  const made =
    "UPDATE webhook_endpoints SET created_at = $2::timestamptz - $3 * interval '1 microsecond' WHERE id = $1";
  await pool.query(made, [earlier.uuid, moment, 1]);
  await pool.query(made, [later.uuid, moment, 0]);
  await fanOut(webhooks);
  assert.deepEqual((await toldTo(earlier.uuid)).map(({ event_type }) => event_type).sort(), [
    'call.settled',
    'credits.loaded',
  ]);
  assert.deepEqual(await toldTo(later.uuid), []);
});

test('a buyer hears how its call ended and what it cost; the seller of what was settled and what it earned, not of who paid', async () => {
  const { buyer, seller, accounts } = await newMarket();
  const [ofBuyer, ofSeller] = [await world.newEndpoint(buyer, HOOK), await world.newEndpoint(seller, HOOK)];
  const { pool } = world.database;
  const settled = await endCall(pool, { ...accounts, held: 12_500_000n, amount: 10_000_000n, fee: 300_001n });
  const refunded = await endCall(pool, { ...accounts, kind: 'refund' });
  const expired = await endCall(pool, { ...accounts, kind: 'expire' });
  await fanOut(webhooks);

  const toBuyer = await toldTo(ofBuyer.uuid);
  assert.deepEqual(
    new Map(toBuyer.map(({ event_type, payload }) => [payload.data['call_id'], event_type])),
    new Map([
      [settled, 'call.settled'],
      [refunded, 'call.refunded'],
      [expired, 'call.refunded'],
    ]),
  );
  const ofCall = (id: string) => toBuyer.find(({ payload }) => payload.data['call_id'] === id);
  assert.deepEqual(ofCall(settled)?.payload.data, {
    call_id: settled,
    role: 'buyer',
    agent_id: 'agt_test_v1',
    key_id: 'key_1',
    currency: 'live',
    held: '12.5',
    charged: '10',
  });
  assert.equal(ofCall(expired)?.payload.data['charged'], '0');
  const toSeller = await toldTo(ofSeller.uuid);
  assert.deepEqual(
    toSeller.map(({ payload }) => payload.data),
    [
      {
        call_id: settled,
        role: 'seller',
        agent_id: 'agt_test_v1',
        currency: 'live',
        charged: '10',
        fee: '0.300001',
        proceeds: '9.699999',
      },
    ],
  );
  for (const { event_type, payload } of [...toBuyer, ...toSeller]) assertDescribed(event_type, payload.data);
  assert.notEqual(toSeller[0]?.event_id, ofCall(settled)?.event_id);
});

test('an organization that buys from itself hears both sides', async () => {
  const { buyer, accounts } = await newMarket();
  const earnings = await world.accountOf(buyer, 'earnings');
  const { uuid } = await world.newEndpoint(buyer, HOOK);
  await endCall(world.database.pool, { ...accounts, seller: earnings });
  await fanOut(webhooks);
  const roles = (await toldTo(uuid)).map(({ payload }) => payload.data['role'] as string);
  assert.deepEqual(roles.sort(), ['buyer', 'seller']);
});

test('calls with test credits are told to test endpoints only, live ones to live endpoints only', async () => {
  const { buyer, seller, accounts } = await newMarket('test');
  const ofTest = await world.newEndpoint(buyer, HOOK);
  const ofLive = await world.newEndpoint({ ...buyer, currency: 'live' }, HOOK);
  await world.accountOf({ ...seller, currency: 'live' }, 'earnings');
  await world.accountOf({ ...buyer, currency: 'live' }, 'balance');
  const id = await endCall(world.database.pool, accounts);
  await fanOut(webhooks);
  assert.deepEqual(callsOf(await toldTo(ofTest.uuid)), [id]);
  assert.deepEqual(await toldTo(ofLive.uuid), []);
});

test('what the real ledger settles and refunds is told', async () => {
  const { buyer, accounts } = await newMarket();
  const { uuid } = await world.newEndpoint(buyer, HOOK);
  const fees = await world.database.db.transaction(async (tx) => {
    const { rows } = await tx.execute<{ id: string }>(
      `INSERT INTO ledger_accounts (currency, kind) VALUES ('live', 'fees') RETURNING id`,
    );
    return BigInt(rows[0]?.id ?? 0);
  });
  await world.database.pool.query('UPDATE ledger_accounts SET posted = 1000 WHERE id = $1', [accounts.buyer]);
  const ledger = createLedger(world.database, silentLog);
  try {
    const [settled, refunded] = [newId('call'), newId('call')];
    for (const callId of [settled, refunded]) {
      await ledger.hold({
        callId,
        buyer: accounts.buyer,
        seller: accounts.seller,
        fees,
        amountMicros: 100n,
        ttlMs: 60_000,
        keyId: 'key_1',
        agentId: 'agt_test_v1',
        meters: [],
        idempotency: undefined,
      });
    }
    await ledger.settle(settled, 100n, 3n);
    await ledger.refund(refunded);
    await fanOut(webhooks);
    assert.deepEqual(
      new Map((await toldTo(uuid)).map(({ event_type, payload }) => [event_type, payload.data['call_id']])),
      new Map([
        ['call.settled', settled],
        ['call.refunded', refunded],
      ]),
    );
  } finally {
    await ledger.close();
  }
});

test('a call whose transaction stays open while later ones commit is told when it commits', async () => {
  const { buyer, accounts } = await newMarket();
  const { uuid } = await world.newEndpoint(buyer, HOOK);
  const slow = new pg.Client({ connectionString: world.url });
  await slow.connect();
  try {
    await slow.query('BEGIN');
    const late = await endCall(slow, accounts);
    const early = await endCall(world.database.pool, accounts);
    for (let look = 0; look < 3; look += 1) await fanOut(webhooks);
    assert.deepEqual(await toldTo(uuid), [], 'nothing is told past what is still open');
    await slow.query('COMMIT');
    await fanOut(webhooks);
    await fanOut(webhooks);
    assert.deepEqual(callsOf(await toldTo(uuid)).sort(), [late, early].sort());
  } finally {
    await slow.end();
  }
});

test('under load that never pauses, what was committed before is told all the same', async () => {
  const { buyer, accounts } = await newMarket();
  const { uuid } = await world.newEndpoint(buyer, HOOK);
  const clients = [
    new pg.Client({ connectionString: world.url }),
    new pg.Client({ connectionString: world.url }),
  ];
  const calls: string[] = [];
  try {
    for (const client of clients) await client.connect();
    const begin = async (client: pg.Client | undefined) => {
      await client?.query('BEGIN');
      if (client) calls.push(await endCall(client, accounts));
    };
    await begin(clients[0]);
    for (let step = 1; step <= 12; step += 1) {
      // One begins before the other ends, so at no moment is none open.
      await begin(clients[step % 2]);
      await clients[(step + 1) % 2]?.query('COMMIT');
      await fanOut(webhooks);
    }
    const told = callsOf(await toldTo(uuid));
    assert.ok(told.length >= 9, `${told.length} of 12 committed were told`);
    assert.deepEqual(told.toSorted(), calls.slice(0, told.length).toSorted());
  } finally {
    for (const client of clients) await client.end();
  }
});

test('however transactions overlap, are rolled back and are followed, each committed call is told once', async () => {
  const { buyer, accounts } = await newMarket();
  const { uuid } = await world.newEndpoint(buyer, HOOK);
  const [one, two] = [world.openProcess(), world.openProcess()];
  const clients = await Promise.all(
    [0, 1, 2].map(async () => {
      const client = new pg.Client({ connectionString: world.url });
      await client.connect();
      return client;
    }),
  );
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('call' as const), at: fc.nat(2) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('commit' as const), at: fc.nat(2) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('rollback' as const), at: fc.nat(2) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('follow' as const), at: fc.nat(2) }) },
  );
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 24 }), async (steps) => {
        const open = clients.map(() => [] as string[]);
        const committed: string[] = [];
        const isOpen = clients.map(() => false);
        const before = new Set(callsOf(await toldTo(uuid)));
        const end = async (at: number, how: 'COMMIT' | 'ROLLBACK') => {
          if (!isOpen[at]) return;
          await clients[at]?.query(how);
          if (how === 'COMMIT') committed.push(...(open[at] ?? []));
          open[at] = [];
          isOpen[at] = false;
        };
        for (const { kind, at } of steps) {
          const client = clients[at];
          if (kind === 'call' && client) {
            if (!isOpen[at]) await client.query('BEGIN');
            isOpen[at] = true;
            open[at]?.push(await endCall(client, accounts));
          } else if (kind === 'commit') await end(at, 'COMMIT');
          else if (kind === 'rollback') await end(at, 'ROLLBACK');
          else if (at === 2) await Promise.all([fanOut(one), fanOut(two)]);
          else await fanOut(at === 0 ? one : two);
        }
        for (const at of clients.keys()) await end(at, 'COMMIT');
        await fanOut(one);
        await fanOut(two);
        const told = callsOf(await toldTo(uuid)).filter((id) => !before.has(id));
        assert.deepEqual([...told].sort(), [...committed].sort());
      }),
      { numRuns: 100 },
    );
  } finally {
    for (const client of clients) await client.end();
  }
});

test('a mark stays until everyone who was writing has ended: a newer one each time would never be passed', () => {
  const cursor: Cursor = { seq: 10n, mark: { seq: 12n, writers: ['3/1', '4/7'] } };
  assert.deepEqual(moveOn(cursor, { seq: 20n, writers: ['4/7', '5/1'] }), { reach: 10n, mark: cursor.mark });
  const later = { seq: 25n, writers: ['3/2', '5/1'] };
  assert.deepEqual(moveOn(cursor, later), { reach: 12n, mark: later });
  assert.equal(moveOn(cursor, { seq: 25n, writers: [] }).reach, 25n);
  // A process that looked before another one told further does not take that back.
  assert.equal(moveOn(cursor, { seq: 9n, writers: [] }).reach, 10n);
});

test('a transaction that only reads, and a long one in another database of the server, delay nothing', async () => {
  const { buyer, accounts } = await newMarket();
  const { uuid } = await world.newEndpoint(buyer, HOOK);
  const elsewhere = new URL(world.url);
  elsewhere.pathname = '/postgres';
  const others = [
    new pg.Client({ connectionString: world.url }),
    new pg.Client({ connectionString: elsewhere.href }),
  ];
  try {
    for (const client of others) {
      await client.connect();
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
      await client.query('SELECT pg_current_xact_id()');
    }
    await others[0]?.query('SELECT count(*) FROM ledger_journal');
    const id = await endCall(world.database.pool, accounts);
    await fanOut(webhooks);
    assert.deepEqual(callsOf(await toldTo(uuid)), [id]);
  } finally {
    for (const client of others) await client.end();
  }
});

test('what lies behind a long pause is told in batches, none of it lost or twice', async () => {
  const { buyer, seller, accounts } = await newMarket();
  const ofBuyer = await world.newEndpoint(buyer, HOOK);
  const ofSeller = await world.newEndpoint(seller, HOOK, ['call.settled']);
  // One that only the buyer hears of, so that a batch ends between the two rows of some later call.
  await endCall(world.database.pool, { ...accounts, kind: 'refund' });
  await world.database.pool.query(
    `INSERT INTO ledger_journal (id, kind, debit, credit, amount, held, key_id, agent_id, created_at)
     SELECT gen_random_uuid(), 'settle', $1, $2, 1, 1, 'key_1', 'agt_test_v1', clock_timestamp() FROM generate_series(1, 2500)`,
    [accounts.buyer, accounts.seller],
  );
  assert.equal(await fanOut(webhooks), 5_001);
  assert.equal(new Set(callsOf(await toldTo(ofBuyer.uuid))).size, 2_501);
  assert.equal(new Set(callsOf(await toldTo(ofSeller.uuid))).size, 2_500);
});

test('where nobody listens the cursor moves on and no row of the journal is read', async () => {
  const { accounts } = await newMarket();
  await world.database.pool.query('UPDATE webhook_endpoints SET is_disabled = true');
  for (let n = 0; n < 5; n += 1) await endCall(world.database.pool, accounts);
  assert.equal(await fanOut(webhooks), 0);
  const { rows } = await world.database.pool.query<{ behind: string }>(
    `SELECT pg_sequence_last_value('ledger_journal_seq_seq') - seq AS behind FROM webhook_cursor`,
  );
  assert.equal(rows[0]?.behind, '0');
  // And where nothing happened nothing is written.
  const version = async () =>
    (await world.database.pool.query<{ xmin: string }>('SELECT xmin::text FROM webhook_cursor')).rows[0]
      ?.xmin;
  const was = await version();
  await fanOut(webhooks);
  assert.equal(await version(), was);
});

test('deliveries are kept for 30 days, those of a deleted endpoint not so long, and what is being sent is left', async () => {
  const owner = await world.newOwner();
  const [kept, deleted] = [await world.newEndpoint(owner, HOOK), await world.newEndpoint(owner, HOOK)];
  await world.happen(owner);
  await fanOut(webhooks);
  const { pool, db } = world.database;
  await db.transaction((tx) => markDeleted(tx, owner, deleted.id));
  await forgetDeliveries({ db });
  assert.equal((await toldTo(deleted.uuid)).length, 0);
  assert.equal((await toldTo(kept.uuid)).length, 1);
  const { rowCount } = await pool.query('SELECT FROM webhook_endpoints WHERE id = $1', [deleted.uuid]);
  assert.equal(rowCount, 0);

  await world.clock.later(KEEP_MS + 60_000);
  const lease = new Date(world.clock.now() + 1_000);
  await pool.query('UPDATE webhook_deliveries SET leased_until = $2 WHERE endpoint_id = $1', [
    kept.uuid,
    lease,
  ]);
  await forgetDeliveries({ db });
  assert.equal((await toldTo(kept.uuid)).length, 1);
  await world.clock.later(1_001);
  await forgetDeliveries({ db });
  assert.equal((await toldTo(kept.uuid)).length, 0);
});
