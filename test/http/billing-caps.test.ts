import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setBudget } from '../../src/governance/budgets.ts';
import { findAccount } from '../../src/ledger/accounts.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';
import { startRestGateway, type Answer, type Member, type RestGateway } from './rest-gateway.ts';

let rest: RestGateway;
let seller: TestSeller;
before(async () => {
  rest = await startRestGateway();
  seller = await startSeller((input) => ({ text: input['text'] }));
  await rest.publish(manifestOf('alpha', seller.url), 90);
});
after(async () => {
  await rest.close();
  await seller.close();
});

const SCOPES = ['agents:invoke', 'billing:read', 'billing:write'] as const;
const newMember = (credits = '100'): Promise<Member> => rest.newMember(credits, { scopes: SCOPES });
const invoke = (member: Member): Promise<Answer> =>
  rest.send('POST', '/v1/agents/agt_alpha_v1/invoke', { key: member.key, body: { inputs: { text: 'x' } } });
const read = async (member: Member, path: string) =>
  (await rest.send('GET', `/v1/billing/${path}`, { key: member.key })).body;
const put = (member: Member, path: string, body: unknown): Promise<Answer> =>
  rest.send('PUT', `/v1/billing/${path}`, { key: member.key, body });
const putCaps = (by: Member, of: Member, body: unknown): Promise<Answer> =>
  put(by, `keys/${of.keyId}/caps`, body);

const NO_CAPS = { cap_day: null, cap_month: null, cap_total: null };
const used = (credits: string) => ({ used_day: credits, used_month: credits, used_total: credits });
const UNCOUNTED = { used_day: null, used_month: null, used_total: null };

test('a budget binds every key of the organization together, and tells what is used', async () => {
  const first = await newMember();
  const second = await rest.newKey(first.organizationId, { scopes: SCOPES });
  assert.deepEqual(await read(first, 'budget'), { currency: 'live', ...NO_CAPS, ...UNCOUNTED });
  const set = await put(first, 'budget', { cap_day: '12' });
  assert.equal(set.status, 200);
  assert.deepEqual(set.body, { currency: 'live', ...NO_CAPS, cap_day: '12', ...used('0') });
  assert.equal((await invoke(first)).status, 200);
  assert.equal((await invoke(second)).status, 200);
  for (const member of [first, second]) {
    const { status, body } = await invoke(member);
    assert.deepEqual([status, body.code, body.limit], [403, 'BUDGET_EXCEEDED', 'day']);
    assert.match(body.detail, /organization/);
  }
  assert.deepEqual(await read(second, 'budget'), {
    currency: 'live',
    ...NO_CAPS,
    cap_day: '12',
    ...used('10'),
  });
});

test('nothing is counted before there is a budget, and the first one begins with what was spent before it', async () => {
  const member = await newMember();
  await invoke(member);
  assert.deepEqual(await read(member, 'budget'), { currency: 'live', ...NO_CAPS, ...UNCOUNTED });
  const { body } = await put(member, 'budget', { cap_month: '9.999999' });
  assert.deepEqual(body, { currency: 'live', ...NO_CAPS, cap_month: '9.999999', ...used('5') });
  assert.equal((await invoke(member)).body.code, 'BUDGET_EXCEEDED');
});

test('a cap lowered below what is used refuses, and a raised or lifted one lets calls through again', async () => {
  const member = await newMember();
  await put(member, 'budget', { cap_total: '100' });
  await invoke(member);
  const lowered = await put(member, 'budget', { cap_total: '1' });
  assert.deepEqual([lowered.body.cap_total, lowered.body.used_total], ['1', '5']);
  assert.equal((await invoke(member)).body.limit, 'total');
  await put(member, 'budget', { cap_total: '10' });
  assert.equal((await invoke(member)).status, 200);
  assert.equal((await invoke(member)).body.limit, 'total');
  const lifted = await put(member, 'budget', { cap_total: null });
  assert.deepEqual(lifted.body, { currency: 'live', ...NO_CAPS, ...used('10') });
  assert.equal((await invoke(member)).status, 200);
  assert.equal((await read(member, 'budget')).used_total, '15', 'lifting a cap forgets nothing');
});

test('a cap of nothing stops all spending', async () => {
  const member = await newMember();
  await put(member, 'budget', { cap_day: '0' });
  assert.equal((await invoke(member)).body.code, 'BUDGET_EXCEEDED');
});

test('live and test credits have a budget each', async () => {
  const live = await newMember();
  const trial = await rest.newKey(live.organizationId, { scopes: SCOPES, currency: 'test' });
  await put(trial, 'budget', { cap_day: '0' });
  assert.equal((await invoke(live)).status, 200);
  assert.deepEqual(await read(live, 'budget'), { currency: 'live', ...NO_CAPS, ...UNCOUNTED });
  assert.equal((await read(trial, 'budget')).cap_day, '0');
});

test('forty budgets set at once make one meter, and one of them is in force', async () => {
  const member = await newMember();
  const { db, pool } = rest.gateway.database;
  const accountId = (await findAccount(db, member.organizationId, 'live', 'balance')) ?? 0n;
  // As several processes do: one of them lets an organization set one after the other.
  await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      setBudget(db, accountId, { capTotalMicros: BigInt(index + 1) * 1_000_000n }, new Date()),
    ),
  );
  const { rows } = await pool.query<{ n: string }>(
    `SELECT count(*) AS n FROM spend_meters m WHERE m.cap_total BETWEEN 1000000 AND 40000000
       AND NOT EXISTS (SELECT 1 FROM ledger_accounts a WHERE a.meter_id = m.id)
       AND NOT EXISTS (SELECT 1 FROM api_keys k WHERE k.meter_id = m.id)`,
  );
  assert.equal(rows[0]?.n, '0', 'no meter is left that counts nothing');
});

test("a key's caps hold from its very next call on, counted from what it had spent", async () => {
  const admin = await newMember();
  const agent = await rest.newKey(admin.organizationId, { scopes: ['agents:invoke'], name: 'worker' });
  await invoke(agent);
  await invoke(admin);
  const set = await putCaps(admin, agent, { cap_month: '10' });
  assert.equal(set.status, 200);
  const { last_four: _, ...body } = set.body;
  assert.deepEqual(body, {
    key_id: agent.keyId,
    name: 'worker',
    currency: 'live',
    revoked_at: null,
    max_per_call: null,
    ...NO_CAPS,
    cap_month: '10',
    ...used('5'),
  });
  assert.equal((await invoke(agent)).status, 200);
  assert.deepEqual([(await invoke(agent)).body.limit, (await invoke(admin)).status], ['month', 200]);

  await putCaps(admin, agent, { max_per_call: '4.999999' });
  const refused = await invoke(agent);
  assert.deepEqual([refused.status, refused.body.limit], [403, '4.999999']);
  await putCaps(admin, agent, {});
  assert.equal((await invoke(agent)).status, 200);
  const { items } = await read(admin, 'keys');
  assert.deepEqual(
    items.map((item: Record<string, unknown>) => [item['key_id'], item['used_total'], item['max_per_call']]),
    [
      [agent.keyId, '15', null],
      [admin.keyId, null, null],
    ],
  );
});

test('a budget and the caps of a key hold together: whichever is reached first refuses', async () => {
  const admin = await newMember();
  const agent = await rest.newKey(admin.organizationId, { scopes: ['agents:invoke'] });
  await put(admin, 'budget', { cap_day: '15' });
  await putCaps(admin, agent, { cap_day: '5' });
  assert.equal((await invoke(agent)).status, 200);
  assert.match((await invoke(agent)).body.detail, /key's spending cap/);
  assert.equal((await invoke(admin)).status, 200);
  assert.equal((await invoke(admin)).status, 200);
  assert.match((await invoke(admin)).body.detail, /organization's spending cap/);
  assert.equal((await read(admin, 'budget')).used_day, '15');
});

test('a failed call gives back to the budget and to the key', async () => {
  const admin = await newMember();
  const broken = await startSeller(() => ({ wrong: true }));
  const slug = 'broken';
  await rest.publish(manifestOf(slug, broken.url), 90);
  await put(admin, 'budget', { cap_day: '5' });
  await putCaps(admin, admin, { cap_day: '5' });
  for (let n = 0; n < 3; n += 1) {
    const { body } = await rest.send('POST', `/v1/agents/agt_${slug}_v1/invoke`, {
      key: admin.key,
      body: { inputs: { text: 'x' } },
    });
    assert.equal(body.code, 'OUTPUT_INVALID');
  }
  assert.equal((await read(admin, 'budget')).used_day, '0');
  await broken.close();
});

test("nobody caps another organization's key, nor a key of the other currency, nor one that never was", async () => {
  const admin = await newMember();
  const trial = await rest.newKey(admin.organizationId, { currency: 'test' });
  const stranger = await newMember();
  const headers = { 'x-request-id': 'same' };
  const answers = await Promise.all(
    [trial.keyId, stranger.keyId, `key_${'0'.repeat(32)}`, 'nonsense'].map((id) =>
      rest.send('PUT', `/v1/billing/keys/${id}/caps`, { key: admin.key, body: { cap_day: '0' }, headers }),
    ),
  );
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([404]));
  assert.equal(new Set(answers.map(({ text }) => text)).size, 1);
  assert.equal((await invoke(stranger)).status, 200);
  const { items } = await read(admin, 'keys');
  assert.deepEqual(
    items.map((item: { key_id: string }) => item.key_id),
    [admin.keyId],
  );
});

test('the alert is remembered until it is taken away', async () => {
  const member = await newMember();
  const none = { currency: 'live', balance_below: null, told_at: null };
  assert.deepEqual(await read(member, 'alerts'), none);
  const set = await put(member, 'alerts', { balance_below: '20' });
  assert.deepEqual(set.body, { ...none, balance_below: '20' });
  assert.deepEqual(await read(member, 'alerts'), set.body);
  assert.deepEqual((await put(member, 'alerts', { balance_below: null })).body, none);
});

for (const [path, body, places] of [
  ['budget', { cap_day: '-1', cap_year: '1' }, ['/cap_day', '/cap_year']],
  ['budget', { cap_day: 5 }, ['/cap_day']],
  ['budget', { cap_total: '1000000001' }, ['/cap_total']],
  ['keys/key_x/caps', { max_per_call: '1.0000001' }, ['/max_per_call']],
  ['alerts', {}, ['/balance_below']],
  ['alerts', { balance_below: 'low' }, ['/balance_below']],
] as const) {
  test(`PUT /v1/billing/${path} with ${JSON.stringify(body)} names ${places.join(' and ')}`, async () => {
    const { status, body: problem } = await put(await newMember(), path, body);
    assert.equal(status, 400);
    const found = problem.faults.map((fault: { path: string }) => fault.path);
    assert.deepEqual(found.toSorted(), [...places]);
  });
}
