import assert from 'node:assert/strict';
import { after, before as beforeAll, beforeEach, describe, test } from 'node:test';
import { canonicalJson, hashJson } from '../../src/base/canonical-json.ts';
import type { PaidCallRequest } from '../../src/calls/call.ts';
import { call, endOf, openWorld, type Visit, type World } from '../support/world.ts';
import { receiptOf } from '../support/receipt-of.ts';
import { readReceipt } from '../../src/audit/receipts.ts';

const CREDIT = 1_000_000n;
let world: World;
beforeAll(async () => {
  world = await openWorld();
});
after(() => world.close());
beforeEach(() => {
  world.seller.visits = [];
  world.seller.automatic = (visit) => visit.answer({ answer: 'so' });
});

describe('what each way the agent can end does to the money', () => {
  /** What the seller does, what the buyer is told, and whether anybody is paid. */
  const ENDS: { title: string; seller: (visit: Visit) => void; code: string | null; endpoint?: object }[] = [
    { title: 'a valid answer is settled', seller: (visit) => visit.answer({ answer: 'so' }), code: null },
    {
      title: 'an answer of another shape is refunded',
      seller: (visit) => visit.answer({ reply: 'so' }),
      code: 'OUTPUT_INVALID',
    },
    {
      title: 'an empty answer is refunded',
      seller: ({ response }) => response.writeHead(200).end(),
      code: 'OUTPUT_INVALID',
    },
    {
      title: 'an answer that is too large is refunded',
      seller: (visit) => visit.answer({ answer: 'x'.repeat(200_000) }),
      code: 'OUTPUT_INVALID',
    },
    {
      title: 'an error of the agent is refunded',
      seller: ({ response }) => response.writeHead(500).end('{}'),
      code: 'AGENT_ERROR',
    },
    {
      title: 'a lost connection is refunded',
      seller: ({ response }) => response.destroy(),
      code: 'AGENT_UNREACHABLE',
    },
    {
      title: 'an agent that is not there is refunded',
      seller: () => {},
      code: 'AGENT_UNREACHABLE',
      endpoint: { protocol: 'http', url: 'http://127.0.0.1:1/' },
    },
    {
      title: 'an agent that does not answer in time is refunded',
      seller: () => {},
      code: 'TIMEOUT',
      endpoint: { timeout_ms: 1_000 },
    },
  ];
  for (const { title, seller, code, endpoint } of ENDS) {
    test(title, async () => {
      const caller = await world.newCaller('100');
      const agentId = await world.publish({
        endpoint: {
          protocol: 'http',
          url: world.seller.url,
          timeout_ms: 30_000,
          max_payload_bytes: 100_000,
          ...endpoint,
        },
      });
      world.seller.automatic = seller;
      const result = await call(world.process, caller, agentId);
      const paid = code === null;
      assert.equal(endOf(result), code ?? 'answer');
      assert.deepEqual(
        await world.money(caller),
        paid
          ? { posted: 90n * CREDIT, held: 0n, earned: 9_700_000n, fees: 300_000n }
          : { posted: 100n * CREDIT, held: 0n, earned: 0n, fees: 0n },
      );
      const record = await world.lastRecord(caller);
      assert.deepEqual(
        [record.outcome, record.code, record.held, record.charged, record.fee],
        paid ? ['settled', null, '10', '10', '0.3'] : ['refunded', code, '10', '0', '0'],
      );
      assert.ok(result.receipt);
      const { jws, ...payload } = readReceipt(result.receipt);
      assert.equal(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString(), canonicalJson(payload));
      assert.deepEqual(
        { ...payload, started_at: '', ended_at: '' },
        {
          call_id: record.call_id,
          agent_id: agentId,
          agent_version: '1.0.0',
          organization_id: caller.organizationId,
          key_id: caller.keyId,
          currency: 'live',
          outcome: record.outcome,
          held: '10',
          charged: record.charged,
          fee: record.fee,
          ...(record.code === null ? {} : { code: record.code }),
          input_hash: hashJson({ question: 'how?' }),
          output_hash: paid ? hashJson({ answer: 'so' }) : null,
          manifest_hash: world.process.catalog.find(agentId)?.manifestHash ?? '',
          prev: '0'.repeat(64),
          seq: 1,
          v: 1,
          started_at: '',
          ended_at: '',
        },
      );
    });
  }
});

describe('metered agents', () => {
  const pricing = { model: 'per_unit', unit: 'page', credits_per_unit: '0.333333', max: '5' };
  const PRICES: [
    title: string,
    usage: string | undefined,
    maxCredits: bigint | undefined,
    charged: string | null,
  ][] = [
    ['what was used is charged', '3', undefined, '0.999999'],
    ['a part of a micro-credit is not charged', '0.000002', undefined, '0'],
    ['a long quantity is rounded down', '1.999999', undefined, '0.666665'],
    ['more than the maximum is not charged', '1000', undefined, '5'],
    ['more than the largest amount there is is still the maximum', '999999999999', undefined, '5'],
    ['nothing used is nothing charged', '0', undefined, '0'],
    ["the buyer's maximum above the price changes nothing", '1000', 20n * CREDIT, '5'],
    ['an answer without usage is refunded', undefined, undefined, null],
  ];
  for (const [title, usage, maxMicros, charged] of PRICES) {
    test(title, async () => {
      const caller = await world.newCaller('5');
      const agentId = await world.publish({ pricing });
      world.seller.automatic = (visit) =>
        visit.answer({ answer: 'so' }, usage === undefined ? {} : { 'x-sentinel-usage': usage });
      const result = await call(world.process, caller, agentId, maxMicros === undefined ? {} : { maxMicros });
      assert.equal(endOf(result), charged === null ? 'OUTPUT_INVALID' : 'answer');
      assert.equal(receiptOf(result).held, '5');
      assert.equal(receiptOf(result).charged, charged ?? '0');
      const { posted, held, earned, fees } = await world.money(caller);
      assert.equal(held, 0n);
      assert.equal(5n * CREDIT - posted, earned + fees, 'what left the balance has arrived');
    });
  }
});

test('a metered agent never works under a limit of the buyer it knows nothing of: the call is refused', async () => {
  const caller = await world.newCaller('5');
  const agentId = await world.publish({
    pricing: { model: 'per_unit', unit: 'page', credits_per_unit: '0.333333', max: '5' },
  });
  const visits = world.seller.visits.length;
  for (const maxMicros of [0n, 1n, 5n * CREDIT - 1n]) {
    const result = await call(world.process, caller, agentId, { maxMicros });
    assert.equal(endOf(result), 'BUDGET_EXCEEDED');
  }
  assert.equal(world.seller.visits.length, visits);
  assert.equal((await world.money(caller)).posted, 5n * CREDIT);
});

describe('refused calls move nothing and are written down', () => {
  const good = { input: { question: 'how?' } };
  const REFUSALS: [
    title: string,
    changes: Partial<PaidCallRequest>,
    code: string,
    credits?: string,
    wish?: object,
  ][] = [
    ['an unknown agent', { agentId: 'agt_nothing_v1' }, 'NOT_FOUND'],
    ['an agent the filters hide', { filters: { minTrustScore: 81 } }, 'NOT_FOUND'],
    ['arguments that do not match', { input: { question: 7 } }, 'INVALID_INPUT'],
    ['arguments that are no object', { input: 'how?' }, 'INVALID_INPUT'],
    ['a price above what the buyer allows', { ...good, maxMicros: CREDIT }, 'BUDGET_EXCEEDED'],
    [
      'a price above what the key allows',
      good,
      'BUDGET_EXCEEDED',
      '100',
      { caps: { maxPerCallMicros: CREDIT } },
    ],
    ['a call above the day cap', good, 'BUDGET_EXCEEDED', '100', { caps: { capDayMicros: CREDIT } }],
    ['too little money', good, 'PAYMENT_REQUIRED', '9.999999'],
    ['no money at all', good, 'PAYMENT_REQUIRED', '0'],
    ['a key that may not call', good, 'FORBIDDEN', '100', { scopes: ['agents:read'] }],
    ['a buyer who has gone already', { ...good, signal: AbortSignal.abort() }, 'CANCELLED'],
  ];
  for (const [title, changes, code, credits = '100', wish = {}] of REFUSALS) {
    test(`${title}: ${code}`, async () => {
      const caller = await world.newCaller(credits, wish);
      const agentId = await world.publish();
      const before = await world.money(caller);
      const result = await call(world.process, caller, agentId, changes);
      assert.equal(endOf(result), code);
      assert.equal(world.seller.visits.length, 0, 'the seller never hears of it');
      assert.deepEqual(await world.money(caller), before);
      const record = await world.lastRecord(caller);
      assert.deepEqual(
        [record.outcome, record.code, record.held, record.charged, record.agent_id],
        ['refused', code, '0', '0', changes.agentId ?? agentId],
      );
    });
  }
});

test('the checks come in the order of the contract: what fails first is what is told', async () => {
  const agentId = await world.publish();
  const poor = await world.newCaller('10', { ratePerMinute: 2, caps: { capDayMicros: 20n * CREDIT } });
  const idempotencyKey = 'a-key-of-sixteen-chars';
  const faults: Partial<PaidCallRequest> = { idempotencyKey, maxMicros: 1n };
  assert.equal(endOf(await call(world.process, poor, agentId, { idempotencyKey })), 'answer');
  const ask = (changes: Partial<PaidCallRequest>) =>
    call(world.process, poor, agentId, { ...faults, ...changes }).then(endOf);

  // Each has every fault of those below it.
  assert.equal(await ask({ agentId: 'agt_nothing_v1', input: {} }), 'NOT_FOUND');
  assert.equal(await ask({ input: {} }), 'INVALID_INPUT');
  assert.equal(await ask({ input: { question: 'other' } }), 'IDEMPOTENCY_CONFLICT');
  assert.equal(await ask({}), 'replay');
  assert.equal(await ask({ idempotencyKey: 'another-key-of-sixteen' }), 'BUDGET_EXCEEDED');
  const third: Partial<PaidCallRequest> = {
    idempotencyKey: 'a-third-key-of-sixteen',
    maxMicros: 10n * CREDIT,
  };
  assert.equal(await ask(third), 'RATE_LIMITED');
  const rich = await world.newCaller('10', { ratePerMinute: 3 });
  assert.equal(await call(world.process, rich, agentId).then(endOf), 'answer');
  assert.equal(await call(world.process, rich, agentId).then(endOf), 'PAYMENT_REQUIRED');
});

test('an agent id of any text is answered NOT_FOUND and written down in short and plain', async () => {
  for (const agentId of [
    'a\u0000b',
    'x'.repeat(1_000_000),
    '\ud800',
    '💸'.repeat(99),
    '',
    `'); DROP TABLE calls; --`,
  ]) {
    const caller = await world.newCaller('10');
    assert.equal(endOf(await call(world.process, caller, agentId)), 'NOT_FOUND');
    const record = await world.lastRecord(caller);
    assert.match(record.agent_id, /^[\x20-\x7e]{0,64}$/);
  }
});

test('arguments that have no canonical form are told apart from failures of ours', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish({ capabilities: { idempotent: true } });
  const input = { question: '\ud800' };
  assert.equal(endOf(await call(world.process, caller, agentId, { input })), 'INVALID_INPUT');
});

test('an answer with half a character in it, which no receipt could name, is refunded', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish();
  for (const answer of [{ answer: '\ud800' }, { answer: 'x', more: [{ '\udc00': 1 }] }]) {
    world.seller.automatic = (visit) => visit.answer(answer);
    assert.equal(endOf(await call(world.process, caller, agentId)), 'OUTPUT_INVALID');
  }
  assert.equal((await world.money(caller)).posted, 100n * CREDIT);
});

for (const answer of ['a\u0000b', '💸']) {
  test(`an answer with ${JSON.stringify(answer)} in it is paid, kept and given again as it was`, async () => {
    const caller = await world.newCaller('100');
    const agentId = await world.publish();
    world.seller.automatic = (visit) => visit.answer({ z: 1, answer, a: 2 });
    const idempotencyKey = 'a-key-of-sixteen-chars';
    const first = await call(world.process, caller, agentId, { idempotencyKey });
    const again = await call(world.process, caller, agentId, { idempotencyKey });
    assert.deepEqual([endOf(first), endOf(again)], ['answer', 'replay']);
    assert.ok(first.kind === 'answer' && again.kind === 'answer');
    assert.equal(JSON.stringify(again.answer), JSON.stringify(first.answer), 'member order and all');
    assert.equal((await world.money(caller)).posted, 90n * CREDIT);
  });
}

test('a record that cannot be written does not cost the others theirs', async () => {
  const caller = await world.newCaller('0');
  const asked = ['req_a', 'req_\u0000', 'req_c'].map((requestId) =>
    call(world.process, caller, 'agt_nothing_v1', { requestId }),
  );
  await Promise.all(asked);
  const records = await world.records(caller);
  assert.deepEqual(records.map((record) => record.request_id).sort(), ['req_a', 'req_c']);
});

describe('an error of the agent is worth a retry, unless the agent says that the input was at fault', () => {
  const status = (code: number) => (visit: Visit) => void visit.response.writeHead(code).end('{}');
  const cases: [
    title: string,
    seller: (visit: Visit) => void,
    protocol: 'http' | 'mcp',
    retryable: boolean,
  ][] = [
    ...[400, 404, 409, 413, 415, 422].map((code): [string, (visit: Visit) => void, 'http', boolean] => [
      String(code),
      status(code),
      'http',
      false,
    ]),
    ['401, which is between the gateway and the agent', status(401), 'http', true],
    ['429', status(429), 'http', true],
    ['500', status(500), 'http', true],
    ['503', status(503), 'http', true],
    [
      'invalid params over MCP',
      mcpSeller({ error: { code: -32602, message: 'no such page' } }),
      'mcp',
      false,
    ],
    ['another error over MCP', mcpSeller({ error: { code: -32603, message: 'oops' } }), 'mcp', true],
    [
      'a tool result by which an SDK refuses arguments',
      mcpSeller({ result: failure('MCP error -32602: Input validation error') }),
      'mcp',
      false,
    ],
    ['any other tool result that is an error', mcpSeller({ result: failure('out of paper') }), 'mcp', true],
  ];
  for (const [title, seller, protocol, retryable] of cases) {
    test(title, async () => {
      const caller = await world.newCaller('100');
      const endpoint = { protocol, url: `${world.seller.url}?${encodeURIComponent(title)}` };
      const agentId = await world.publish({
        endpoint: protocol === 'mcp' ? { ...endpoint, tool: 'ask' } : endpoint,
      });
      world.seller.automatic = seller;
      const result = await call(world.process, caller, agentId);
      assert.ok(result.kind === 'problem' && result.problem.code === 'AGENT_ERROR', endOf(result));
      assert.equal(result.problem.retryable, retryable);
    });
  }

  function failure(text: string): object {
    return { isError: true, content: [{ type: 'text', text }] };
  }

  /** Shakes hands and answers every call with this. */
  function mcpSeller(answer: object): (visit: Visit) => void {
    return ({ input, response }) => {
      const { id, method } = input as { id?: string; method: string };
      if (id === undefined) return void response.writeHead(202).end();
      const handshake = {
        result: { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 's', version: '1' } },
      };
      response.writeHead(200, { 'content-type': 'application/json' });
      const said = method === 'initialize' ? handshake : answer;
      return void response.end(JSON.stringify({ jsonrpc: '2.0', id, ...said }));
    };
  }
});
