import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { silentLog } from '../../src/base/log.ts';
import { openDatabase, violatedConstraint } from '../../src/db/db.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import { holdIn, nextId, openBooks, type Books } from './books.ts';
import { playRow, ROWS } from './rows.ts';

let books: Books;
before(async () => {
  books = await openBooks();
});
after(() => books.close());

describe('the rows', () => {
  for (const row of ROWS) test(row.title, () => playRow(books, row));
});

test('an account that does not exist has nothing to spend, and cannot be paid', async () => {
  const world = await books.openWorld([100n]);
  const [buyer = 0n] = world.buyers;
  const stranger = 9_000_000_000n;
  const hold = (id: string, from: bigint, seller: bigint) => ({
    isRetry: false,
    resolve: [],
    hold: [{ id, buyer: from, amount: 0n, seller }],
  });
  assert.equal((await books.apply(world, hold(nextId(), stranger, world.seller))).hold, '0');

  const unpayable = nextId();
  assert.equal((await books.apply(world, hold(unpayable, buyer, stranger))).hold, '1');
  await books.client.query('UPDATE ledger_holds SET amount = 5 WHERE id = $1', [unpayable]);
  await books.client.query('UPDATE ledger_accounts SET held = 5 WHERE id = $1', [buyer]);
  const settle = [{ id: unpayable, kind: 'settle' as const, charge: 5n, fee: 0n }];
  await assert.rejects(books.apply(world, { isRetry: false, resolve: settle, hold: [] }), {
    code: '23503',
    message: 'a leg names an account that does not exist',
  });
  assert.equal((await books.read(world)).accounts[String(buyer)]?.held, 5n, 'nothing of it happened');
  const refund = [{ id: unpayable, kind: 'refund' as const, charge: 0n, fee: 0n }];
  assert.equal((await books.apply(world, { isRetry: false, resolve: refund, hold: [] })).resolve, '1');
});

test('an order that no database could take fails alone', async () => {
  const world = await books.openWorld([100n]);
  const database = openDatabase(books.url, { log: silentLog, maxConnections: 1 });
  const ledger = createLedger(database, silentLog);
  const hold = (amountMicros: bigint) => ledger.hold(holdIn(world, amountMicros, { keyId: 'key_test' }));
  try {
    // As much as no bigint holds, and as much as only a sum of two does not.
    const answers = await Promise.allSettled([hold(60n), hold(2n ** 63n), hold(2n ** 63n - 1n), hold(40n)]);
    assert.deepEqual(
      answers.map((answer) => (answer.status === 'fulfilled' ? answer.value.kind : 'failed')),
      ['placed', 'failed', 'insufficient', 'placed'],
    );
  } finally {
    await ledger.close();
    await database.close();
  }
});

for (const [amount, code, held] of [
  [11n, '0', 0n],
  [10n, '1', 10n],
] as const) {
  test(`a batch that waited for a balance decides on what it is by then: a hold of ${amount} gets ${code}`, async () => {
    const world = await books.openWorld([100n]);
    const [buyer = 0n] = world.buyers;
    const [open, id] = [nextId(), nextId()];
    await books.apply(world, { isRetry: false, resolve: [], hold: [{ id: open, buyer, amount: 30n }] });
    const other = new pg.Client({ connectionString: books.url });
    await other.connect();
    try {
      const { rows } = await books.client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      const pid = rows[0]?.pid;
      await other.query('BEGIN');
      await other.query(`SELECT ledger_transfer($1, 'grant', $2, $3, 60)`, [nextId(), buyer, world.funding]);
      const answer = books.apply(world, {
        isRetry: false,
        resolve: [{ id: open, kind: 'settle', charge: 30n, fee: 1n }],
        hold: [{ id, buyer, amount }],
      });
      while (!(await isKeptWaiting(other, pid)));
      await other.query('COMMIT');
      assert.deepEqual(await answer, { resolve: '1', hold: code });
      const { accounts, faults } = await books.read(world);
      assert.deepEqual(faults, []);
      assert.deepEqual(accounts[String(buyer)], { posted: 10n, held });
    } finally {
      await other.end();
    }
  });
}

async function isKeptWaiting(client: pg.Client, pid: number | undefined): Promise<boolean> {
  const { rows } = await client.query<{ by: number[] }>('SELECT pg_blocking_pids($1) AS by', [pid]);
  return rows[0]?.by.length !== 0;
}

test('a hold on a meter that does not exist is refused', async () => {
  const world = await books.openWorld([100n]);
  const hold = [{ id: nextId(), buyer: world.buyers[0] ?? 0n, amount: 1n, meter: 9_000_000_000n }];
  assert.equal((await books.apply(world, { isRetry: false, resolve: [], hold })).hold, 't');
  assert.deepEqual((await books.read(world)).faults, []);
});

test('what a month has used lasts through its days and ends with it', async () => {
  const world = await books.openWorld([1_000n], [{ day: 100n, month: 150n, total: null }]);
  const [meter = 0n] = world.meters;
  const metered = async (amount: bigint): Promise<string> => {
    const hold = [{ id: nextId(), buyer: world.buyers[0] ?? 0n, amount, meter }];
    return (await books.apply(world, { isRetry: false, resolve: [], hold })).hold;
  };
  assert.equal(await metered(100n), '1');
  const { rows } = await books.client.query<{ day: number }>(
    `SELECT extract(day FROM clock_timestamp() AT TIME ZONE 'utc')::int AS day`,
  );
  const dayOfMonth = rows[0]?.day ?? 1;
  await books.age(meter, 1);
  if (dayOfMonth === 1) {
    // Yesterday was the month before.
    assert.equal(await metered(100n), '1');
  } else {
    assert.equal(await metered(51n), 'm');
    assert.equal(await metered(50n), '1');
  }
  await books.age(meter, 31);
  assert.equal(await metered(51n), '1');
});

test('a hold that cannot be refunded does not keep the other expired ones waiting', async () => {
  const world = await books.openWorld([100n]);
  const [buyer = 0n] = world.buyers;
  const [good, bad] = [nextId(), nextId()];
  // The bad one releases more than its account has on hold, which no constraint lets through.
  await books.client.query(`UPDATE ledger_accounts SET held = 40 WHERE id = $1`, [buyer]);
  for (const [id, amount] of [
    [bad, 41],
    [good, 40],
  ] as const) {
    await books.client.query(
      `INSERT INTO ledger_holds (id, buyer, seller, fees, amount, key_id, agent_id, keyed, created_at, expires_at)
       VALUES ($1, $2, $4, $4, $3, 'key', 'agent', false, now() - interval '2 s', now() - interval '1 s')`,
      [id, buyer, amount, world.funding],
    );
  }
  const { rows } = await books.client.query<{ amount: string }>(
    `SELECT amount FROM ledger_expire(500, '', '')`,
  );
  assert.deepEqual(rows, [{ amount: '40' }]);
  const left = await books.client.query<{ amount: string }>(
    'DELETE FROM ledger_holds WHERE id IN ($1, $2) RETURNING amount',
    [good, bad],
  );
  assert.deepEqual(left.rows, [{ amount: '41' }]);
});

test('a transfer happens once, and its id is not used for another', async () => {
  const world = await books.openWorld([0n]);
  const [buyer = 0n] = world.buyers;
  const id = nextId();
  const transfer = async (amount: bigint): Promise<boolean | undefined> => {
    const { rows } = await books.client.query<{ done: boolean }>(
      `SELECT ledger_transfer($1, 'grant', $2, $3, $4) AS done`,
      [id, world.funding, buyer, amount],
    );
    return rows[0]?.done;
  };
  assert.equal(await transfer(7n), true);
  assert.equal(await transfer(7n), false);
  await assert.rejects(transfer(8n), { code: '23505' });
  const now = await books.read(world);
  assert.deepEqual(now.faults, []);
  assert.equal(now.accounts[String(buyer)]?.posted, 7n);
  assert.equal(now.accounts[String(world.funding)]?.posted, -7n);
});

/** One statement that breaks each rule, by the name of the rule. `$A` and `$B` are accounts, `$O` their owner. */
const BROKEN_RULES: Record<string, string> = {
  accounts_are_one_per_owner_currency_and_kind: `INSERT INTO ledger_accounts (organization_id, currency, kind) VALUES ($O, 'test', 'funding')`,
  accounts_currency_is_known: `INSERT INTO ledger_accounts (organization_id, currency, kind) VALUES ($O, 'usd', 'balance')`,
  accounts_kind_is_known: `INSERT INTO ledger_accounts (organization_id, currency, kind) VALUES ($O, 'test', 'escrow')`,
  accounts_held_is_not_negative: `UPDATE ledger_accounts SET held = -1 WHERE id = $A`,
  accounts_cannot_be_overdrawn: `UPDATE ledger_accounts SET held = posted + 1 WHERE id = $A`,
  holds_amount_is_not_negative: `INSERT INTO ledger_holds (id, buyer, seller, fees, amount, key_id, agent_id, keyed, created_at, expires_at) VALUES (gen_random_uuid(), $A, $B, $B, -1, '', '', false, now(), now() + interval '1 s')`,
  holds_expire_after_they_open: `INSERT INTO ledger_holds (id, buyer, seller, fees, amount, key_id, agent_id, keyed, created_at, expires_at) VALUES (gen_random_uuid(), $A, $B, $B, 1, '', '', false, now(), now())`,
  holds_meters_have_their_days: `INSERT INTO ledger_holds (id, buyer, seller, fees, amount, key_id, agent_id, keyed, meters, created_at, expires_at) VALUES (gen_random_uuid(), $A, $B, $B, 1, '', '', false, '{1}', now(), now() + interval '1 s')`,
  journal_kind_is_known: `INSERT INTO ledger_journal (id, kind, debit, credit, amount) VALUES (gen_random_uuid(), 'gift', $A, $B, 1)`,
  journal_amount_is_not_negative: `INSERT INTO ledger_journal (id, kind, debit, credit, amount, fee) VALUES (gen_random_uuid(), 'grant', $A, $B, -1, 0)`,
  journal_fee_is_part_of_amount: `INSERT INTO ledger_journal (id, kind, debit, credit, amount, fee, fee_account) VALUES (gen_random_uuid(), 'grant', $A, $B, 1, 2, $B)`,
  journal_fee_has_an_account: `INSERT INTO ledger_journal (id, kind, debit, credit, amount, fee) VALUES (gen_random_uuid(), 'grant', $A, $B, 1, 1)`,
  journal_settles_at_most_the_hold: `INSERT INTO ledger_journal (id, kind, debit, credit, amount, held) VALUES (gen_random_uuid(), 'settle', $A, $B, 2, 1)`,
  journal_refunds_charge_nothing: `INSERT INTO ledger_journal (id, kind, debit, credit, amount, held) VALUES (gen_random_uuid(), 'refund', $A, $B, 1, 1)`,
  journal_moves_between_two_accounts: `INSERT INTO ledger_journal (id, kind, debit, credit, amount) VALUES (gen_random_uuid(), 'grant', $A, $A, 1)`,
  ledger_journal_pkey: `INSERT INTO ledger_journal (id, kind, debit, credit, amount) SELECT id, 'grant', $A, $B, 1 FROM ledger_journal LIMIT 1`,
  meters_used_is_not_negative: `INSERT INTO spend_meters (used_day) VALUES (-1)`,
  meters_day_is_part_of_month: `INSERT INTO spend_meters (used_day, used_month, used_total) VALUES (2, 1, 2)`,
  meters_month_is_part_of_total: `INSERT INTO spend_meters (used_day, used_month, used_total) VALUES (1, 2, 1)`,
  idempotency_keys_are_per_api_key: `INSERT INTO idempotency_keys VALUES ('k', 'i', gen_random_uuid(), 'h', now()), ('k', 'i', gen_random_uuid(), 'h', now())`,
};

describe('the rules are in the database, by name', () => {
  for (const [rule, statement] of Object.entries(BROKEN_RULES)) {
    test(rule, async () => {
      const { organization, buyers, seller } = await books.openWorld([10n]);
      const sql = statement
        .replaceAll('$A', String(buyers[0]))
        .replaceAll('$B', String(seller))
        .replaceAll('$O', `'${organization}'`);
      const error = await books.client.query(sql).then(
        () => undefined,
        (cause: unknown) => cause,
      );
      assert.equal(violatedConstraint(error), rule, String(error));
    });
  }

  test('and every rule of these tables is broken once above', async () => {
    const { rows } = await books.client.query<{ name: string }>(
      `SELECT conname AS name FROM pg_constraint WHERE contype IN ('c', 'u') AND conrelid IN
        ('ledger_accounts'::regclass, 'ledger_holds'::regclass, 'ledger_journal'::regclass, 'spend_meters'::regclass, 'idempotency_keys'::regclass)`,
    );
    const untested = rows.map(({ name }) => name).filter((name) => !(name in BROKEN_RULES));
    assert.deepEqual(untested, []);
    assert.ok(rows.length >= 15);
  });
});

for (const change of [
  'UPDATE ledger_journal SET amount = amount',
  'UPDATE ledger_journal SET amount = 1 WHERE false',
  'DELETE FROM ledger_journal',
  'TRUNCATE ledger_journal',
]) {
  test(`the journal refuses ${change.split(' ')[0]}${change.endsWith('false') ? ' of no row at all' : ''}`, async () => {
    await books.openWorld([10n]);
    await assert.rejects(books.client.query(change), {
      code: '23001',
      message: 'the journal is never changed: write a correcting row',
    });
  });
}
