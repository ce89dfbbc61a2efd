import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { request as httpRequest } from 'node:http';
import { after, before, test } from 'node:test';
import { MOST_BYTES } from '../mcp/hostile-requests.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';
import { startRestGateway, type Answer, type Member, type RestGateway } from './rest-gateway.ts';

let rest: RestGateway;
let seller: TestSeller;
/** What the seller does with a text; each test sets what it needs. */
const acts = new Map<string, (request: IncomingMessage, response: ServerResponse) => unknown>();

before(async () => {
  rest = await startRestGateway();
  seller = await startSeller((input, request, response) => {
    const text = String(input['text']);
    return acts.get(text)?.(request, response) ?? (acts.has(text) ? undefined : { text });
  });
  const streaming = { capabilities: { streaming: true } };
  await rest.publish(manifestOf('echo', seller.url), 80);
  await rest.publish(manifestOf('low', seller.url), 40);
  await rest.publish(manifestOf('stream', seller.url, streaming), 80);
  await rest.publish(manifestOf('keeper', seller.url, { capabilities: { keep_running: true } }), 80);
  await rest.publish(
    manifestOf('hasty', seller.url, { endpoint: { protocol: 'http', url: seller.url, timeout_ms: 1_000 } }),
    80,
  );
  await rest.publish(manifestOf('gone', 'http://127.0.0.1:9/'), 80);
});
after(async () => {
  await rest.close();
  await seller.close();
});

function invoke(member: Member, slug: string, body: object, headers = {}, query = ''): Promise<Answer> {
  return rest.send('POST', `/v1/agents/agt_${slug}_v1/invoke${query}`, { key: member.key, body, headers });
}

async function balanceOf(member: Member): Promise<{ credits: string; escrow_credits: string }> {
  return (await rest.send('GET', '/v1/billing/balance', { key: member.key })).body;
}

test('a call that succeeds is answered, charged once, and accounted for', async () => {
  const buyer = await rest.newMember('100');
  const { status, headers, body } = await invoke(buyer, 'echo', { inputs: { text: 'hello' } });
  assert.equal(status, 200);
  assert.match(headers.get('content-type') ?? '', /^application\/json/);
  assert.deepEqual(body.output, { text: 'hello' });
  assert.equal(body.status, 'succeeded');
  assert.equal(body.agent_id, 'agt_echo_v1');
  assert.equal(body.credits_charged, '5');
  assert.equal(body.replay, false);
  assert.equal(body.receipt.call_id, body.call_id);
  assert.equal(body.receipt.outcome, 'settled');
  assert.equal(body.receipt.fee, '0.15');
  const { credits, escrow_credits } = await balanceOf(buyer);
  assert.deepEqual([credits, escrow_credits], ['95', '0']);
});

const REFUSED: [title: string, slug: string, body: object, status: number, code: string][] = [
  ['an agent that is not there', 'nothing', { inputs: { text: 'x' } }, 404, 'NOT_FOUND'],
  ['an agent below the default trust score', 'low', { inputs: { text: 'x' } }, 404, 'NOT_FOUND'],
  ['arguments that do not match', 'echo', { inputs: { text: 1, more: 2 } }, 400, 'INVALID_INPUT'],
  ['arguments that are no object', 'echo', { inputs: [1] }, 400, 'INVALID_INPUT'],
  ['no arguments', 'echo', {}, 400, 'INVALID_INPUT'],
  ['an unknown member', 'echo', { inputs: { text: 'x' }, max_price: '1' }, 400, 'INVALID_INPUT'],
  ['an amount that is a number', 'echo', { inputs: { text: 'x' }, max_credits: 5 }, 400, 'INVALID_INPUT'],
  ['a short idempotency key', 'echo', { inputs: { text: 'x' }, idempotency_key: 'x' }, 400, 'INVALID_INPUT'],
  ['less than it costs', 'echo', { inputs: { text: 'x' }, max_credits: '4.9' }, 403, 'BUDGET_EXCEEDED'],
];
for (const [title, slug, body, status, code] of REFUSED) {
  for (const stream of [false, true]) {
    test(`${title} is refused with ${status} and moves nothing${stream ? ', also when streaming' : ''}`, async () => {
      const buyer = await rest.newMember('100');
      const before = seller.requests;
      const answer = await invoke(buyer, slug, { ...body, stream });
      assert.equal(answer.status, status);
      assert.equal(answer.headers.get('content-type'), 'application/problem+json');
      assert.equal(answer.body.code, code);
      assert.equal(answer.body.receipt, undefined);
      assert.equal(seller.requests, before);
      assert.equal((await balanceOf(buyer)).credits, '100');
    });
  }
}

test('every failing place of the body is named at once', async () => {
  const body = { inputs: { text: 'x' }, stream: 'yes', max_credits: 'lots', 'a/b': 1 };
  const { body: problem } = await invoke(await rest.newMember(), 'echo', body);
  const paths = problem.faults.map(({ path }: { path: string }) => path).sort();
  assert.deepEqual(paths, ['/a~1b', '/max_credits', '/stream']);
});

test('a balance that is too small is a 402 that says what is missing', async () => {
  const { status, body } = await invoke(await rest.newMember('4'), 'echo', { inputs: { text: 'x' } });
  assert.equal(status, 402);
  assert.equal(body.code, 'PAYMENT_REQUIRED');
  assert.deepEqual([body.balance, body.needed, body.charged], ['4', '5', '0']);
  assert.match(body.top_up, /credits grant/);
});

test('a key over its rate is told with 429 when to come back', async () => {
  const buyer = await rest.newMember('100', { ratePerMinute: 1 });
  await invoke(buyer, 'echo', { inputs: { text: 'x' } });
  const { status, headers, body } = await invoke(buyer, 'echo', { inputs: { text: 'x' } });
  assert.equal(status, 429);
  assert.equal(body.code, 'RATE_LIMITED');
  assert.equal(headers.get('retry-after'), String(body.retry_after_seconds));
});

acts.set('fails', (_, response) => void response.writeHead(500).end('{"secret":"internal"}'));
acts.set('lies', () => ({ answer: 42 }));
acts.set('never', () => undefined);
for (const [text, slug, status, code] of [
  ['fails', 'echo', 502, 'AGENT_ERROR'],
  ['lies', 'echo', 502, 'OUTPUT_INVALID'],
  ['x', 'gone', 502, 'AGENT_UNREACHABLE'],
  ['never', 'hasty', 504, 'TIMEOUT'],
] as const) {
  test(`a call that ends in ${code} is a ${status} with a receipt that proves the refund`, async () => {
    const buyer = await rest.newMember('100');
    const { status: got, body } = await invoke(buyer, slug, { inputs: { text } });
    assert.equal(got, status);
    assert.equal(body.code, code);
    assert.equal(body.charged, '0');
    assert.deepEqual([body.receipt.outcome, body.receipt.held, body.receipt.charged], ['refunded', '5', '0']);
    assert.equal((await balanceOf(buyer)).credits, '100');
  });
}

test('the filters of the query bind a call as they bind a search', async () => {
  const buyer = await rest.newMember('100');
  const body = { inputs: { text: 'x' } };
  assert.equal((await invoke(buyer, 'low', body, {}, '?min_trust_score=40')).status, 200);
  assert.equal((await invoke(buyer, 'echo', body, {}, '?max_price=4')).status, 404);
  assert.equal((await invoke(buyer, 'echo', body, {}, '?min_trust_score=high')).status, 400);
  assert.equal((await invoke(buyer, 'echo', body, {}, '?trust=1')).status, 400);
});

test('the same idempotency key is the same purchase, in the header or in the body', async () => {
  const buyer = await rest.newMember('100');
  const key = 'order-0123456789abcdef';
  const first = await invoke(buyer, 'echo', { inputs: { text: 'once' } }, { 'idempotency-key': key });
  const again = await invoke(buyer, 'echo', { inputs: { text: 'once' }, idempotency_key: key });
  assert.equal(again.status, 200);
  assert.equal(again.body.call_id, first.body.call_id);
  assert.deepEqual([first.body.replay, again.body.replay], [false, true]);
  assert.equal((await balanceOf(buyer)).credits, '95');
  const other = await invoke(buyer, 'echo', { inputs: { text: 'twice' }, idempotency_key: key });
  assert.deepEqual([other.status, other.body.code], [409, 'IDEMPOTENCY_CONFLICT']);
});

test('a header and a member that name different purchases are refused', async () => {
  const { status, body } = await invoke(
    await rest.newMember(),
    'echo',
    { inputs: { text: 'x' }, idempotency_key: 'a'.repeat(16) },
    { 'idempotency-key': 'b'.repeat(16) },
  );
  assert.deepEqual([status, body.code], [400, 'INVALID_INPUT']);
});

for (const [title, send, status] of [
  ['that is not JSON', { body: '{"inputs":' }, 400],
  ['of another type', { body: '{}', headers: { 'content-type': 'text/plain' } }, 415],
  ['that is missing', { headers: { 'content-type': 'application/json' } }, 400],
  ['that is too large', { body: `{"inputs":{"text":"${'x'.repeat(MOST_BYTES)}"}}` }, 413],
  [
    'that is coded',
    { body: '{}', headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' } },
    415,
  ],
] as const) {
  test(`a body ${title} is refused with ${status}`, async () => {
    const { key } = await rest.newMember();
    const answer = await rest.send('POST', '/v1/agents/agt_echo_v1/invoke', { key, ...send });
    assert.equal(answer.status, status);
    assert.equal(answer.headers.get('content-type'), 'application/problem+json');
  });
}

test('a chunked body that grows too large is refused while it is read', async () => {
  const { key } = await rest.newMember();
  const status = await postChunked(key, (write) => {
    for (let megabyte = 0; megabyte < 12; megabyte += 1) write('x'.repeat(1024 * 1024));
  });
  assert.equal(status, 413);
});

type Write = (text: string) => void;

async function postChunked(key: string, fill: (write: Write) => void): Promise<number> {
  const request = httpRequest(`${rest.url}/v1/agents/agt_echo_v1/invoke`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
  });
  request.on('error', () => {});
  fill((text) => request.write(text));
  request.end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.resume();
  return response.statusCode ?? 0;
}

/** The events of a stream, parsed. */
function eventsOf(text: string): { event: string; data: Record<string, unknown> }[] {
  return text
    .split('\n\n')
    .filter((block) => block.startsWith('event: '))
    .map((block) => {
      const [event = '', data = ''] = block.split('\n');
      return { event: event.slice(7), data: JSON.parse(data.slice(6)) as Record<string, unknown> };
    });
}

function streamFrames(response: ServerResponse, frames: [event: string, data: unknown][]): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (const [event, data] of frames) response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

test('a streamed call sends each chunk, then the whole answer', async () => {
  acts.set('in parts', (_, response) => {
    streamFrames(response, [
      ['chunk', 'one\nline'],
      ['chunk', 'two'],
      ['done', { output: { text: 'one two' } }],
    ]);
    response.end();
  });
  const buyer = await rest.newMember('100');
  const { status, headers, text } = await invoke(buyer, 'stream', {
    inputs: { text: 'in parts' },
    stream: true,
  });
  assert.equal(status, 200);
  assert.match(headers.get('content-type') ?? '', /^text\/event-stream/);
  assert.equal(headers.get('x-accel-buffering'), 'no');
  const events = eventsOf(text);
  assert.deepEqual(
    events.map(({ event }) => event),
    ['chunk', 'chunk', 'done'],
  );
  assert.deepEqual(
    events.slice(0, 2).map(({ data }) => data),
    [{ chunk: 'one\nline' }, { chunk: 'two' }],
  );
  assert.deepEqual(events[2]?.data['output'], { text: 'one two' });
  assert.equal(events[2]?.data['credits_charged'], '5');
});

test('a streamed call that fails after its first chunk ends in an error event, and is refunded', async () => {
  acts.set('half', (_, response) => {
    streamFrames(response, [['chunk', 'one']]);
    setImmediate(() => response.destroy());
  });
  const buyer = await rest.newMember('100');
  const { status, text } = await invoke(buyer, 'stream', { inputs: { text: 'half' }, stream: true });
  assert.equal(status, 200);
  const events = eventsOf(text);
  assert.deepEqual(
    events.map(({ event }) => event),
    ['chunk', 'error'],
  );
  assert.equal(events[1]?.data['code'], 'AGENT_UNREACHABLE');
  assert.equal(events[1]?.data['charged'], '0');
  assert.match(JSON.stringify(events[1]?.data['receipt']), /"outcome":"refunded"/);
  assert.equal((await balanceOf(buyer)).credits, '100');
});

for (const stream of [false, true]) {
  test(`a buyer who hangs up ends the call at the agent and is refunded${stream ? ' (streaming)' : ''}`, async () => {
    const buyer = await rest.newMember('100');
    const arrived = Promise.withResolvers<void>();
    const left = Promise.withResolvers<void>();
    const name = `hang up ${stream}`;
    acts.set(name, (request, response) => {
      if (stream) streamFrames(response, [['chunk', 'one']]);
      request.socket.on('close', () => left.resolve());
      arrived.resolve();
    });
    const abort = new AbortController();
    const sent = rest.send('POST', `/v1/agents/agt_${stream ? 'stream' : 'echo'}_v1/invoke`, {
      key: buyer.key,
      body: { inputs: { text: name }, stream },
      signal: abort.signal,
    });
    await arrived.promise;
    abort.abort();
    await assert.rejects(sent);
    await left.promise;
    const calls = await waitForCall(buyer);
    assert.deepEqual([calls.outcome, calls.code, calls.charged], ['refunded', 'CANCELLED', '0']);
    assert.equal((await balanceOf(buyer)).credits, '100');
  });
}

test('a buyer who sent the body in chunks and hangs up is refunded too', async () => {
  const buyer = await rest.newMember('100');
  const arrived = Promise.withResolvers<void>();
  acts.set('chunked', () => arrived.resolve());
  const request = httpRequest(`${rest.url}/v1/agents/agt_echo_v1/invoke`, {
    method: 'POST',
    headers: { authorization: `Bearer ${buyer.key}`, 'content-type': 'application/json' },
  });
  request.on('error', () => {});
  request.write('{"inputs":');
  request.end('{"text":"chunked"}}');
  await arrived.promise;
  request.destroy();
  assert.equal((await waitForCall(buyer))['code'], 'CANCELLED');
});

/** The record of the buyer's only call, as soon as it has ended. */
async function waitForCall(buyer: Member): Promise<Record<string, unknown>> {
  for (const deadline = performance.now() + 5_000; performance.now() < deadline;) {
    const { body } = await rest.send('GET', '/v1/calls', { key: buyer.key });
    if (body.items.length > 0) return body.items[0];
  }
  throw new Error('the call was not recorded');
}

test('a buyer who hung up on a call that runs on asks for its answer later, for what it cost once', async () => {
  const buyer = await rest.newMember('100');
  const arrived = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<unknown>();
  acts.set('later', () => {
    arrived.resolve();
    return answer.promise;
  });
  const abort = new AbortController();
  const body = { inputs: { text: 'later' } };
  const sent = rest.send('POST', '/v1/agents/agt_keeper_v1/invoke', {
    key: buyer.key,
    body,
    signal: abort.signal,
  });
  await arrived.promise;
  abort.abort();
  await assert.rejects(sent);
  await waitUntil(
    async () => (await rest.gateway.database.db.execute('SELECT 1 FROM call_results')).rows.length > 0,
  );
  answer.resolve({ text: 'at last' });
  const call = await waitForCall(buyer);
  assert.deepEqual([call['outcome'], call['delivered']], ['settled', false]);
  const { body: shown } = await rest.send('GET', `/v1/calls/${String(call['call_id'])}`, { key: buyer.key });
  assert.deepEqual(shown.result.output, { text: 'at last' });
  assert.equal(shown.result.receipt.charged, '5');
  assert.equal(shown.delivered, true);
  assert.equal((await waitForCall(buyer))['delivered'], true);
  assert.equal((await balanceOf(buyer)).credits, '95');
  const operators = await rest.send('GET', `/v1/calls/${String(call['call_id'])}`, {
    key: rest.operator.key,
  });
  assert.equal(operators.body.result, null, 'the operator sees what happened, not what was bought');
});

async function waitUntil(holds: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + 5_000; performance.now() < deadline;) {
    if (await holds()) return;
  }
  throw new Error('it never came true');
}
