import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  manifestOf,
  startSeller,
  startTestGateway,
  type Buyer,
  type TestGateway,
  type TestSeller,
} from '../support/gateway.ts';

let gateway: TestGateway;
let seller: TestSeller;
before(async () => {
  seller = await startSeller(({ text }) => ({ text }));
  gateway = await startTestGateway();
});
after(async () => {
  await gateway?.close();
  await seller?.close();
});

let published = 0;

function sell(
  credits: string,
  slug = `priced_${(published += 1)}`,
  minor = 0,
  freeCalls = 0,
): Promise<string> {
  return gateway.publish(
    manifestOf(slug, seller.url, {
      version: `1.${minor}.0`,
      pricing: { model: 'per_call', credits_per_call: credits, free_tier_calls: freeCalls },
    }),
  );
}

// oxlint-disable-next-line typescript/no-explicit-any -- a test looks into whatever came back
async function ask(buyer: Buyer, method: string, params: object, query = '', headers = {}): Promise<any> {
  const response = await fetch(gateway.url + query, {
    method: 'POST',
    headers: { ...buyer.headers, 'content-type': 'application/json', accept: 'application/json', ...headers },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  });
  return ((await response.json()) as { result: unknown }).result;
}

const tool = (
  buyer: Buyer,
  name: string,
  args: object,
): Promise<{ structuredContent: Record<string, unknown> }> =>
  ask(buyer, 'tools/call', { name, arguments: args });

/** What a call was charged, or how it was refused. */
async function buy(buyer: Buyer, agentId: string, args: object = {}): Promise<string> {
  const result = await ask(buyer, 'tools/call', {
    name: 'sentinel_call',
    arguments: { agent_id: agentId, arguments: { text: 'x' }, ...args },
  });
  return (result._meta['xyz.sentinel/receipt']?.charged ?? result._meta['xyz.sentinel/error'].code) as string;
}

const MODERN = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
  'io.modelcontextprotocol/clientCapabilities': {},
};
const WAYS: [title: string, show: (buyer: Buyer, agentId: string) => Promise<unknown>][] = [
  ['tools/list', (buyer) => ask(buyer, 'tools/list', {})],
  [
    'tools/list of the newest revision',
    (buyer) =>
      ask(buyer, 'tools/list', { _meta: MODERN }, '', {
        'mcp-protocol-version': '2026-07-28',
        'mcp-method': 'tools/list',
        accept: 'application/json, text/event-stream',
      }),
  ],
  ['a page of tools/list', (buyer, id) => ask(buyer, 'tools/list', {}, `?tools=direct&agents=${id}`)],
  ['sentinel_search', (buyer) => tool(buyer, 'sentinel_search', { query: 'priced', limit: 50 })],
  ['sentinel_describe', (buyer, id) => tool(buyer, 'sentinel_describe', { agent_id: id })],
  ['sentinel_quote', (buyer, id) => tool(buyer, 'sentinel_quote', { agent_id: id })],
];
describe('a call costs no more than the key was last shown', () => {
  for (const [title, show] of WAYS) {
    test(`by ${title}`, async () => {
      const buyer = await gateway.newBuyer('100');
      const agentId = await sell('5');
      await show(buyer, agentId);
      await sell('9', agentId.slice(4, -3), 1);
      assert.equal(await buy(buyer, agentId), '5');
      assert.equal(await buy(buyer, agentId, { max_credits: '5' }), '5');
      assert.equal(await buy(buyer, agentId, { max_credits: '4.9' }), 'BUDGET_EXCEEDED');
      await show(buyer, agentId);
      assert.equal(await buy(buyer, agentId), '9');
    });
  }

  const ELSEWHERE: typeof WAYS = [
    ['a list that has no agents on it', (buyer) => ask(buyer, 'tools/list', {}, '?tools=meta')],
    ['a list that has no room for it', (buyer) => ask(buyer, 'tools/list', {}, '?max_list_tokens=1000')],
    ['a list whose filters hide it', (buyer) => ask(buyer, 'tools/list', {}, '?min_trust_score=81')],
    ['a search that finds others', (buyer) => tool(buyer, 'sentinel_search', { query: 'nothing' })],
    ['a call', (buyer, id) => buy(buyer, id)],
  ];
  for (const [title, show] of ELSEWHERE) {
    test(`and ${title} shows nothing of it`, async () => {
      const buyer = await gateway.newBuyer('100');
      const agentId = await sell('5');
      await tool(buyer, 'sentinel_quote', { agent_id: agentId });
      await sell('9', agentId.slice(4, -3), 1);
      await show(buyer, agentId);
      assert.equal(await buy(buyer, agentId), '5');
    });
  }
});

test('a list goes out when its prices are written down, and not before', async () => {
  const buyer = await gateway.newBuyer('100');
  await sell('5');
  const client = await gateway.database.pool.connect();
  try {
    await client.query('BEGIN; LOCK TABLE price_listings');
    let isAnswered = false;
    const listing = ask(buyer, 'tools/list', {}).then(() => {
      isAnswered = true;
    });
    const waits = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
      AND wait_event_type = 'Lock' AND query ~ 'price_listings'`;
    while ((await gateway.database.pool.query(waits)).rowCount === 0);
    // Another answer has time to go all the way meanwhile.
    await ask(buyer, 'ping', {});
    assert.equal(isAnswered, false);
    await client.query('COMMIT');
    await listing;
    assert.equal(isAnswered, true);
  } finally {
    client.release();
  }
});

test('a price that counts in another way than it was shown is refused with today’s', async () => {
  const buyer = await gateway.newBuyer('100');
  const agentId = await sell('5');
  await tool(buyer, 'sentinel_quote', { agent_id: agentId });
  const pricing = { model: 'per_unit', unit: 'page', credits_per_unit: '1', max: '20' } as const;
  await gateway.publish(manifestOf(agentId.slice(4, -3), seller.url, { version: '1.1.0', pricing }));
  const before = await gateway.balanceOf(buyer);
  const result = await ask(buyer, 'tools/call', { name: `sentinel_${agentId}`, arguments: { text: 'x' } });
  const { code, charged, retryable, needed, price } = result._meta['xyz.sentinel/error'];
  assert.deepEqual(
    { code, charged, retryable, needed, price },
    {
      code: 'PRICE_CHANGED',
      charged: '0',
      retryable: false,
      needed: '20',
      price: { ...pricing, usd: '0.01', max_usd: '0.20', free_tier_calls: 0 },
    },
  );
  assert.deepEqual(await gateway.balanceOf(buyer), before);
});

test('free calls are told where a price is, and how many are left where the key is known', async () => {
  const buyer = await gateway.newBuyer('100');
  const agentId = await sell('5', undefined, 0, 2);
  const { tools } = await ask(buyer, 'tools/list', {}, `?agents=${agentId}`);
  assert.equal(tools[0]._meta['xyz.sentinel/price'].free_tier_calls, 2);
  assert.match(tools[0].description, / Timeout 30 s\. The first 2 calls a month are free\.$/);
  const left = async (): Promise<unknown[]> => [
    (await tool(buyer, 'sentinel_quote', { agent_id: agentId })).structuredContent['free_remaining'],
    (await tool(buyer, 'sentinel_describe', { agent_id: agentId })).structuredContent['free_remaining'],
  ];
  assert.deepEqual(await left(), [2, 2]);
  assert.equal(await buy(buyer, agentId), '0');
  assert.deepEqual(await left(), [1, 1]);
  assert.equal(await buy(buyer, agentId), '0');
  assert.deepEqual(await left(), [0, 0]);
  assert.equal(await buy(buyer, agentId), '5');
});
