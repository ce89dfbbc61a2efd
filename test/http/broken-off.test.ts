import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Client, PoolClient } from 'pg';
import { findAccount, openAccount } from '../../src/ledger/accounts.ts';
import { manifestOf, startSeller } from '../support/gateway.ts';
import { insertPast } from '../support/journal.ts';
import { startRestGateway, type Answer, type Member, type RestGateway } from './rest-gateway.ts';

let rest: RestGateway;
const logged: string[] = [];
before(async () => {
  rest = await startRestGateway({ log: (_, message) => logged.push(message) });
});
after(() => rest.close());

const STATEMENT = '/v1/billing/statement?month=2026-08&format=csv';

async function withLongMonth(): Promise<Member> {
  const member = await rest.newMember('0');
  const { db, pool } = rest.gateway.database;
  const otherId = await db.transaction((tx) => openAccount(tx, null, 'live', 'funding'));
  const accountId = (await findAccount(db, member.organizationId, 'live', 'balance')) ?? 0n;
  const begin = Date.parse('2026-08-01T00:00:00Z');
  const movements = Array.from({ length: 9_000 }, (_, index) => ({
    kind: 'grant' as const,
    direction: 'in' as const,
    amountMicros: 1_000_000n,
    at: new Date(begin + index * 1_000),
  }));
  await insertPast(pool, { accountId, otherId }, movements);
  return member;
}

/** What arrives at a client, and whether it was told that this is not all. */
async function download(path: string, { key }: Member): Promise<{ text: string; isCut: boolean }> {
  const response = await fetch(`${rest.url}${path}`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal(response.status, 200);
  assert.ok(response.body);
  let text = '';
  try {
    for await (const part of response.body.pipeThrough(new TextDecoderStream())) text += part;
    return { text, isCut: false };
  } catch {
    return { text, isCut: true };
  }
}

/** The same while one look into the database, after the first bytes were sent and before the last, is cut short. */
async function downloadBroken(path: string, member: Member): Promise<{ text: string; isCut: boolean }> {
  const { pool } = rest.gateway.database;
  let looks = 0;
  const look = (client: PoolClient): void => {
    looks += 1;
    if (looks === 6) void (client as unknown as Client).end();
  };
  pool.on('acquire', look);
  try {
    return await download(path, member);
  } finally {
    pool.off('acquire', look);
  }
}

test('a statement that breaks off is cut at the wire, and lacks its closing row', async () => {
  const member = await withLongMonth();
  const whole = await download(STATEMENT, member);
  assert.match(whole.text, /\r\nclosing_balance,[^\r]*\r\n$/);
  const { text, isCut } = await downloadBroken(STATEMENT, member);
  assert.ok(isCut, 'no client takes it for a whole answer');
  assert.match(text, /^row,created_at,.*\r\nopening_balance,/);
  assert.ok(text.length < whole.text.length);
  assert.ok(whole.text.startsWith(text));
  assert.doesNotMatch(text, /closing_balance/);
  assert.ok(logged.includes('a statement broke off'));
});

test('a file of receipts that cannot be read to its end breaks off, and tells nobody why but the log', async () => {
  const seller = await startSeller(({ text }) => ({ text }));
  const { pool } = rest.gateway.database;
  try {
    const agentId = await rest.publish(manifestOf('many', seller.url), 80);
    const member = await rest.newMember('2000', { ratePerMinute: 10_000 });
    const body = { inputs: { text: 'x' } };
    // More than are read at a time.
    for (let batch = 0; batch < 21; batch += 1) {
      const buy = () => rest.send('POST', `/v1/agents/${agentId}/invoke`, { key: member.key, body });
      await Promise.all(Array.from({ length: 10 }, buy));
    }
    const headers = { authorization: `Bearer ${member.key}`, host: new URL(rest.url).host };
    const url = `${rest.url}/v1/billing/receipts?format=jsonl`;
    const response = await rest.gateway.app.fetch(new Request(url, { headers }));
    const reader = response.body?.getReader();
    const { value } = (await reader?.read()) ?? {};
    assert.equal(
      Buffer.from(value ?? [])
        .toString()
        .split('\n').length,
      201,
    );
    await pool.query('ALTER TABLE receipts RENAME COLUMN payload TO payload_elsewhere');
    try {
      await assert.rejects(async () => reader?.read(), { message: 'a chain of receipts broke off' });
      assert.ok(logged.includes('a chain of receipts broke off'));
      const { status } = await rest.send('GET', '/v1/billing/receipts?format=jsonl', { key: member.key });
      assert.equal(status, 500, 'before anything was sent it is an ordinary problem');
    } finally {
      await pool.query('ALTER TABLE receipts RENAME COLUMN payload_elsewhere TO payload');
    }
  } finally {
    await seller.close();
  }
});

test('a reading the database gives up is told as that, with what to do, and not as a fault of ours', async () => {
  const member = await rest.newMember('1');
  const { pool } = rest.gateway.database;
  for (const path of [STATEMENT, '/v1/billing/usage', '/v1/billing/transactions']) {
    const blocker = await pool.connect();
    try {
      await blocker.query('BEGIN; LOCK TABLE ledger_journal IN ACCESS EXCLUSIVE MODE');
      const { status, body, headers } = await whileCancelling(rest.send('GET', path, { key: member.key }));
      assert.deepEqual([status, body.code, body.retryable], [503, 'UNAVAILABLE', true], path);
      assert.match(body.detail, /did not finish this in time.*shorter time/);
      assert.equal(headers.get('retry-after'), '30');
    } finally {
      await blocker.query('ROLLBACK');
      blocker.release();
    }
  }
});

/** Until the answer is there, every statement that waits for a lock is cancelled, as the time limit would. */
async function whileCancelling(answer: Promise<Answer>): Promise<Answer> {
  const there = new AbortController();
  const answered = answer.finally(() => there.abort());
  while (!there.signal.aborted) {
    await rest.gateway.database.pool.query(
      `SELECT pg_cancel_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
  }
  return answered;
}
