import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { MAX_ENVELOPE_BYTES } from '../../src/calls/payload-limit.ts';
import { DEFAULT_MAX_PAYLOAD_BYTES } from '../../src/catalog/manifest-schema.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';
import { startRestGateway, type Answer, type Member, type RestGateway } from './rest-gateway.ts';

const SMALL = 1024;
const SMALL_ID = 'agt_small_v1';
const LARGE_ID = 'agt_large_v1';
const HIDDEN_ID = 'agt_hidden_v1';

let rest: RestGateway;
let seller: TestSeller;
let buyer: Member;

before(async () => {
  // It tells how much has come.
  seller = await startSeller((input) => ({ text: String(JSON.stringify(input).length) }));
  rest = await startRestGateway();
  const input_schema = { type: 'object' };
  const small = { protocol: 'http' as const, url: seller.url, max_payload_bytes: SMALL };
  await rest.publish(manifestOf('small', seller.url, { input_schema, endpoint: small }), 80);
  await rest.publish(manifestOf('hidden', seller.url, { input_schema, endpoint: small }), 10);
  await rest.publish(manifestOf('large', seller.url, { input_schema }), 80);
  buyer = await rest.newMember('1000');
});

after(async () => {
  await rest?.close();
  await seller?.close();
});

/** What a call came to, on either wire. */
type Outcome = { output?: { text: string }; code?: string; message?: string; limit?: number };

const WIRES: Record<string, (agentId: string, input: string, around?: string) => Promise<Outcome>> = {
  REST: async (agentId, input, around = '') => {
    const answer = await post(`/v1/agents/${agentId}/invoke`, `{"inputs":${input}${around}}`);
    const { output, code, detail, limit_bytes: limit } = answer.body;
    return output ? { output } : { code, message: detail, limit };
  },
  MCP: async (agentId, input, around = '') => {
    const params = `{"name":"sentinel_${agentId}","arguments":${input}${around}}`;
    return outcomeOf(await post('/mcp', `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${params}}`));
  },
  'MCP, by sentinel_call': async (agentId, input, around = '') => {
    const params = `{"name":"sentinel_call","arguments":{"agent_id":"${agentId}","arguments":${input}}${around}}`;
    return outcomeOf(await post('/mcp', `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${params}}`));
  },
};

function outcomeOf({ body }: Answer): Outcome {
  const { result, error } = body;
  if (error) return { code: error.data?.code, message: error.message, limit: error.data?.limit_bytes };
  if (!result.isError) return { output: result.structuredContent };
  const { code, message, limit_bytes: limit } = JSON.parse(result.content[0].text);
  return { code, message, limit };
}

function post(path: string, body: string): Promise<Answer> {
  return rest.send('POST', path, { key: buyer.key, body });
}

/** Arguments of exactly so many bytes. */
function argumentsOf(bytes: number, character = 'x'): string {
  const frame = Buffer.byteLength('{"text":""}');
  const size = Buffer.byteLength(character);
  const whole = Math.floor((bytes - frame) / size);
  return `{"text":"${character.repeat(whole)}${'y'.repeat(bytes - frame - whole * size)}"}`;
}

async function credits(): Promise<{ credits: string; escrow_credits: string }> {
  const { body } = await rest.send('GET', '/v1/billing/balance', { key: buyer.key });
  return { credits: body.credits, escrow_credits: body.escrow_credits };
}

for (const [wire, call] of Object.entries(WIRES)) {
  test(`${wire}: an agent that says nothing of it takes 10 MiB of arguments, to the byte`, async () => {
    const { output } = await call(LARGE_ID, argumentsOf(DEFAULT_MAX_PAYLOAD_BYTES));
    assert.equal(output?.text, String(DEFAULT_MAX_PAYLOAD_BYTES));
  });

  test(`${wire}: an agent of 1 KiB takes that, and refuses more in words before anything is held`, async () => {
    const before = { ...(await credits()), requests: seller.requests };
    for (const [bytes, character] of [
      [SMALL + 1, 'x'],
      [2 * SMALL, 'x'],
      [SMALL + 1, 'é'],
      [SMALL + 3, '😀'],
    ] as const) {
      const { code, message, limit } = await call(SMALL_ID, argumentsOf(bytes, character));
      assert.deepEqual([code, limit], ['PAYLOAD_TOO_LARGE', SMALL]);
      assert.match(
        message ?? '',
        new RegExp(`${bytes} bytes as JSON, and ${SMALL_ID} takes at most ${SMALL}`),
      );
    }
    assert.deepEqual({ ...(await credits()), requests: seller.requests }, before);
    assert.equal((await call(SMALL_ID, argumentsOf(SMALL, 'é'))).output?.text !== undefined, true);
  });

  test(`${wire}: blanks and what stands around the arguments are not the arguments`, async () => {
    const spread = argumentsOf(SMALL).replace(':', `:${' '.repeat(30_000)}`);
    const { output } = await call(SMALL_ID, spread, ' '.repeat(30_000));
    assert.equal(output?.text, String(SMALL));
  });

  test(`${wire}: the call that was too large is on record as refused`, async () => {
    await call(SMALL_ID, argumentsOf(2 * SMALL));
    const { body } = await rest.send('GET', `/v1/calls?agent_id=${SMALL_ID}&limit=1`, { key: buyer.key });
    assert.deepEqual([body.items[0].outcome, body.items[0].code], ['refused', 'PAYLOAD_TOO_LARGE']);
  });
}

test('over REST a body that cannot hold what its agent takes is refused before it is read', async () => {
  const answer = await post(`/v1/agents/${SMALL_ID}/invoke`, ' '.repeat(SMALL + MAX_ENVELOPE_BYTES + 1));
  assert.deepEqual([answer.status, answer.body.limit_bytes], [413, SMALL + MAX_ENVELOPE_BYTES]);
  assert.match(answer.body.detail, new RegExp(`${SMALL_ID} takes arguments of at most ${SMALL}\\.`));
});

test('how much a hidden agent takes does not tell that it is there', async () => {
  for (const query of ['', '?min_trust_score=11', '?nonsense=1', '?max_price=1']) {
    const answers = [HIDDEN_ID, 'agt_none_v1'].map(async (id) => {
      const { status, body } = await post(
        `/v1/agents/${id}/invoke${query}`,
        argumentsBody(SMALL + MAX_ENVELOPE_BYTES),
      );
      return { status, ...body, request_id: '' };
    });
    const [hidden, missing] = await Promise.all(answers);
    assert.deepEqual(hidden, missing);
    assert.notEqual(hidden?.status, 413);
  }
});

function argumentsBody(bytes: number): string {
  return `{"inputs":${argumentsOf(bytes)}}`;
}

test('an agent that takes more makes room for it at once, and takes the room along when it goes', async () => {
  const bytes = DEFAULT_MAX_PAYLOAD_BYTES + 2 * MAX_ENVELOPE_BYTES;
  const sent = argumentsOf(bytes);
  assert.equal((await WIRES['MCP']?.('agt_huge_v1', sent))?.code, 'PAYLOAD_TOO_LARGE');
  const endpoint = { protocol: 'http' as const, url: seller.url, max_payload_bytes: bytes };
  const id = await rest.publish(
    manifestOf('huge', seller.url, { input_schema: { type: 'object' }, endpoint }),
    80,
  );
  for (const call of Object.values(WIRES)) assert.equal((await call(id, sent)).output?.text, String(bytes));
  const suspended = await rest.send('PUT', `/v1/agents/${id}/suspension`, { key: rest.operator.key });
  assert.ok(suspended.status < 300, suspended.text);
  assert.equal((await WIRES['MCP']?.(id, sent))?.code, 'PAYLOAD_TOO_LARGE');
});

test('a coded body is refused by the name of its coding, on both wires, and told what would be taken', async () => {
  for (const path of [`/v1/agents/${LARGE_ID}/invoke`, '/v1/webhooks', '/mcp']) {
    for (const [coding, named] of [
      ['gzip', 'gzip'],
      ['BR', 'br'],
      ['identity, zstd', 'zstd'],
    ] as const) {
      const headers = { 'content-encoding': coding };
      const answer = await rest.send('POST', path, { key: buyer.key, body: '{}', headers });
      assert.equal(answer.status, 415, path);
      assert.match(answer.text, new RegExp(`encoded as \\\\?"${named}\\\\?"`));
      assert.equal(answer.headers.get('accept-encoding'), 'identity');
    }
  }
});

test('JSON may be called so in any way HTTP allows, and in UTF-8 only', async () => {
  const list = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}';
  for (const [type, isTaken] of [
    ['APPLICATION/JSON', true],
    ['application/json ; charset=UTF-8', true],
    ['application/json;charset="utf-8"; profile=x', true],
    ['application/json; charset=utf-16', false],
    ['text/json', false],
  ] as const) {
    const headers = { 'content-type': type };
    const overRest = await rest.send('POST', `/v1/agents/${SMALL_ID}/invoke`, {
      key: buyer.key,
      headers,
      body: '{"inputs":{}}',
    });
    const overMcp = await rest.send('POST', '/mcp', { key: buyer.key, headers, body: list });
    assert.deepEqual([overRest.status, overMcp.status], isTaken ? [200, 200] : [415, 415], type);
  }
});
