import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
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
let buyer: Buyer;

const META_TOOLS = [
  'sentinel_search',
  'sentinel_describe',
  'sentinel_call',
  'sentinel_quote',
  'sentinel_get_call',
  'sentinel_budget',
];
const AGENTS = 120;
const WORDS = ['amber', 'birch', 'cedar', 'delta', 'ember', 'fjord', 'grove', 'heath', 'islet', 'jetty'];

before(async () => {
  seller = await startSeller((input) => ({ text: String(input['text']) }));
  gateway = await startTestGateway();
  for (let index = 0; index < AGENTS; index += 1)
    await gateway.publish(manifestOf(slugOf(index), seller.url), 50 + (index % 45));
  await gateway.publish(
    manifestOf('metered', seller.url, {
      pricing: { model: 'per_unit', unit: 'page', credits_per_unit: '0.5', max: '20' },
      capabilities: { idempotent: true },
      category: 'finance',
    }),
    96,
  );
  buyer = await gateway.newBuyer('100', {
    caps: { maxPerCallMicros: 50_000_000n, capDayMicros: 80_000_000n },
  });
});

after(async () => {
  await gateway?.close();
  await seller?.close();
});

test('auto lists the best agents that fit and the tools that find the rest, in one page', async () => {
  const { tools, nextCursor } = await list('');
  assert.equal(nextCursor, undefined);
  const names = tools.map(({ name }) => name);
  assert.deepEqual(names.slice(-META_TOOLS.length), META_TOOLS);
  assert.equal(names[0], 'sentinel_agt_metered_v1');
  assert.ok(names.length > META_TOOLS.length + 5);
  assert.ok(JSON.stringify(tools).length / 4 <= 8_000);
  assert.deepEqual(await list(''), { tools });
});

test('auto lists every agent, and only agents, when they fit', async () => {
  const { tools } = await list('?max_list_tokens=1000000');
  assert.equal(tools.length, AGENTS + 1);
  assert.ok(tools.every(({ name }) => name.startsWith('sentinel_agt_')));
});

test('auto with no room lists what finds and calls agents', async () => {
  const { tools } = await list('?max_list_tokens=0');
  assert.deepEqual(
    tools.map(({ name }) => name),
    META_TOOLS,
  );
});

test('direct lists every agent once over its pages, best trust first', async () => {
  const seen: Tool[] = [];
  let cursor: string | undefined;
  const sizes: number[] = [];
  do {
    const page = await list('?tools=direct', cursor);
    sizes.push(page.tools.length);
    seen.push(...page.tools);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  assert.deepEqual(sizes, [50, 50, 21]);
  assert.equal(new Set(seen.map(({ name }) => name)).size, AGENTS + 1);
  const scores = seen.map((tool) => tool._meta['xyz.sentinel/trust'].score);
  assert.deepEqual(
    scores,
    scores.toSorted((a, b) => b - a),
  );
});

test('an agent that comes between two pages neither repeats nor hides another', async () => {
  const first = await list('?tools=direct&category=other');
  await gateway.publish(manifestOf('newcomer', seller.url), 99);
  const second = await list('?tools=direct&category=other', first.nextCursor);
  const names = [...first.tools, ...second.tools].map(({ name }) => name);
  assert.equal(new Set(names).size, 100);
  assert.ok(!second.tools.some(({ name }) => name === 'sentinel_agt_newcomer_v1'));
  assert.equal((await list('?tools=direct&category=other')).tools[0]?.name, 'sentinel_agt_newcomer_v1');
});

test('a cursor that was forged, or is another list’s, is refused', async () => {
  const { nextCursor = '' } = await list('?tools=direct');
  for (const cursor of [
    '',
    'x',
    `${nextCursor}x`,
    Buffer.from('a 99 agt_x_v1').toString('base64url'),
    'A'.repeat(9_999),
  ]) {
    assert.equal(await listFault('?tools=direct', cursor), -32602, cursor.slice(0, 20));
  }
  assert.equal(await listFault('?tools=direct&min_trust_score=60', nextCursor), -32602);
  assert.equal(await listFault('', nextCursor), -32602);
  assert.equal(await listFault('', 5), -32602);
});

test('meta lists only the tools that find and call agents', async () => {
  const { tools } = await list('?tools=meta');
  assert.deepEqual(
    tools.map(({ name }) => name),
    META_TOOLS,
  );
});

test('what is listed is what can be called, whatever the filter', async () => {
  for (const query of [
    '?min_trust_score=90',
    '?badge=basic',
    '?category=finance',
    '?max_price=5',
    '?agents=agt_metered_v1',
  ]) {
    const listed = new Set((await list(`${query}&max_list_tokens=1000000`)).tools.map(({ name }) => name));
    for (const name of [
      'sentinel_agt_metered_v1',
      `sentinel_agt_${slugOf(1)}_v1`,
      `sentinel_agt_${slugOf(49)}_v1`,
    ]) {
      const { code } = await call(name, { text: 5 }, query);
      assert.equal(code, listed.has(name) ? 'INVALID_INPUT' : 'NOT_FOUND', `${query} ${name}`);
    }
  }
});

test('a tool says what it costs, whom it is from and how far to trust it', async () => {
  const { tools } = await list('?agents=agt_metered_v1');
  const [tool] = tools;
  assert.match(
    tool?.description ?? '',
    /Cost: 0\.5 credits \(\$0\.005\) per page, at most 20 credits \(\$0\.20\) a call/,
  );
  const { manifest_hash: hash, ...agent } = tool?._meta['xyz.sentinel/agent'] ?? {};
  assert.match(String(hash), /^[0-9a-f]{64}$/);
  assert.deepEqual(agent, { id: 'agt_metered_v1', version: '1.0.0' });
  assert.deepEqual(tool?._meta['xyz.sentinel/price'], {
    currency: 'credit',
    model: 'per_unit',
    unit: 'page',
    credits_per_unit: '0.5',
    usd: '0.005',
    max: '20',
    max_usd: '0.20',
    free_tier_calls: 0,
  });
  assert.deepEqual(tool?._meta['xyz.sentinel/trust'], { score: 96, badge: 'premium' });
  assert.deepEqual(tool?.annotations, { title: 'Agent metered', openWorldHint: true, idempotentHint: true });
});

test('a key without agents:read lists nothing', async () => {
  const blind = await gateway.newKey(buyer, { scopes: ['agents:invoke'] });
  assert.equal(await listFault('', undefined, blind), -32000);
});

test('search finds agents under the connection’s filters and never wider', async () => {
  const found = await call('sentinel_search', { query: 'metered' }, '');
  assert.deepEqual(found.agents, ['agt_metered_v1']);
  assert.deepEqual((await call('sentinel_search', { query: 'metered', category: 'other' }, '')).agents, []);
  assert.deepEqual((await call('sentinel_search', { query: 'metered', max_price: '19' }, '')).agents, []);
  assert.deepEqual(
    (await call('sentinel_search', { query: 'metered', max_price: '50' }, '?max_price=19')).agents,
    [],
  );
  assert.deepEqual(
    (await call('sentinel_search', { query: 'metered', category: 'finance' }, '?category=other')).agents,
    [],
  );
});

test('describe and quote tell schema, price and trust, and hide what the filters hide', async () => {
  const described = await call('sentinel_describe', { agent_id: 'agt_metered_v1' }, '');
  assert.deepEqual(described.output?.['input_schema'], manifestOf('metered', '').input_schema);
  const quoted = await call('sentinel_quote', { agent_id: 'agt_metered_v1' }, '');
  assert.equal(quoted.output?.['most_it_can_cost'], '20');
  for (const name of ['sentinel_describe', 'sentinel_quote'])
    assert.equal((await call(name, { agent_id: 'agt_metered_v1' }, '?category=other')).code, 'NOT_FOUND');
});

test('sentinel_call is the same paid call: charged once, limited, and repeated free under its key', async () => {
  const agentId = `agt_${slugOf(1)}_v1`;
  const input = { agent_id: agentId, arguments: { text: 'a' }, idempotency_key: 'k'.repeat(16) };
  const before = await gateway.balanceOf(buyer);
  const first = await call('sentinel_call', input, '');
  assert.deepEqual(first.output, { text: 'a' });
  const second = await call('sentinel_call', input, '');
  assert.deepEqual([second.output, second.meta?.['xyz.sentinel/replay']], [{ text: 'a' }, true]);
  assert.deepEqual(second.meta?.['xyz.sentinel/receipt'], first.meta?.['xyz.sentinel/receipt']);
  assert.equal(
    (await call('sentinel_call', { ...input, arguments: { text: 'b' } }, '')).code,
    'IDEMPOTENCY_CONFLICT',
  );
  assert.equal(
    (await call('sentinel_call', { agent_id: agentId, arguments: {}, max_credits: '4' }, '')).code,
    'INVALID_INPUT',
  );
  const limited = { agent_id: agentId, arguments: { text: 'a' }, max_credits: '4' };
  assert.equal((await call('sentinel_call', limited, '')).code, 'BUDGET_EXCEEDED');
  const after = await gateway.balanceOf(buyer);
  assert.equal(before.availableMicros - after.availableMicros, 5_000_000n);
});

test('budget tells balance, holds and the caps of the key', async () => {
  const { output } = await call('sentinel_budget', {}, '');
  assert.equal(output?.['available'], '95');
  assert.equal(output?.['on_hold'], '0');
  const key = output?.['key'] as Record<string, unknown>;
  assert.deepEqual(
    [key['max_per_call'], key['cap_day'], key['cap_month'], key['spent_today'], key['spent_in_total']],
    ['50', '80', null, '5', '5'],
  );
});

test('our own tools check their arguments', async () => {
  for (const [name, input] of [
    ['sentinel_search', {}],
    ['sentinel_search', { query: 5 }],
    ['sentinel_search', { query: 'x', limit: 1_000 }],
    ['sentinel_describe', { agent_id: 'x', more: 1 }],
    ['sentinel_call', { agent_id: 'agt_metered_v1' }],
    ['sentinel_call', { agent_id: 'agt_metered_v1', arguments: {}, idempotency_key: 'short' }],
    ['sentinel_get_call', {}],
    ['sentinel_budget', { key: 'key_1' }],
  ] as const) {
    assert.equal((await call(name, input, '')).code, 'INVALID_INPUT', `${name} ${JSON.stringify(input)}`);
  }
});

test('our own tools ask for the scopes their REST counterparts ask for', async () => {
  const narrow = await gateway.newKey(buyer, { scopes: ['agents:invoke'] });
  for (const [name, input] of [
    ['sentinel_search', { query: 'x' }],
    ['sentinel_describe', { agent_id: 'agt_metered_v1' }],
    ['sentinel_quote', { agent_id: 'agt_metered_v1' }],
    ['sentinel_get_call', { call_id: 'call_x' }],
    ['sentinel_budget', {}],
  ] as const) {
    assert.equal((await call(name, input, '', narrow)).code, 'FORBIDDEN', name);
  }
});

test('the same price is on the list, in the quote and on the receipt', async () => {
  const name = `sentinel_agt_${slugOf(2)}_v1`;
  const { tools } = await list(`?agents=agt_${slugOf(2)}_v1`);
  const quoted = await call('sentinel_quote', { agent_id: `agt_${slugOf(2)}_v1` }, '');
  const called = await call(name, { text: 'a' }, '');
  const receipt = called.meta?.['xyz.sentinel/receipt'] as { charged: string };
  assert.deepEqual(
    [
      tools[0]?._meta['xyz.sentinel/price']['credits_per_call'],
      quoted.output?.['most_it_can_cost'],
      receipt.charged,
    ],
    ['5', '5', '5'],
  );
});

/** Words far apart, since look-alikes of one another would not be published by different sellers. */
function slugOf(index: number): string {
  return `${WORDS[Math.floor(index / 12)]}_${String.fromCodePoint(97 + (index % 12)).repeat(6)}`;
}

type Tool = {
  name: string;
  description: string;
  annotations: object;
  _meta: {
    'xyz.sentinel/price': Record<string, unknown>;
    'xyz.sentinel/trust': { score: number };
    'xyz.sentinel/agent': Record<string, unknown>;
  };
};

async function rpc(method: string, params: object, query: string, who: Buyer = buyer) {
  const response = await fetch(`${gateway.url}${query}`, {
    method: 'POST',
    headers: { ...who.headers, 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  });
  return (await response.json()) as { result?: Record<string, unknown>; error?: { code: number } };
}

async function list(query: string, cursor?: string): Promise<{ tools: Tool[]; nextCursor?: string }> {
  const { result, error } = await rpc('tools/list', cursor === undefined ? {} : { cursor }, query);
  assert.equal(error, undefined);
  return result as { tools: Tool[]; nextCursor?: string };
}

async function listFault(query: string, cursor?: unknown, who?: Buyer): Promise<number | undefined> {
  return (await rpc('tools/list', cursor === undefined ? {} : { cursor }, query, who)).error?.code;
}

async function call(name: string, input: object, query: string, who?: Buyer) {
  const { result } = await rpc('tools/call', { name, arguments: input }, query, who);
  const meta = result?.['_meta'] as Record<string, unknown> | undefined;
  const output = result?.['structuredContent'] as Record<string, unknown> | undefined;
  return {
    output,
    meta,
    code: (meta?.['xyz.sentinel/error'] as { code: string } | undefined)?.code,
    agents: (output?.['agents'] as { agent_id: string }[] | undefined)?.map(({ agent_id: id }) => id),
  };
}
