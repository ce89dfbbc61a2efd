import assert from 'node:assert/strict';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { after, before, test } from 'node:test';
import { parse } from 'csv-parse/sync';
import { findAccount, openAccount } from '../../src/ledger/accounts.ts';
import { insertPast, type PastMovement } from '../support/journal.ts';
import { startRestGateway, type Member, type RestGateway } from './rest-gateway.ts';

let rest: RestGateway;
const logged: string[] = [];
before(async () => {
  rest = await startRestGateway({ log: (_, message) => logged.push(message) });
});
after(() => rest.close());

const MONTH = '2026-08';

async function insertMovements(member: Member, movements: PastMovement[]): Promise<void> {
  const { db, pool } = rest.gateway.database;
  const otherId = await db.transaction((tx) => openAccount(tx, null, 'live', 'funding'));
  const accountId = await findAccount(db, member.organizationId, 'live', 'balance');
  await insertPast(pool, { accountId: accountId ?? 0n, otherId, feesId: otherId }, movements);
}

const move = (at: string, kind: PastMovement['kind'], amountMicros: bigint, extra = {}): PastMovement => ({
  kind,
  direction: kind === 'settle' || kind === 'refund' || kind === 'freeze' ? 'out' : 'in',
  amountMicros,
  at: new Date(at),
  ...extra,
});

const MOVEMENTS = [
  move('2026-07-31T23:59:59.999Z', 'grant', 100_000_000n),
  move('2026-08-01T00:00:00Z', 'top_up', 500_000_000n),
  move('2026-08-02T10:00:00Z', 'settle', 12_500_001n, { keyId: 'key_1', agentId: 'agt_a_v1', feeMicros: 3n }),
  move('2026-08-02T10:00:01Z', 'refund', 0n, { keyId: 'key_1', agentId: 'agt_a_v1' }),
  move('2026-08-31T23:59:59.999Z', 'freeze', 7n, { subject: '0199f2aa-0000-7000-8000-000000000001' }),
  move('2026-09-01T00:00:00Z', 'grant', 1_000_000n),
];

const path = (format: string): string => `/v1/billing/statement?month=${MONTH}&format=${format}`;

test('a statement says what there was, what happened, and what there is, exactly', async () => {
  const member = await rest.newMember('0');
  await insertMovements(member, MOVEMENTS);
  const { status, body, headers } = await rest.send('GET', path('json'), { key: member.key });
  assert.equal(status, 200);
  assert.equal(headers.get('content-disposition'), `attachment; filename="statement-live-${MONTH}.json"`);
  assert.deepEqual(
    [body.organization_id, body.currency, body.month, body.from, body.to],
    [member.organizationId, 'live', MONTH, '2026-08-01T00:00:00.000Z', '2026-09-01T00:00:00.000Z'],
  );
  assert.deepEqual([body.opening_balance, body.closing_balance, body.final], ['100', '587.499992', true]);
  assert.deepEqual(
    body.movements.map((line: Record<string, string>) => [line['type'], line['credits'], line['balance']]),
    [
      ['top_up', '500', '600'],
      ['settle', '-12.500001', '587.499999'],
      ['refund', '0', '587.499999'],
      ['freeze', '-0.000007', '587.499992'],
    ],
  );
  assert.match(body.movements[1].id, /^call_[0-9a-f]{32}$/);
  assert.equal(body.movements[1].subject, body.movements[1].id);
  assert.match(body.movements[0].subject, /^top_[0-9a-f]{32}$/);
  assert.equal(body.movements[3].subject, 'top_0199f2aa000070008000000000000001');
  assert.deepEqual(body.totals, [
    { type: 'freeze', count: 1, credits: '-0.000007' },
    { type: 'refund', count: 1, credits: '0' },
    { type: 'settle', count: 1, credits: '-12.500001' },
    { type: 'top_up', count: 1, credits: '500' },
  ]);
});

type Row = Record<string, string>;

/** Signed credits as the text of a cell, in micro-credits. */
function micros(cell = ''): bigint {
  assert.match(cell, /^-?[0-9]+(\.[0-9]{1,6})?$/);
  const [whole = '0', fraction = ''] = cell.replace('-', '').split('.');
  const size = BigInt(whole) * 1_000_000n + BigInt(fraction.padEnd(6, '0'));
  return cell.startsWith('-') ? -size : size;
}

const sumOf = (rows: Row[], column: string): bigint =>
  rows.reduce((sum, row) => sum + micros(row[column] === '' ? '0' : row[column]), 0n);

test('as CSV every row says what it is, and every figure has a column of its own', async () => {
  const member = await rest.newMember('0');
  await insertMovements(member, MOVEMENTS);
  const { text, headers } = await rest.send('GET', path('csv'), { key: member.key });
  assert.match(headers.get('content-type') ?? '', /^text\/csv/);
  const rows: Row[] = parse(text, { columns: true });
  const { body } = await rest.send('GET', path('json'), { key: member.key });
  const of = (row: string): Row[] => rows.filter((each) => each['row'] === row);
  assert.deepEqual(
    rows.map(({ row }) => row),
    ['opening_balance', ...Array(4).fill('movement'), ...Array(4).fill('total'), 'closing_balance'],
  );
  assert.deepEqual(
    of('movement').map(({ type, id, credits, balance }) => ({ type, id, credits, balance })),
    body.movements.map(({ type, id, credits, balance }: Row) => ({ type, id, credits, balance })),
  );
  assert.deepEqual(
    of('total').map(({ type, count, total }) => ({ type, count: Number(count), credits: total })),
    body.totals,
  );
  const [opening, closing] = [of('opening_balance')[0], of('closing_balance')[0]];
  assert.deepEqual(
    [opening?.['balance'], closing?.['balance'], closing?.['final']],
    [body.opening_balance, body.closing_balance, 'true'],
  );
  // Whoever adds up a column without looking at the rows gets the change of the month, and not twice.
  assert.equal(sumOf(rows, 'credits'), micros(body.closing_balance) - micros(body.opening_balance));
  assert.equal(sumOf(rows, 'total'), sumOf(rows, 'credits'));
  for (const row of rows.filter((each) => each['row'] !== 'movement')) assert.equal(row['description'], '');
});

test('as CSV the current month says that it may still get movements', async () => {
  const member = await rest.newMember('25');
  const month = new Date().toISOString().slice(0, 7);
  const { text } = await rest.send('GET', `/v1/billing/statement?month=${month}&format=csv`, {
    key: member.key,
  });
  const rows: Row[] = parse(text, { columns: true });
  assert.deepEqual([rows.at(-1)?.['final'], rows.at(-1)?.['balance']], ['false', '25']);
});

test('an agent or key that is named like a formula does not run in the statement', async () => {
  const member = await rest.newMember('0');
  const names = { keyId: '=cmd|x', agentId: '@SUM(1)' };
  await insertMovements(member, [move('2026-08-02T10:00:00Z', 'refund', 0n, names)]);
  const { text } = await rest.send('GET', path('csv'), { key: member.key });
  assert.ok(text.includes("'@SUM(1),'=cmd|x"), text);
});

test('an organization without movements has an empty statement', async () => {
  const member = await rest.newMember('0');
  const { body } = await rest.send('GET', path('json'), { key: member.key });
  assert.deepEqual(
    [body.opening_balance, body.movements, body.totals, body.closing_balance],
    ['0', [], [], '0'],
  );
});

test('the current month is told as not final, and agrees with the balance', async () => {
  const member = await rest.newMember('25');
  const month = new Date().toISOString().slice(0, 7);
  const { body } = await rest.send('GET', `/v1/billing/statement?month=${month}`, { key: member.key });
  assert.deepEqual([body.final, body.closing_balance], [false, '25']);
});

test('a test key reads the statement of the test credits only', async () => {
  const member = await rest.newMember('0');
  await insertMovements(member, MOVEMENTS);
  const testKey = await rest.newKey(member.organizationId, { currency: 'test' });
  const { body } = await rest.send('GET', path('json'), { key: testKey.key });
  assert.deepEqual([body.currency, body.closing_balance, body.movements], ['test', '0', []]);
});

for (const [query, place] of [
  ['', '/month'],
  ['?month=2026-13', '/month'],
  ['?month=2026', '/month'],
  ['?month=2026-08&format=pdf', '/format'],
  ['?month=2026-08&from=2026-08-01', '/from'],
]) {
  test(`GET /v1/billing/statement${query} names ${place}`, async () => {
    const { key } = await rest.newMember('0');
    const { status, body } = await rest.send('GET', `/v1/billing/statement${query}`, { key });
    assert.equal(status, 400);
    assert.deepEqual(
      body.faults.map((fault: { path: string }) => fault.path),
      [place],
    );
  });
}

for (const format of ['json', 'csv']) {
  test(`there is no statement of a month that has not begun, as ${format}`, async () => {
    const { key } = await rest.newMember('0');
    const now = new Date();
    const next = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1)).toISOString().slice(0, 7);
    const { status, body } = await rest.send('GET', `/v1/billing/statement?month=${next}&format=${format}`, {
      key,
    });
    assert.deepEqual([status, body.code, body.faults[0].path], [400, 'INVALID_INPUT', '/month']);
    assert.ok(body.detail.includes(now.toISOString().slice(0, 7)), 'which one there is');
  });
}

const LONG = Array.from({ length: 9_000 }, (_, index) =>
  move(new Date(Date.parse('2026-08-01T00:00:00Z') + index * 1_000).toISOString(), 'grant', 1_000_000n),
);

/** The answer as the application makes it, before any socket could take more of it than was asked for. */
async function ask(member: Member): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const request = new Request(`${rest.url}${path('json')}`, {
    headers: { authorization: `Bearer ${member.key}`, host: new URL(rest.url).host },
  });
  const response = await rest.gateway.app.fetch(request);
  assert.equal(response.status, 200);
  assert.ok(response.body);
  return response.body.getReader();
}

test('a statement is read no faster than it is taken, and no further once its reader is gone', async () => {
  const member = await rest.newMember('0');
  await insertMovements(member, LONG);
  let queries = 0;
  const { pool } = rest.gateway.database;
  const count = (): void => void (queries += 1);
  const reader = await ask(member);
  pool.on('acquire', count);
  try {
    await reader.read();
    for (let round = 0; round < 10; round += 1) await pool.query('SELECT pg_sleep(0)');
    assert.equal(queries, 10, 'the beginning was there already, and nothing is fetched ahead');
    queries = 0;
    for (let page = 0; page < 3; page += 1) await reader.read();
    assert.equal(queries, 4, 'where to begin, and one query a page');
    // A page is on its way when the reader goes: nobody wants it, and that is no failure.
    await new Promise(setImmediate);
    const before = logged.length;
    const asked = once(pool, 'acquire');
    const pending = reader.read();
    await asked;
    await reader.cancel();
    assert.deepEqual(await pending, { done: true, value: undefined });
    assert.equal(queries, 5);
    assert.equal(logged.length, before);
  } finally {
    pool.off('acquire', count);
  }
});

test('a statement that cannot be read to its end breaks off, and tells nobody why but the log', async () => {
  const member = await rest.newMember('0');
  await insertMovements(member, LONG);
  const { pool } = rest.gateway.database;
  const reader = await ask(member);
  await reader.read();
  await pool.query('ALTER TABLE ledger_journal RENAME COLUMN held TO held_elsewhere');
  try {
    await assert.rejects(reader.read(), { message: 'a statement broke off' });
    assert.ok(logged.includes('a statement broke off'));
    const { status, text } = await rest.send('GET', path('json'), { key: member.key });
    assert.equal(status, 500, 'before anything was sent it is an ordinary problem');
    assert.ok(!text.includes('held'));
  } finally {
    await pool.query('ALTER TABLE ledger_journal RENAME COLUMN held_elsewhere TO held');
  }
});

test('a client that hangs up in the middle of a statement disturbs nobody else', async () => {
  const member = await rest.newMember('0');
  await insertMovements(member, LONG);
  const headers = { authorization: `Bearer ${member.key}` };
  const response = await new Promise<IncomingMessage>((resolve) => {
    get(`${rest.url}${path('json')}`, { headers }, resolve).on('error', () => {});
  });
  response.on('error', () => {});
  response.destroy();
  const { status, body } = await rest.send('GET', path('json'), { key: member.key });
  assert.deepEqual([status, body.movements.length], [200, 9_000]);
});
