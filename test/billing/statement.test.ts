import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { silentLog } from '../../src/base/log.ts';
import { readStatement, type StatementPart } from '../../src/billing/statement.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { openAccount } from '../../src/ledger/accounts.ts';
import { monthAfter } from '../../src/ledger/month-ends.ts';
import { BALANCE_KINDS } from '../../src/ledger/transactions.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { insertPast, type PastMovement } from '../support/journal.ts';

let testDatabase: TestDatabase;
let database: Database;
let fundingId: bigint;
let feesId: bigint;
before(async () => {
  testDatabase = await createTestDatabase();
  database = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 4 });
  fundingId = await database.db.transaction((tx) => openAccount(tx, null, 'live', 'funding'));
  feesId = await database.db.transaction((tx) => openAccount(tx, null, 'live', 'fees'));
});
after(async () => {
  await database.close();
  await testDatabase.close();
});

const AUGUST = new Date('2026-08-01T00:00:00Z');
const MONTHS = ['2026-08', '2026-09', '2026-10'].map((month) => new Date(`${month}-01T00:00:00Z`));
// Within the last month read: it may still get movements, and the ones before may not.
const NOW = new Date('2026-10-20T12:00:00Z');
const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;

async function newAccount(): Promise<bigint> {
  return database.db.transaction(async (tx) => {
    const { id } = await insertOrganization(tx, 'Buyer');
    return openAccount(tx, id, 'live', 'balance');
  });
}

type Read = {
  opening: bigint;
  closing: bigint;
  sum: bigint;
  totals: Record<string, string>;
  balances: bigint[];
  uuids: string[];
  isFinal: boolean;
};

async function read(accountId: bigint, month: Date, now = NOW): Promise<Read> {
  const parts: StatementPart[] = [];
  for await (const part of readStatement(database.db, { accountId, month, now })) parts.push(part);
  const [opening, ...rest] = parts;
  const closing = rest.pop();
  assert.ok(opening?.kind === 'opening' && closing?.kind === 'closing');
  const lines = rest.flatMap((part) => (part.kind === 'lines' ? part.lines : []));
  return {
    opening: opening.balanceMicros,
    closing: closing.balanceMicros,
    sum: closing.totals.reduce((sum, total) => sum + total.changeMicros, 0n),
    totals: Object.fromEntries(
      closing.totals.map(({ kind, count, changeMicros }) => [kind, `${count} ${changeMicros}`]),
    ),
    balances: lines.map((line) => line.balanceMicros),
    uuids: lines.map((line) => line.uuid),
    isFinal: closing.isFinal,
  };
}

/** What the journal says, asked without any of the statement's ways to find rows. */
async function askJournal(
  accountId: bigint,
  from: Date,
  to: Date,
): Promise<Omit<Read, 'balances' | 'isFinal'>> {
  const { rows } = await database.pool.query<{ kind: string; opening: string; n: string; sum: string }>(
    `WITH legs AS (
       SELECT kind, created_at, -amount AS change FROM ledger_journal WHERE debit = $1
       UNION ALL SELECT kind, created_at, amount - fee FROM ledger_journal WHERE credit = $1
     )
     SELECT kind, coalesce(sum(change) FILTER (WHERE created_at < $2), 0) AS opening,
       count(*) FILTER (WHERE created_at >= $2) AS n, coalesce(sum(change) FILTER (WHERE created_at >= $2), 0) AS sum
     FROM legs WHERE created_at < $3 GROUP BY kind`,
    [accountId, from.toISOString(), to.toISOString()],
  );
  const ids = await database.pool.query<{ id: string }>(
    `SELECT id FROM ledger_journal WHERE (debit = $1 OR credit = $1) AND created_at >= $2 AND created_at < $3 ORDER BY seq`,
    [accountId, from.toISOString(), to.toISOString()],
  );
  const opening = rows.reduce((sum, row) => sum + BigInt(row.opening), 0n);
  const sum = rows.reduce((total, row) => total + BigInt(row.sum), 0n);
  return {
    opening,
    closing: opening + sum,
    sum,
    totals: Object.fromEntries(
      rows.filter((row) => row.n !== '0').map((row) => [row.kind, `${row.n} ${row.sum}`]),
    ),
    uuids: ids.rows.map(({ id }) => id),
  };
}

/** Rows are numbered almost in the order of their times: never further apart than a transaction may last. */
const journal: fc.Arbitrary<PastMovement[]> = fc
  .array(
    fc.record({
      kind: fc.constantFrom(...BALANCE_KINDS),
      amount: fc.bigInt({ min: 1n, max: 10n ** 15n }),
      feeShare: fc.bigInt({ min: 0n, max: 10_000n }),
      // Some lie on the very edge of a month.
      atMs: fc.oneof(
        fc.integer({ min: -20 * DAY_MS, max: 80 * DAY_MS }),
        fc.constantFrom(-1, 0, 31 * DAY_MS - 1, 31 * DAY_MS, 61 * DAY_MS),
      ),
      lateMs: fc.oneof(fc.constant(0), fc.integer({ min: -20 * MINUTE_MS, max: 20 * MINUTE_MS })),
    }),
    { maxLength: 40 },
  )
  .map((wanted) =>
    wanted
      .toSorted((a, b) => a.atMs + a.lateMs - (b.atMs + b.lateMs))
      .map(({ kind, amount, feeShare, atMs }): PastMovement => {
        const isNothing = kind === 'refund' || kind === 'expire';
        const direction = OUTGOING.has(kind) ? 'out' : 'in';
        return {
          kind,
          direction,
          amountMicros: isNothing ? 0n : amount,
          feeMicros: kind === 'settle' ? (amount * feeShare) / 10_000n : 0n,
          at: new Date(AUGUST.getTime() + atMs),
        };
      }),
  );
const OUTGOING = new Set(['settle', 'refund', 'expire', 'freeze', 'top_up_reversal']);

test('a thousand journals: opening, lines, totals and closing are the journal to the micro-credit', async () => {
  // The overdraft rule has nothing to say about how a statement adds up; without it any sequence will do.
  await database.pool.query('ALTER TABLE ledger_accounts DROP CONSTRAINT accounts_cannot_be_overdrawn');
  await fc.assert(
    fc.asyncProperty(journal, fc.shuffledSubarray(MONTHS, { minLength: 1 }), async (movements, months) => {
      const accountId = await newAccount();
      if (movements.length > 0) {
        await insertPast(database.pool, { accountId, otherId: fundingId, feesId }, movements);
      }
      for (const month of months) {
        const { balances, isFinal, ...statement } = await read(accountId, month);
        assert.deepEqual(statement, await askJournal(accountId, month, monthAfter(month)));
        assert.equal(statement.opening + statement.sum, statement.closing);
        assert.equal(balances.at(-1) ?? statement.opening, statement.closing);
        assert.equal(isFinal, month !== MONTHS[2]);
      }
    }),
    { numRuns: 1_000, interruptAfterTimeLimit: 100_000, markInterruptAsFailure: true },
  );
});

const steadily = (count: number, from: Date, everyMs: number): PastMovement[] =>
  Array.from({ length: count }, (_, index) => ({
    kind: 'grant',
    direction: 'in',
    amountMicros: BigInt(index + 1),
    at: new Date(from.getTime() + index * everyMs),
  }));

test('a month of many pages has every movement once, in order', async () => {
  const accountId = await newAccount();
  const accounts = { accountId, otherId: fundingId };
  const ids = await insertPast(database.pool, accounts, steadily(6_001, AUGUST, MINUTE_MS));
  const statement = await read(accountId, AUGUST);
  assert.deepEqual(statement.uuids, ids);
  assert.equal(statement.closing, (6_001n * 6_002n) / 2n);
});

test('what happens while a statement is read is not in it, and the next one is right', async () => {
  const accountId = await newAccount();
  const accounts = { accountId, otherId: fundingId };
  await insertPast(database.pool, accounts, steadily(4_500, AUGUST, MINUTE_MS));
  const parts = readStatement(database.db, { accountId, month: AUGUST, now: NOW });
  await parts.next();
  await parts.next();
  const late = {
    kind: 'grant',
    direction: 'in',
    amountMicros: 7n,
    at: new Date('2026-08-30T00:00:00Z'),
  } as const;
  await insertPast(database.pool, accounts, [late]);
  let last: StatementPart | undefined;
  for await (const part of parts) last = part;
  const sum = (4_500n * 4_501n) / 2n;
  assert.ok(last?.kind === 'closing');
  assert.equal(last.balanceMicros, sum);
  assert.equal((await read(accountId, AUGUST)).closing, sum + 7n);
});

test('nothing more is read once nobody wants it', async () => {
  const accountId = await newAccount();
  await insertPast(database.pool, { accountId, otherId: fundingId }, steadily(4_500, AUGUST, MINUTE_MS));
  const parts = readStatement(database.db, { accountId, month: AUGUST, now: NOW });
  await parts.next();
  await parts.next();
  await parts.return(undefined);
  assert.deepEqual(await parts.next(), { done: true, value: undefined });
  assert.equal(database.pool.totalCount - database.pool.idleCount, 0, 'no connection is kept');
});

test('the end of a month is kept once it is final, and never of one that is not', async () => {
  const accountId = await newAccount();
  await insertPast(database.pool, { accountId, otherId: fundingId }, steadily(10, AUGUST, DAY_MS));
  const kept = async (): Promise<string[]> => {
    const { rows } = await database.pool.query<{ end: string }>(
      `SELECT month::text || ' ' || posted AS end FROM ledger_month_ends WHERE account_id = $1 ORDER BY month`,
      [accountId],
    );
    return rows.map(({ end }) => end);
  };
  const [august = NOW, september = NOW] = MONTHS;
  await read(accountId, september, new Date('2026-09-01T23:59:59Z'));
  assert.deepEqual(await kept(), [], 'August ended less than a day ago');
  await read(accountId, september, new Date('2026-09-02T00:00:00Z'));
  assert.deepEqual(await kept(), ['2026-08-01 55']);
  assert.equal((await read(accountId, august)).isFinal, true);
  assert.deepEqual(await kept(), ['2026-07-01 0', '2026-08-01 55']);
});

test('a statement of an account to which nothing ever happened is empty', async () => {
  const statement = await read(9_000_000_000n, AUGUST);
  assert.deepEqual([statement.opening, statement.closing, statement.uuids], [0n, 0n, []]);
});
