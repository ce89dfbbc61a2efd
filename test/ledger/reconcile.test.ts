import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { silentLog } from '../../src/base/log.ts';
import { idOfUuid, uuidOfId } from '../../src/base/ids.ts';
import { reconcile, type OutsideComparison, type Reconciliation } from '../../src/calls/reconcile.ts';
import { setBudgetCaps } from '../../src/ledger/meters.ts';
import { call, openWorld, type World } from '../support/world.ts';

const NOTHING_SPENT = { usedDayMicros: 0n, usedMonthMicros: 0n, usedTotalMicros: 0n };
const HOUR_MS = 60 * 60_000;

/** Books of one buyer, in which everything happened and nothing is wrong. */
type Books = World & {
  /** Calls that were settled, the first and the second of the chain; then a refunded one, and one on hold. */
  first: string;
  second: string;
  refunded: string;
  open: string;
  organizationId: string;
  keyId: string;
  /** The accounts' ids: the buyer's balance, the seller's earnings, the platform's fees. */
  buyer: string;
  earnings: string;
  fees: string;
};

async function openBooks(): Promise<Books> {
  const world = await openWorld();
  const { process, database, seller } = world;
  const caller = await world.newCaller('1000', { caps: { capDayMicros: 500_000_000n } });
  await database.db.transaction((tx) =>
    setBudgetCaps(tx, caller.accountId, { capMonthMicros: 900_000_000n }, NOTHING_SPENT, new Date()),
  );
  const agentId = await world.publish();
  seller.automatic = ({ input, answer }) => {
    const { question } = input as { question: string };
    if (question === 'why?') answer({ nonsense: true });
    else if (question !== 'when?') answer({ answer: 'so' });
  };
  const make = async (question: string): Promise<string> => {
    const result = await call(process, caller, agentId, { input: { question } });
    assert.ok('receipt' in result && result.receipt, JSON.stringify(result));
    return result.receipt.callId;
  };
  const [first, second, refunded] = [await make('how?'), await make('who?'), await make('why?')];
  void call(process, caller, agentId, { input: { question: 'when?' } });
  const { headers } = await seller.visit(3);
  await process.recorder.flushed();
  const { rows } = await database.pool.query<{ credit: string; fee_account: string }>(
    `SELECT credit, fee_account FROM ledger_journal WHERE kind = 'settle' LIMIT 1`,
  );
  return {
    ...world,
    first,
    second,
    refunded,
    open: String(headers['x-sentinel-call-id']),
    organizationId: caller.organizationId,
    keyId: caller.keyId,
    buyer: String(caller.accountId),
    earnings: rows[0]?.credit ?? '',
    fees: rows[0]?.fee_account ?? '',
  };
}

function compare(
  world: World,
  changes: { now?: Date; limit?: number; outside?: OutsideComparison[] } = {},
): Promise<Reconciliation> {
  const { now = new Date(), limit = 100, outside = [] } = changes;
  return reconcile({ db: world.database.db, now, outside, log: silentLog }, limit);
}

/** Writes what no code of ours would: past triggers and foreign keys. */
async function plant(world: World, sql: string, ids: Record<string, string>): Promise<void> {
  const client = new pg.Client({ connectionString: world.url });
  await client.connect();
  try {
    await client.query('SET session_replication_role = replica');
    await client.query(
      sql.replaceAll(/:(\w+)\b/g, (text, name: string) => (name in ids ? `'${ids[name]}'` : text)),
    );
  } finally {
    await client.end();
  }
}

/** A call's UUID, for SQL. */
function uuidsOf(books: Books): Record<string, string> {
  const { first, second, refunded, open, buyer, earnings, fees, keyId } = books;
  const uuid = (id: string): string => uuidOfId('call', id) ?? '';
  return {
    first: uuid(first),
    second: uuid(second),
    refunded: uuid(refunded),
    open: uuid(open),
    ghost: 'f'.repeat(32),
    buyer,
    seller: earnings,
    fees,
    key: keyId,
  };
}

const GHOST = idOfUuid('call', 'f'.repeat(32));

type Named = [what: string, id: string][];
type Plant = {
  title: string;
  sql: string;
  /** How much later the books are compared. */
  afterMs?: number;
  names(books: Books): Named;
};

const COPY_OF_CALL = (id: string, of: string): string =>
  `INSERT INTO calls SELECT (jsonb_populate_record(c, jsonb_build_object('id', ${id}))).* FROM calls c WHERE id = ${of}`;

const PLANTS: Plant[] = [
  {
    title: 'a balance that is not what its movements add up to',
    sql: 'UPDATE ledger_accounts SET posted = posted + 1 WHERE id = :buyer',
    names: ({ buyer }) => [
      ['account balance', buyer],
      ['balance total', 'live'],
    ],
  },
  {
    title: 'an amount on hold that no hold accounts for',
    sql: 'UPDATE ledger_accounts SET held = held + 1 WHERE id = :buyer',
    names: ({ buyer }) => [['account on hold', buyer]],
  },
  {
    title: 'a hold that vanished',
    sql: 'DELETE FROM ledger_holds WHERE id = :open',
    names: ({ buyer, keyId, organizationId }) => [
      ['account on hold', buyer],
      ["key's meter", keyId],
      ["organization's meter", `${organizationId} live`],
    ],
  },
  {
    title: 'a movement that vanished',
    sql: 'DELETE FROM ledger_journal WHERE id = :second',
    names: ({ buyer, earnings, fees, second, keyId, organizationId }) => [
      ['account balance', buyer],
      ['account balance', fees],
      ['account balance', earnings],
      ['call without movement', second],
      ["key's meter", keyId],
      ["organization's meter", `${organizationId} live`],
      ['receipt', second],
    ],
  },
  {
    title: 'a movement whose amount was changed',
    sql: 'UPDATE ledger_journal SET amount = amount - 1000000 WHERE id = :second',
    names: ({ buyer, earnings, second, keyId, organizationId }) => [
      ['account balance', buyer],
      ['account balance', earnings],
      ['call record', second],
      ["key's meter", keyId],
      ["organization's meter", `${organizationId} live`],
      ['receipt', second],
    ],
  },
  {
    title: 'a movement to an account that does not exist',
    sql: 'UPDATE ledger_journal SET fee_account = 999999 WHERE id = :first',
    names: ({ fees, first }) => [
      ['account balance', fees],
      ['journal account', first],
      ['journal total', 'live'],
    ],
  },
  {
    title: 'a hold for an account that does not exist',
    sql: 'UPDATE ledger_holds SET fees = 999999 WHERE id = :open',
    names: ({ open }) => [['hold account', open]],
  },
  {
    title: 'a movement of live credits to a test account',
    sql: `INSERT INTO ledger_accounts (currency, kind) VALUES ('test', 'fees');
      UPDATE ledger_journal SET fee_account = (SELECT max(id) FROM ledger_accounts) WHERE id = :first`,
    names: ({ fees, first }) => [
      ['account balance', fees],
      ['account balance', 'new'],
      ['journal currency', first],
      ['journal total', 'live'],
      ['journal total', 'test'],
    ],
  },
  {
    title: 'a hold of live credits for a test account',
    sql: `INSERT INTO ledger_accounts (currency, kind) VALUES ('test', 'fees');
      UPDATE ledger_holds SET seller = (SELECT max(id) FROM ledger_accounts) WHERE id = :open`,
    names: ({ open }) => [['hold currency', open]],
  },
  {
    title: 'a hold that is open and resolved',
    sql: `INSERT INTO ledger_holds SELECT (jsonb_populate_record(h, jsonb_build_object('id', :first))).* FROM ledger_holds h;
      UPDATE ledger_holds SET meters = null, counted_on = null WHERE id = :first`,
    names: ({ buyer, first }) => [
      ['account on hold', buyer],
      ['hold of an ended call', first],
      ['resolved hold', first],
    ],
  },
  {
    title: 'a hold nobody swept for an hour',
    sql: 'SELECT 1',
    afterMs: HOUR_MS,
    names: ({ open }) => [['expired hold', open]],
  },
  {
    title: 'a hold whose call is recorded as ended',
    sql: COPY_OF_CALL(':open', ':refunded'),
    names: ({ open }) => [
      ['call without movement', open],
      ['hold of an ended call', open],
    ],
  },
  {
    title: 'a paid call without a record',
    sql: 'DELETE FROM calls WHERE id = :first',
    afterMs: HOUR_MS,
    names: ({ first, open }) => [
      ['expired hold', open],
      ['missing call record', first],
    ],
  },
  {
    title: 'a record that tells another fee than the journal',
    sql: 'UPDATE calls SET fee_micros = fee_micros - 1 WHERE id = :first',
    names: ({ first }) => [['call record', first]],
  },
  {
    title: 'a record of a refund where the journal settled',
    sql: `UPDATE calls SET outcome = 'refunded', code = 'TIMEOUT', charged_micros = 0, fee_micros = 0 WHERE id = :first`,
    names: ({ first }) => [['call record', first]],
  },
  {
    title: 'a record that tells another hold than the journal',
    sql: 'UPDATE calls SET held_micros = held_micros + 1 WHERE id = :refunded',
    names: ({ refunded }) => [['call record', refunded]],
  },
  {
    title: 'a call recorded for the other currency',
    sql: `UPDATE calls SET currency = 'test' WHERE id = :first`,
    names: ({ first }) => [['call owner', first]],
  },
  {
    title: 'a call recorded for another organization',
    sql: `UPDATE calls SET organization_id = 'org_other' WHERE id = :refunded`,
    names: ({ refunded }) => [['call owner', refunded]],
  },
  {
    title: 'a call recorded as paid that never was',
    sql: COPY_OF_CALL(':ghost', ':first'),
    names: () => [['call without movement', GHOST]],
  },
  {
    title: 'a receipt taken out of the middle',
    sql: 'DELETE FROM receipts WHERE call_id = :second',
    names: ({ second, refunded }) => [
      ['missing receipt', second],
      ['receipt number', refunded],
    ],
  },
  {
    title: 'a receipt taken from the beginning',
    sql: 'DELETE FROM receipts WHERE call_id = :first',
    names: ({ second }) => [['receipt number', second]],
  },
  {
    title: 'a receipt taken from the end',
    sql: 'DELETE FROM receipts WHERE call_id = :refunded',
    names: ({ refunded, buyer }) => [
      ['missing receipt', refunded],
      ['receipt chain end', buyer],
    ],
  },
  {
    title: 'a receipt that was altered',
    sql: `UPDATE receipts SET payload = replace(payload, '"charged":"10"', '"charged":"1"') WHERE call_id = :first`,
    names: ({ first, second }) => [
      ['receipt', first],
      ['receipt chain', second],
    ],
  },
  {
    title: 'two receipts that changed places',
    sql: `UPDATE receipts SET seq = 99 WHERE call_id = :first;
      UPDATE receipts SET seq = 1 WHERE call_id = :second; UPDATE receipts SET seq = 2 WHERE call_id = :first`,
    names: ({ first, second, refunded }) => [
      ['receipt chain', first],
      ['receipt chain', refunded],
      ['receipt chain', second],
      ['receipt number', first],
      ['receipt number', second],
    ],
  },
  {
    title: 'a receipt of a call that never was',
    sql: `INSERT INTO receipts SELECT :ghost, :seller, 1, payload FROM receipts WHERE call_id = :first`,
    names: ({ earnings }) => [
      ['receipt', GHOST],
      ['receipt chain end', earnings],
    ],
  },
  {
    title: 'a chain that is said to end elsewhere',
    sql: `UPDATE receipt_chains SET head = sha256('x') WHERE account_id = :buyer`,
    names: ({ buyer }) => [['receipt chain end', buyer]],
  },
  {
    title: 'a chain whose end was lost',
    sql: 'DELETE FROM receipt_chains WHERE account_id = :buyer',
    names: ({ buyer }) => [['receipt chain end', buyer]],
  },
  {
    title: "a key's meter that counts too much",
    sql: 'UPDATE spend_meters SET used_total = used_total + 1 WHERE id = (SELECT meter_id FROM api_keys WHERE id = :key)',
    names: ({ keyId }) => [["key's meter", keyId]],
  },
  {
    title: "a key's meter that counts too little",
    sql: `UPDATE spend_meters SET used_day = used_day - 1, used_month = used_month - 1, used_total = used_total - 1
      WHERE id = (SELECT meter_id FROM api_keys WHERE id = :key)`,
    names: ({ keyId }) => [["key's meter", keyId]],
  },
  {
    title: "an organization's meter that counts too much",
    sql: 'UPDATE spend_meters SET used_total = used_total + 1 WHERE id = (SELECT meter_id FROM ledger_accounts WHERE id = :buyer)',
    names: ({ organizationId }) => [["organization's meter", `${organizationId} live`]],
  },
  {
    title: "an organization's meter that counts too little",
    sql: `UPDATE spend_meters SET used_day = used_day - 1, used_month = used_month - 1, used_total = used_total - 1,
        opened_at = opened_at - interval '1 hour'
      WHERE id = (SELECT meter_id FROM ledger_accounts WHERE id = :buyer)`,
    names: ({ organizationId }) => [["organization's meter", `${organizationId} live`]],
  },
];

test('books in which everything happened, and nothing is wrong, have no differences', async () => {
  const books = await openBooks();
  try {
    const { count, differences, comparisons, notCompared } = await compare(books);
    assert.deepEqual(differences, []);
    assert.equal(count, 0);
    assert.deepEqual(notCompared, []);
    const planted = new Set(PLANTS.flatMap(({ names }) => names(books).map(([what]) => what)));
    assert.deepEqual(
      comparisons.map(({ what }) => what).filter((what) => !planted.has(what)),
      [],
    );
  } finally {
    await books.close();
  }
});

for (const { title, sql, afterMs = 0, names } of PLANTS) {
  test(`it is named: ${title}`, async () => {
    const books = await openBooks();
    try {
      await plant(books, sql, uuidsOf(books));
      const { differences, count } = await compare(books, { now: new Date(Date.now() + afterMs) });
      const known = new Set(names(books).map(([, id]) => id));
      const found = differences.map(({ what, id }) => `${what} ${known.has(id) ? id : 'new'}`);
      assert.deepEqual(
        found.sort(),
        names(books)
          .map((pair) => pair.join(' '))
          .sort(),
      );
      assert.equal(count, found.length);
      for (const { expected, found } of differences) assert.notEqual(expected, found);
    } finally {
      await books.close();
    }
  });
}

test('a difference tells what was expected and what was found, in credits', async () => {
  const books = await openBooks();
  try {
    await plant(
      books,
      'UPDATE ledger_accounts SET posted = posted + 500000 WHERE id = :buyer',
      uuidsOf(books),
    );
    const { differences } = await compare(books);
    assert.deepEqual(differences, [
      { what: 'balance total', id: 'live', expected: '0', found: '0.5' },
      { what: 'account balance', id: books.buyer, expected: '980', found: '980.5' },
    ]);
  } finally {
    await books.close();
  }
});

test('all differences are counted, and as many named as were asked for', async () => {
  const books = await openBooks();
  try {
    await plant(books, 'UPDATE calls SET currency = $$test$$', {});
    const { count, differences } = await compare(books, { limit: 2 });
    assert.equal(count, 3);
    assert.equal(differences.length, 2);
  } finally {
    await books.close();
  }
});

test('books of others are compared too, and it is told which could not be', async () => {
  const world = await openWorld();
  try {
    const missing = { what: 'top-up', id: 'top_1', expected: 'paid', found: 'open' };
    const { count, differences, notCompared } = await compare(world, {
      outside: [
        { what: 'top-up', compare: () => Promise.resolve([missing]) },
        { what: 'payout', compare: () => Promise.reject(new Error('away')) },
        { what: 'invoice', compare: undefined },
      ],
    });
    assert.deepEqual([count, differences], [1, [missing]]);
    assert.deepEqual(notCompared, [
      { what: 'payout', why: 'failed' },
      { what: 'invoice', why: 'not configured' },
    ]);
  } finally {
    await world.close();
  }
});

test('a buyer who was refused while its hold was still to be decided is no difference', async () => {
  const books = await openBooks();
  try {
    await plant(
      books,
      `UPDATE calls SET outcome = 'refused', code = 'UNAVAILABLE', held_micros = 0 WHERE id = :refunded`,
      uuidsOf(books),
    );
    assert.deepEqual((await compare(books)).differences, []);
  } finally {
    await books.close();
  }
});

test('a call under way when its organization gets a budget is no difference', async () => {
  const world = await openWorld();
  try {
    const caller = await world.newCaller('100');
    const running = call(world.process, caller, await world.publish());
    const visit = await world.seller.visit(0);
    const caps = { capMonthMicros: 900_000_000n };
    await world.database.db.transaction((tx) =>
      setBudgetCaps(tx, caller.accountId, caps, NOTHING_SPENT, new Date()),
    );
    visit.answer({ answer: 'so' });
    await running;
    await world.process.recorder.flushed();
    assert.deepEqual((await compare(world)).differences, []);
  } finally {
    await world.close();
  }
});

test('a hundred callers at work are no difference, however often the books are compared', async () => {
  const world = await openWorld();
  try {
    const agentId = await world.publish();
    let answered = 0;
    world.seller.automatic = ({ answer }) => {
      answered += 1;
      answer(answered % 4 === 0 ? { nonsense: true } : { answer: 'so' });
    };
    const callers = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        world.newCaller('100', index % 2 === 0 ? { caps: { capTotalMicros: 60_000_000n } } : {}),
      ),
    );
    const done = new AbortController();
    const atWork = Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        for (let round = 0; round < 15; round += 1) {
          await call(world.process, callers[index % 10]!, agentId, {
            input: { question: `${index} ${round}` },
          });
        }
      }),
    ).finally(() => done.abort());
    const found: unknown[] = [];
    let rounds = 0;
    for (; !done.signal.aborted; rounds += 1) found.push(...(await compare(world)).differences);
    await atWork;
    await world.process.recorder.flushed();
    found.push(...(await compare(world, { now: new Date(Date.now() + HOUR_MS) })).differences);
    assert.deepEqual(found, []);
    assert.ok(rounds > 3, `${rounds} rounds`);
  } finally {
    await world.close();
  }
});
