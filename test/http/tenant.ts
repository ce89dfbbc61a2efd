import assert from 'node:assert/strict';
import { newId, uuidOfId } from '../../src/base/ids.ts';
import { payouts } from '../../src/billing/tables.ts';
import { SCOPES } from '../../src/identity/caller.ts';
import { openAccount } from '../../src/ledger/accounts.ts';
import { manifestOf, type TestSeller } from '../support/gateway.ts';
import type { Answer, Member, RestGateway } from './rest-gateway.ts';

export const ALL_SCOPES = SCOPES.filter((scope) => scope !== 'operator');

/** An organization that has one of everything there is in billing, as a buyer and as a seller. */
export type Tenant = {
  live: Member;
  /** A key of the same organization for the other currency. */
  trial: Member;
  /** Ids of what it has, its own id apart, all of the live currency. */
  ids: string[];
  /** Words it wrote that no one else should read. */
  words: string[];
  /** Amounts nobody else has. */
  amounts: string[];
  /** The idempotency key of everything it asked for. */
  idempotencyKey: string;
};

/** `seller` serves the agent `agt_alpha_v1` at some credits and .123457; an answer to "fail" breaks its promise. */
export async function openTenant(rest: RestGateway, seller: TestSeller): Promise<Tenant> {
  const live = await rest.newMember('1000', { scopes: ALL_SCOPES, name: 'only-a-key' });
  const second = await rest.newKey(live.organizationId, { scopes: ALL_SCOPES });
  const trial = await rest.newKey(live.organizationId, { scopes: ALL_SCOPES, currency: 'test' });
  const idempotencyKey = `anybody-${newId('req')}`;
  const as =
    (member: Member) =>
    async (method: string, path: string, body?: unknown): Promise<Answer> => {
      const headers = { 'idempotency-key': idempotencyKey };
      const answer = await rest.send(method, path, { key: member.key, body, headers });
      assert.ok(answer.status < 300, `${method} ${path} ${answer.status} ${answer.text}`);
      return answer;
    };
  const send = as(live);
  const buy = async (member: Member, agent: string, text: string): Promise<string> => {
    const path = `/v1/agents/${agent}/invoke`;
    const headers = { 'x-sentinel-session': 'only-a-session', 'x-sentinel-caller': 'only-a-caller' };
    const { body } = await rest.send('POST', path, { key: member.key, body: { inputs: { text } }, headers });
    // A refusal tells of its call in the receipt.
    const callId = body.call_id ?? body.receipt?.call_id;
    assert.match(callId, /^call_/);
    return callId;
  };

  // What it bought, and did not like.
  const [bought, failed] = [await buy(live, 'agt_alpha_v1', 'x'), await buy(live, 'agt_alpha_v1', 'fail')];
  const complain = { reason: 'other', description: 'only-a-complaint' };
  const { body: complaint } = await send('POST', '/v1/billing/disputes', { call_id: bought, ...complain });
  // What it sold, and what a buyer did not like.
  const slug = `of_${live.organizationId.slice(-8)}`;
  await send('POST', '/v1/agents', { manifest: manifestOf(slug, seller.url) });
  await as(rest.operator)('POST', `/v1/agents/agt_${slug}_v1/verification`, { trust_score: 80 });
  const customer = await rest.newMember('100', { scopes: ALL_SCOPES });
  const sold = await buy(customer, `agt_${slug}_v1`, 'x');
  const { body: blame } = await as(customer)('POST', '/v1/billing/disputes', { call_id: sold, ...complain });

  const { body: load } = await send('POST', '/v1/billing/load', { amount_usd: 5 });
  const { body: webhook } = await send('POST', '/v1/webhooks', {
    url: 'http://127.0.0.1:9/only-a-hook',
    description: 'only-a-webhook',
  });
  await send('POST', `/v1/webhooks/${webhook.id}/test`);
  const { body: deliveries } = await send('GET', `/v1/webhooks/${webhook.id}/deliveries`);
  await send('PUT', '/v1/billing/budget', { cap_day: '900.123457' });
  await send('PUT', '/v1/billing/alerts', { balance_below: '1.123457' });
  await send('PUT', `/v1/billing/keys/${second.keyId}/caps`, { cap_total: '77.123457' });
  const payout = await insertPayout(rest, live, idempotencyKey);
  const held = await placeHold(rest, live);
  const { body: movements } = await send('GET', '/v1/billing/transactions?type=grant');
  const { body: balance } = await send('GET', '/v1/billing/balance');
  await rest.gateway.deps.recorder.flushed();

  const ids = [
    live.keyId,
    second.keyId,
    bought,
    failed,
    sold,
    held,
    complaint.dispute_id,
    blame.dispute_id,
    load.load_id,
    webhook.id,
    deliveries.items[0].id,
    payout,
    movements.items[0].id,
  ];
  for (const id of ids) assert.match(id, /^[a-z]{3,4}_[0-9a-f]{32}$/);
  return {
    live,
    trial,
    ids,
    words: ['only-a-', webhook.secret],
    amounts: ['123457', balance.credits],
    idempotencyKey,
  };
}

async function insertPayout(rest: RestGateway, member: Member, idempotencyKey: string): Promise<string> {
  const { db } = rest.gateway.database;
  const id = newId('pay');
  await db.transaction(async (tx) => {
    await tx.insert(payouts).values({
      id: uuidOfId('pay', id) ?? '',
      organizationId: member.organizationId,
      currency: 'live',
      accountId: await openAccount(tx, member.organizationId, 'live', 'payable'),
      amountMicros: 123_457_000_000n,
      status: 'paid',
      stripeAccountId: 'acct_only-a-account',
      transferId: 'tr_only-a-transfer',
      returnTxn: uuidOfId('txn', newId('txn')) ?? '',
      idempotencyKey,
      endedAt: new Date(),
    });
  });
  return id;
}

/** A call that stays under way for as long as the test does. */
async function placeHold(rest: RestGateway, { organizationId, keyId }: Member): Promise<string> {
  const { accounts, ledger } = rest.gateway.deps;
  const { db } = rest.gateway.database;
  const callId = newId('call');
  const placed = await ledger.hold({
    callId,
    buyer: await db.transaction((tx) => openAccount(tx, organizationId, 'live', 'balance')),
    seller: await accounts.earnings(rest.sellerId, 'live'),
    fees: await accounts.fees('live'),
    amountMicros: 3_123_457n,
    ttlMs: 3_600_000,
    keyId,
    agentId: 'agt_alpha_v1',
    meters: [],
    idempotency: undefined,
  });
  assert.equal(placed.kind, 'placed');
  return callId;
}
