import assert from 'node:assert/strict';
import { get, type IncomingMessage } from 'node:http';
import { after, before, test } from 'node:test';
import { Problem } from '../../src/base/problem.ts';
import { createAdmission } from '../../src/http/admission.ts';
import { findAccount, openAccount } from '../../src/ledger/accounts.ts';
import { insertPast, type PastMovement } from '../support/journal.ts';
import { startRestGateway, type Answer, type Member, type RestGateway } from './rest-gateway.ts';

let rest: RestGateway;
before(async () => {
  rest = await startRestGateway();
});
after(() => rest.close());

const here = (): AbortSignal => new AbortController().signal;
const isLimited = (error: unknown): boolean =>
  error instanceof Problem && error.code === 'RATE_LIMITED' && (error.extras.retry_after_seconds ?? 0) > 0;

test('one organization is let in one at a time, four wait in order, and a sixth is refused', async () => {
  const admission = createAdmission();
  const order: number[] = [];
  const leave = await admission.enter('org_a', here());
  const waiting = [1, 2, 3, 4].map(async (place) => {
    const leaveToo = await admission.enter('org_a', here());
    order.push(place);
    leaveToo();
  });
  await assert.rejects(admission.enter('org_a', here()), isLimited);
  (await admission.enter('org_b', here()))();
  assert.deepEqual(order, []);
  leave();
  leave();
  await Promise.all(waiting);
  assert.deepEqual(order, [1, 2, 3, 4]);
  (await admission.enter('org_a', here()))();
});

test('whoever hangs up while it waits gives its place to another', async () => {
  const admission = createAdmission();
  const leave = await admission.enter('org_a', here());
  const clients = [1, 2, 3, 4].map(() => new AbortController());
  const waiting = clients.map(({ signal }) => admission.enter('org_a', signal));
  clients[0]?.abort();
  await assert.rejects(waiting[0] ?? Promise.resolve());
  const another = admission.enter('org_a', here());
  leave();
  for (const next of [...waiting.slice(1), another]) (await next)();
});

test('no more than three read at once, of however many organizations', async () => {
  const admission = createAdmission();
  let most = 0;
  let reading = 0;
  const read = async (): Promise<void> => {
    most = Math.max(most, (reading += 1));
    await new Promise(setImmediate);
    reading -= 1;
  };
  await Promise.all(Array.from({ length: 20 }, () => admission.read(read, here())));
  assert.equal(most, 3);
  const failed = Array.from({ length: 5 }, () =>
    admission.read(() => Promise.reject(new Error('broken')), here()),
  );
  assert.ok((await Promise.allSettled(failed)).every(({ status }) => status === 'rejected'));
  await admission.read(read, here());
});

/** Every question of the journal waits until this is called. */
async function stopJournal(): Promise<() => Promise<void>> {
  const client = await rest.gateway.database.pool.connect();
  await client.query('BEGIN');
  await client.query('LOCK TABLE ledger_journal IN ACCESS EXCLUSIVE MODE');
  return async () => {
    await client.query('ROLLBACK');
    client.release();
  };
}

for (const path of [
  'usage',
  'transactions',
  'statement?month=2026-08',
  'earnings/calls',
  'receipts',
  'disputes',
  'loads/top_00000000000070008000000000000000',
]) {
  test(`GET /v1/billing/${path} waits for its organization's turn, and is told when to come back`, async () => {
    const member = await rest.newMember('1');
    const ask = (question: string): Promise<Answer> =>
      rest.send('GET', `/v1/billing/${question}`, { key: member.key });
    const go = await stopJournal();
    const refused: Answer[] = [];
    const asked = Array.from({ length: 5 }, async () => {
      const answer = await ask('transactions?agent=agt_rare_v1');
      if (answer.status === 429) refused.push(answer);
      return answer;
    });
    // One of six is refused, whichever arrives last; until then all the others wait.
    const last = ask(path);
    const told = await Promise.race([last, ...asked]);
    assert.equal(told.status, 429, told.text);
    assert.equal(told.body.code, 'RATE_LIMITED');
    assert.ok(Number(told.headers.get('retry-after')) > 0);
    const balance = await ask('balance');
    assert.equal(balance.status, 200, 'what costs nothing is answered');
    await go();
    const statuses = [...(await Promise.all(asked)), await last].map(({ status }) => status);
    assert.equal(statuses.filter((status) => status === 429).length, 1);
    assert.equal((await ask(path)).status < 429, true);
  });
}

const LONG = Array.from({ length: 9_000 }, (_, index): PastMovement => ({
  kind: 'grant',
  direction: 'in',
  amountMicros: 1_000_000n,
  at: new Date(Date.parse('2026-08-01T00:00:00Z') + index * 1_000),
}));

async function newBusyMember(): Promise<Member> {
  const member = await rest.newMember('0');
  const { db, pool } = rest.gateway.database;
  const otherId = await db.transaction((tx) => openAccount(tx, null, 'live', 'funding'));
  const accountId = await findAccount(db, member.organizationId, 'live', 'balance');
  await insertPast(pool, { accountId: accountId ?? 0n, otherId, feesId: otherId }, LONG);
  return member;
}

const STATEMENT = '/v1/billing/statement?month=2026-08';

async function open(member: Member): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const headers = { authorization: `Bearer ${member.key}`, host: new URL(rest.url).host };
  const response = await rest.gateway.app.fetch(new Request(`${rest.url}${STATEMENT}`, { headers }));
  assert.equal(response.status, 200);
  assert.ok(response.body);
  return response.body.getReader();
}

test('a streamed answer has its turn to its end, and slow readers are in nobody else’s way', async () => {
  const slow = await Promise.all([newBusyMember(), newBusyMember(), newBusyMember()]);
  const readers = await Promise.all(slow.map(open));
  const other = await rest.newMember('1');
  assert.equal((await rest.send('GET', STATEMENT, { key: other.key })).status, 200);

  const [first] = slow;
  assert.ok(first);
  let isAnswered = false;
  const next = rest.send('GET', '/v1/billing/usage', { key: first.key }).then((answer) => {
    isAnswered = true;
    return answer;
  });
  const [mine, ...others] = readers;
  assert.ok(mine);
  assert.equal((await rest.send('GET', '/v1/billing/usage', { key: other.key })).status, 200);
  assert.equal(isAnswered, false);
  while (!(await mine.read()).done);
  assert.equal((await next).status, 200);
  for (const reader of others) await reader.cancel();
  for (const { key } of slow) assert.equal((await rest.send('GET', STATEMENT, { key })).status, 200);
});

test('whoever hangs up, or asks for the head alone, keeps no turn', async () => {
  const member = await newBusyMember();
  const headers = { authorization: `Bearer ${member.key}` };
  const response = await new Promise<IncomingMessage>((resolve) => {
    get(`${rest.url}${STATEMENT}`, { headers }, resolve).on('error', () => {});
  });
  response.on('error', () => {});
  response.destroy();
  assert.equal((await rest.send('HEAD', `${STATEMENT}&format=csv`, { key: member.key })).status, 200);
  assert.equal((await rest.send('GET', STATEMENT, { key: member.key })).status, 200);
});
