import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { newId, uuidOfId } from '../../src/base/ids.ts';
import { topUps } from '../../src/billing/tables.ts';
import { openAccount, transfer } from '../../src/ledger/accounts.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';
import { insertPast, type PastMovement } from '../support/journal.ts';
import { startRestGateway, type Answer, type Member, type RestGateway } from './rest-gateway.ts';

let rest: RestGateway;
let seller: TestSeller;
let arrived: () => void = () => {};
let letAnswer: () => void = () => {};
before(async () => {
  rest = await startRestGateway();
  seller = await startSeller(async (input) => {
    const text = input['text'];
    if (text === 'wait') {
      arrived();
      await new Promise<void>((resolve) => (letAnswer = resolve));
    }
    return text === 'fail' ? { wrong: true } : { text };
  });
  await rest.publish(manifestOf('alpha', seller.url), 90);
  await rest.publish(
    manifestOf('beta', seller.url, { pricing: { model: 'per_call', credits_per_call: '2.5' } }),
    90,
  );
});
after(async () => {
  await rest.close();
  await seller.close();
});

const invoke = (
  member: Member,
  text = 'x',
  agent = 'alpha',
  headers: Record<string, string> = {},
): Promise<Answer> =>
  rest.send('POST', `/v1/agents/agt_${agent}_v1/invoke`, {
    key: member.key,
    body: { inputs: { text } },
    headers,
  });
const read = async (member: Member, path: string) =>
  (await rest.send('GET', `/v1/billing/${path}`, { key: member.key })).body;
const accountOf = async (member: Member, kind: 'balance' | 'frozen' = 'balance'): Promise<bigint> =>
  rest.gateway.database.db.transaction((tx) => openAccount(tx, member.organizationId, 'live', kind));

test('the balance tells what can be spent, is on hold, is on its way and is kept back, each in its currency', async () => {
  const member = await rest.newMember('100');
  const testKey = await rest.newKey(member.organizationId, { currency: 'test' });
  const { db } = rest.gateway.database;
  const [balance, frozen] = [await accountOf(member), await accountOf(member, 'frozen')];
  await db.transaction((tx) =>
    transfer(tx, {
      uuid: uuid('txn'),
      kind: 'freeze',
      debit: balance,
      credit: frozen,
      amountMicros: 30_000_000n,
    }),
  );
  for (const [status, currency, cents] of [
    ['open', 'live', 500n],
    ['open', 'test', 7n],
    ['abandoned', 'live', 900n],
  ] as const) {
    await db.insert(topUps).values({
      id: uuid('top'),
      organizationId: member.organizationId,
      currency,
      accountId: balance,
      isAutomatic: false,
      amountCents: cents,
      status,
      expiresAt: new Date('2999-01-01'),
    });
  }
  const live = { credits: '70', escrow_credits: '0', pending_credits: '500', frozen_credits: '30' };
  const trial = { credits: '0', escrow_credits: '0', pending_credits: '7', frozen_credits: '0' };
  const { updated_at: _, ...body } = await read(member, 'balance');
  assert.deepEqual(body, {
    ...live,
    usd_equivalent: '0.70',
    currency: 'live',
    by_currency: { live, test: trial },
  });
  const other = await read(testKey, 'balance');
  assert.deepEqual(
    [other.currency, other.credits, other.pending_credits, other.by_currency.live],
    ['test', '0', '7', live],
  );
});

function uuid(prefix: 'txn' | 'top'): string {
  const id = uuidOfId(prefix, newId(prefix));
  assert.ok(id);
  return id;
}

test('what is on hold is listed with its call while the call runs, and gone when it has ended', async () => {
  const member = await rest.newMember('100');
  const other = await rest.newMember('100');
  const isThere = new Promise<void>((resolve) => (arrived = resolve));
  const answer = invoke(member, 'wait');
  await isThere;
  const { items, next_cursor } = await read(member, 'holds');
  assert.equal(next_cursor, null);
  assert.equal(items.length, 1);
  assert.deepEqual(
    [items[0].agent_id, items[0].key_id, items[0].credits],
    ['agt_alpha_v1', member.keyId, '5'],
  );
  assert.ok(items[0].expires_at > items[0].since);
  assert.equal((await read(member, 'balance')).escrow_credits, '5');
  assert.deepEqual((await read(other, 'holds')).items, []);
  letAnswer();
  assert.equal((await answer).body.call_id, items[0].call_id);
  assert.deepEqual((await read(member, 'holds')).items, []);
});

test('usage adds up to what the journal charged, whatever it is grouped by', async () => {
  const member = await rest.newMember('100');
  const second = await rest.newKey(member.organizationId);
  await invoke(member);
  await invoke(member, 'x', 'beta');
  await invoke(member, 'fail');
  await invoke(second, 'x', 'beta');
  const total = { calls: 4, refunded_calls: 1, charged: '10', fee: '0.3' };
  const usage = async (groupBy: string) => {
    const body = await read(member, `usage?group_by=${groupBy}`);
    assert.deepEqual(body.total, total);
    return body.items.map((item: Record<string, unknown>) => [
      item['group'],
      item['calls'],
      item['refunded_calls'],
      item['charged'],
      item['fee'],
    ]);
  };
  assert.deepEqual(await usage('agent'), [
    ['agt_alpha_v1', 2, 1, '5', '0.15'],
    ['agt_beta_v1', 2, 0, '5', '0.15'],
  ]);
  // Groups are in alphabetical order, and ids in the order they were made.
  assert.deepEqual(await usage('key'), [
    [member.keyId, 3, 1, '7.5', '0.225'],
    [second.keyId, 1, 0, '2.5', '0.075'],
  ]);
  assert.deepEqual(await usage('day'), [[new Date().toISOString().slice(0, 10), 4, 1, '10', '0.3']]);
  assert.deepEqual(await usage('session'), [[null, 4, 1, '10', '0.3']]);
  assert.deepEqual(await usage('caller'), [[null, 4, 1, '10', '0.3']]);
});

test('usage by session and caller is what the calls named, and calls that named none are not lost', async () => {
  const member = await rest.newMember('100');
  for (const agent of ['alpha', 'beta', 'beta']) await invoke(member, 'x', agent);
  await rest.gateway.deps.recorder.flushed();
  await rest.gateway.database.pool.query(
    `UPDATE calls SET session = 'run-1', acting_for = 'ada' WHERE organization_id = $1 AND agent_id = 'agt_beta_v1'`,
    [member.organizationId],
  );
  // A record that was never written: the journal still has the call.
  await rest.gateway.database.pool.query(
    `DELETE FROM calls WHERE organization_id = $1 AND agent_id = 'agt_alpha_v1'`,
    [member.organizationId],
  );
  for (const [groupBy, name] of [
    ['session', 'run-1'],
    ['caller', 'ada'],
  ]) {
    const { items, total } = await read(member, `usage?group_by=${groupBy}`);
    assert.deepEqual(
      items.map((item: Record<string, unknown>) => [item['group'], item['calls'], item['charged']]),
      [
        [name, 2, '5'],
        [null, 1, '5'],
      ],
    );
    assert.equal(total.charged, '10');
  }
});

const [KEY_A, KEY_B, NOBODY] = [newId('key'), newId('key'), newId('key')];
const DAYS: PastMovement[] = [3, 1, 2, 1].map((day, index) => ({
  kind: 'settle',
  direction: 'out',
  amountMicros: BigInt(index + 1),
  feeMicros: 1n,
  at: new Date(`2026-08-0${day}T23:59:59.999Z`),
  agentId: `agt_${index % 2}`,
  keyId: index === 0 ? KEY_A : KEY_B,
}));

const fundingId = (): Promise<bigint> =>
  rest.gateway.database.db.transaction((tx) => openAccount(tx, null, 'live', 'funding'));

async function withHistory(): Promise<Member> {
  const member = await rest.newMember('0');
  const { db, pool } = rest.gateway.database;
  const otherId = await db.transaction((tx) => openAccount(tx, rest.sellerId, 'live', 'earnings'));
  const feesId = await db.transaction((tx) => openAccount(tx, null, 'live', 'fees'));
  const accounts = { accountId: await accountOf(member), otherId: await fundingId(), feesId };
  const begin = new Date('2026-08-01T00:00:00Z');
  await insertPast(pool, accounts, [
    { kind: 'grant', direction: 'in', amountMicros: 100_000_000n, at: begin },
  ]);
  const past = DAYS.toSorted((a, b) => a.at.getTime() - b.at.getTime());
  await insertPast(pool, { ...accounts, otherId }, past);
  return member;
}

test('usage of a time is of that time alone, page by page', async () => {
  const member = await withHistory();
  const path = 'usage?group_by=day&from=2026-08-01&to=2026-08-04&limit=2';
  const first = await read(member, path);
  assert.deepEqual(
    first.items.map((item: Record<string, unknown>) => [item['group'], item['charged']]),
    [
      ['2026-08-01', '0.000006'],
      ['2026-08-02', '0.000003'],
    ],
  );
  assert.deepEqual(first.total, { calls: 4, refunded_calls: 0, charged: '0.00001', fee: '0.000004' });
  const second = await read(member, `${path}&cursor=${first.next_cursor}`);
  assert.deepEqual(
    second.items.map((item: Record<string, unknown>) => item['group']),
    ['2026-08-03'],
  );
  assert.deepEqual([second.next_cursor, second.total], [null, first.total]);
  const part = await read(
    member,
    'usage?group_by=day&from=2026-08-02T23:59:59.999Z&to=2026-08-03T23:59:59.999Z',
  );
  assert.equal(part.total.charged, '0.000003');
  assert.equal((await read(member, 'usage')).total.calls, 0, 'without a time it is this month');
});

test('a time that ends before it begins is refused, and an empty one has nothing in it', async () => {
  const member = await withHistory();
  const ask = (path: string) => rest.send('GET', `/v1/billing/${path}`, { key: member.key });
  for (const path of ['transactions', 'usage', 'earnings/calls']) {
    const { status, body } = await ask(`${path}?from=2026-08-02&to=2026-08-01T23:59:59Z`);
    assert.deepEqual([status, body.code, body.faults[0].path], [400, 'INVALID_INPUT', '/to'], path);
    assert.match(body.detail, /Exchange `from` and `to`/);
    const empty = await ask(`${path}?from=2026-08-02&to=2026-08-02`);
    assert.deepEqual([empty.status, empty.body.items], [200, []], path);
  }
  const { status, body } = await ask('usage?to=2020-01-01');
  assert.deepEqual([status, body.faults[0].path], [400, '/from'], 'without `from` it is this month');
});

test('movements are found by type, time, agent and key, newest first', async () => {
  const member = await withHistory();
  const credits = async (query: string): Promise<string[]> =>
    (await read(member, `transactions?${query}`)).items.map((item: { credits: string }) => item.credits);
  const all = ['-0.000001', '-0.000003', '-0.000004', '-0.000002', '100'];
  assert.deepEqual(await credits(''), all);
  assert.deepEqual(await credits('type=settle,grant'), all);
  assert.deepEqual(await credits(`type=settle&type=refund&key=${KEY_A}`), ['-0.000001']);
  assert.deepEqual(await credits('type=grant'), ['100']);
  assert.deepEqual(await credits('agent=agt_0&to=2026-08-03'), ['-0.000003']);
  assert.deepEqual(await credits('from=2026-08-03&to=2026-08-04'), ['-0.000001']);
  assert.deepEqual(await credits(`key=${NOBODY}`), []);
});

test('the id of a key may stand in the query, and a key may not', async () => {
  const member = await rest.newMember('1');
  for (const query of [`key=${member.key}`, `agent=${member.key}`, 'key=key_x', `token=${member.keyId}`]) {
    const { status, text } = await rest.send('GET', `/v1/billing/transactions?${query}`, { key: member.key });
    assert.equal(status, 400);
    assert.match(text, /An API key must not be in the URL/);
  }
});
