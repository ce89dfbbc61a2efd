import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { startRestGateway, type Member, type RestGateway } from '../http/rest-gateway.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';

/** How a paid call ended, in the words both wires share. */
type Ended = { code: string | undefined; output: unknown; charged: string; callId: string | undefined };

/** A call as its reader sees it afterwards. `undefined`: it is not there for this reader. */
type Seen = { outcome: string; delivered: boolean; output: unknown; receiptOf: string | undefined };

type Terms = { idempotencyKey?: string; maxCredits?: string; signal?: AbortSignal };

type Wire = {
  name: 'MCP' | 'REST';
  call(key: string, agentId: string, input: object, terms?: Terms): Promise<Ended>;
  lookUp(key: string, callId: string): Promise<Seen | undefined>;
};

let gateway: RestGateway;
let seller: TestSeller;
let plain: string;
let runsOn: string;
let holdBack: Promise<void> | undefined;
let arrived: () => void = () => {};

before(async () => {
  seller = await startSeller(async ({ text }) => {
    arrived();
    await holdBack;
    return text === 'fail' ? { wrong: true } : { text };
  });
  gateway = await startRestGateway();
  plain = await gateway.publish(manifestOf('plain', seller.url), 90);
  runsOn = await gateway.publish(
    manifestOf('runs_on', seller.url, { capabilities: { keep_running: true } }),
    90,
  );
});
after(async () => {
  await gateway?.close();
  await seller?.close();
});
beforeEach(() => {
  holdBack = undefined;
});

const mcp: Wire = {
  name: 'MCP',
  call: async (key, agentId, input, terms = {}) => {
    const meta = {
      ...(terms.idempotencyKey ? { 'xyz.sentinel/idempotency-key': terms.idempotencyKey } : {}),
      ...(terms.maxCredits ? { 'xyz.sentinel/max-credits': terms.maxCredits } : {}),
    };
    const result = await callTool(key, `sentinel_${agentId}`, input, meta, terms.signal);
    const error = result._meta?.['xyz.sentinel/error'];
    const receipt = result._meta?.['xyz.sentinel/receipt'];
    return {
      code: error?.code,
      output: result.structuredContent,
      charged: error?.charged ?? receipt?.charged,
      callId: error?.call_id ?? receipt?.call_id,
    };
  },
  lookUp: async (key, callId) => {
    const result = await callTool(key, 'sentinel_get_call', { call_id: callId }, {}, undefined);
    if (result.isError) {
      assert.equal(result._meta['xyz.sentinel/error'].code, 'NOT_FOUND');
      return undefined;
    }
    const { outcome, delivered, answer, receipt } = result.structuredContent;
    return { outcome, delivered, output: answer?.output, receiptOf: receipt?.call_id };
  },
};

const rest: Wire = {
  name: 'REST',
  call: async (key, agentId, inputs, terms = {}) => {
    const answer = await gateway.send('POST', `/v1/agents/${agentId}/invoke`, {
      key,
      body: {
        inputs,
        ...(terms.idempotencyKey ? { idempotency_key: terms.idempotencyKey } : {}),
        ...(terms.maxCredits ? { max_credits: terms.maxCredits } : {}),
      },
      ...(terms.signal ? { signal: terms.signal } : {}),
    });
    const { code, output, credits_charged, charged, call_id, receipt } = answer.body;
    return { code, output, charged: credits_charged ?? charged, callId: call_id ?? receipt?.call_id };
  },
  lookUp: async (key, callId) => {
    const { status, body } = await gateway.send('GET', `/v1/calls/${callId}`, { key });
    if (status === 404) return undefined;
    assert.equal(status, 200);
    const { outcome, delivered, result } = body;
    return { outcome, delivered, output: result?.output, receiptOf: result?.receipt.call_id };
  },
};

async function callTool(
  key: string,
  name: string,
  args: object,
  meta: object,
  signal: AbortSignal | undefined,
  // oxlint-disable-next-line typescript/no-explicit-any -- a test looks into whatever came back
): Promise<any> {
  const answer = await gateway.send('POST', '/mcp', {
    key,
    headers: { accept: 'application/json' },
    body: { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: args, _meta: meta } },
    ...(signal ? { signal } : {}),
  });
  return answer.body.result;
}

/** Buys on one wire and hangs up while the agent is at work; the agent then answers. Answers the call's id. */
async function buyAndLeave(wire: Wire, buyer: Member): Promise<string> {
  const { promise: release, resolve: letGo } = Promise.withResolvers<void>();
  const { promise: hasArrived, resolve } = Promise.withResolvers<void>();
  holdBack = release;
  arrived = resolve;
  const hangUp = new AbortController();
  const call = wire.call(buyer.key, runsOn, { text: 'kept' }, { signal: hangUp.signal });
  await hasArrived;
  hangUp.abort();
  await assert.rejects(call);
  letGo();
  for (;;) {
    const { body } = await gateway.send('GET', '/v1/calls', { key: buyer.key });
    if (body.items.length > 0) return body.items[0].call_id;
  }
}

let keys = 0;
const newKey = (): string => `both-wires-key-${String((keys += 1)).padStart(4, '0')}`;

for (const [bought, read] of [
  [mcp, mcp],
  [mcp, rest],
  [rest, mcp],
  [rest, rest],
] as const) {
  describe(`bought over ${bought.name} and read over ${read.name}`, () => {
    test('the key that bought an answer nobody received gets it, with its receipt, and then it counts as delivered', async () => {
      const buyer = await gateway.newMember();
      const callId = await buyAndLeave(bought, buyer);
      const seen = await read.lookUp(buyer.key, callId);
      assert.deepEqual(seen, {
        outcome: 'settled',
        delivered: true,
        output: { text: 'kept' },
        receiptOf: callId,
      });
      assert.equal(
        (await gateway.send('GET', '/v1/calls', { key: buyer.key })).body.items[0].delivered,
        true,
      );
    });

    test('its buyer may ask for it again while it is kept', async () => {
      const buyer = await gateway.newMember();
      const callId = await buyAndLeave(bought, buyer);
      const first = await read.lookUp(buyer.key, callId);
      assert.deepEqual(await read.lookUp(buyer.key, callId), first);
      assert.deepEqual(await bought.lookUp(buyer.key, callId), first);
    });

    test('another key of the organization sees the call, and takes its answer from nobody', async () => {
      const buyer = await gateway.newMember();
      const callId = await buyAndLeave(bought, buyer);
      const colleague = await gateway.newKey(buyer.organizationId);
      for (let turn = 0; turn < 2; turn += 1) {
        assert.deepEqual(await read.lookUp(colleague.key, callId), {
          outcome: 'settled',
          delivered: false,
          output: undefined,
          receiptOf: undefined,
        });
      }
      const own = await read.lookUp(buyer.key, callId);
      assert.deepEqual(own?.output, { text: 'kept' });
    });

    test('after its buyer asked for it, an identical call is a purchase of its own', async () => {
      const buyer = await gateway.newMember();
      const callId = await buyAndLeave(bought, buyer);
      await read.lookUp(buyer.key, callId);
      holdBack = undefined;
      const next = await bought.call(buyer.key, runsOn, { text: 'kept' });
      assert.notEqual(next.callId, callId);
      assert.equal(next.charged, '5');
    });

    test('another organization is told of no call at all', async () => {
      const buyer = await gateway.newMember();
      const { callId } = await bought.call(buyer.key, plain, { text: 'mine' });
      assert.ok(callId);
      assert.equal(await read.lookUp((await gateway.newMember()).key, callId), undefined);
    });

    test('the operator sees what happened, and not what was bought', async () => {
      const buyer = await gateway.newMember();
      const callId = await buyAndLeave(bought, buyer);
      const seen = await read.lookUp(gateway.operator.key, callId);
      assert.deepEqual([seen?.outcome, seen?.delivered, seen?.output], ['settled', false, undefined]);
    });

    test('one idempotency key is one purchase over both wires', async () => {
      const buyer = await gateway.newMember();
      const idempotencyKey = newKey();
      const first = await bought.call(buyer.key, plain, { text: 'once' }, { idempotencyKey });
      const again = await read.call(buyer.key, plain, { text: 'once' }, { idempotencyKey });
      assert.equal(again.callId, first.callId);
      assert.deepEqual(again.output, first.output);
      const other = await read.call(buyer.key, plain, { text: 'twice' }, { idempotencyKey });
      assert.deepEqual([other.code, other.charged], ['IDEMPOTENCY_CONFLICT', '0']);
    });

    test('an answer that was received and has no key is kept for nobody', async () => {
      const buyer = await gateway.newMember();
      const { callId } = await bought.call(buyer.key, plain, { text: 'gone' });
      assert.ok(callId);
      const seen = await read.lookUp(buyer.key, callId);
      assert.deepEqual([seen?.outcome, seen?.delivered, seen?.output], ['settled', true, undefined]);
    });

    test('a refunded call is there, and has no answer', async () => {
      const buyer = await gateway.newMember();
      const failed = await bought.call(buyer.key, plain, { text: 'fail' });
      assert.deepEqual([failed.code, failed.charged], ['OUTPUT_INVALID', '0']);
      assert.ok(failed.callId);
      const seen = await read.lookUp(buyer.key, failed.callId);
      assert.deepEqual([seen?.outcome, seen?.output], ['refunded', undefined]);
    });
  });
}

const REFUSED: [title: string, input: object, terms: Terms, credits: string, code: string][] = [
  ['arguments that do not fit', { text: 7 }, {}, '1000', 'INVALID_INPUT'],
  ['a balance that is too small', { text: 'a' }, {}, '4', 'PAYMENT_REQUIRED'],
  ['a price above what the buyer allows', { text: 'a' }, { maxCredits: '4.99' }, '1000', 'BUDGET_EXCEEDED'],
  ['a key that is too short', { text: 'a' }, { idempotencyKey: 'short' }, '1000', 'INVALID_INPUT'],
];

for (const wire of [mcp, rest]) {
  for (const [title, input, terms, credits, code] of REFUSED) {
    test(`${title}: refused over ${wire.name} with ${code}, at no cost`, async () => {
      const buyer = await gateway.newMember(credits);
      const ended = await wire.call(buyer.key, plain, input, terms);
      assert.equal(ended.code, code);
      const { body } = await gateway.send('GET', '/v1/billing/balance', { key: buyer.key });
      assert.deepEqual([body.credits, body.escrow_credits], [credits, '0']);
    });
  }
}
