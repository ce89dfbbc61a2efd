import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { ServerResponse } from 'node:http';
import { after, before, test } from 'node:test';
import { markRevoked } from '../../src/identity/keys.ts';
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
/** Calls the agent has been asked and not answered yet, by their text. */
const waiting = new Map<string, ServerResponse>();
const arrivals = new EventEmitter();

before(async () => {
  seller = await startSeller((input, _, response) => {
    const text = String(input['text']);
    if (text === 'echo') return { text };
    waiting.set(text, response);
    arrivals.emit('asked');
    return undefined;
  });
  gateway = await startTestGateway();
  const streaming = { capabilities: { streaming: true } };
  await gateway.publish(manifestOf('slow', seller.url, streaming));
  await gateway.publish(manifestOf('kept', seller.url, { capabilities: { idempotent: true } }));
  buyer = await gateway.newBuyer('100000');
});

after(async () => {
  await gateway?.close();
  await seller?.close();
});

test('a client that hangs up before the answer stops the agent, and its credits are free again', async () => {
  const before = await gateway.balanceOf(buyer);
  const abort = new AbortController();
  const call = post(callBody('hang up'), { signal: abort.signal });
  await asked('hang up');
  const upstreamClosed = once(answerOf('hang up'), 'close');
  abort.abort();
  await assert.rejects(call);
  await upstreamClosed;
  await idle();
  assert.deepEqual(await gateway.balanceOf(buyer), before);
});

test('a client that hangs up in the middle of a stream stops the agent, and its credits are free again', async () => {
  const before = await gateway.balanceOf(buyer);
  const abort = new AbortController();
  const call = post(callBody('mid stream', { progressToken: 'p' }), { signal: abort.signal });
  await asked('mid stream');
  const upstream = answerOf('mid stream');
  upstream.writeHead(200, { 'content-type': 'text/event-stream' });
  upstream.write('event: chunk\ndata: "one"\n\n');
  const response = await call;
  assert.equal(response.headers.get('content-type'), 'text/event-stream');
  const reader = response.body?.getReader();
  assert.match(new TextDecoder().decode((await reader?.read())?.value), /"progress":1,"message":"one"/);
  const upstreamClosed = once(upstream, 'close');
  abort.abort();
  await upstreamClosed;
  await idle();
  assert.deepEqual(await gateway.balanceOf(buyer), before);
});

test('a hundred clients that hang up at any moment leave no call and no hold behind', async () => {
  const before = await gateway.balanceOf(buyer);
  const sockets = Array.from({ length: 100 }, (_, index) => {
    const body = JSON.stringify(callBody(`random ${index}`, { progressToken: index }));
    const request = `POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${buyer.key}\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const socket = openSocket();
    // Some within the request, some right after it, and some once the agent has begun to answer.
    const cut = index % 3 === 0 ? Math.floor((request.length * index) / 100) : request.length;
    socket.write(request.slice(0, cut));
    if (index % 3 === 0) socket.end();
    return { socket, text: `random ${index}`, stage: index % 3 };
  });
  for (const { socket, text, stage } of sockets) {
    if (stage === 1) setImmediate(() => socket.destroy());
    if (stage !== 2) continue;
    await asked(text);
    answerOf(text).writeHead(200, { 'content-type': 'text/event-stream' });
    answerOf(text).write('event: chunk\ndata: "x"\n\n');
    socket.destroy();
  }
  await idle();
  const after = await gateway.balanceOf(buyer);
  assert.equal(after.heldMicros, 0n);
  assert.equal(after.availableMicros, before.availableMicros);
  assert.equal((await post(callBody('echo'))).status, 200);
});

test('an answer whose client left is handed over by sentinel_get_call, free', async () => {
  const abort = new AbortController();
  const call = post(callBody('kept', {}, 'kept'), { signal: abort.signal });
  await asked('kept');
  abort.abort();
  await assert.rejects(call);
  answerOf('kept').writeHead(200, { 'content-type': 'application/json' });
  answerOf('kept').end('{"text":"kept"}');
  await idle();
  const before = await gateway.balanceOf(buyer);
  await gateway.deps.recorder.flushed();
  const { rows } = await gateway.database.pool.query<{ id: string }>(
    'SELECT id FROM calls WHERE is_delivered = false AND outcome = $1 AND organization_id = $2',
    ['settled', buyer.organizationId],
  );
  const callId = `call_${rows[0]?.id.replaceAll('-', '')}`;
  const stranger = await gateway.newBuyer();
  assert.equal((await metaTool('sentinel_get_call', { call_id: callId }, stranger)).isError, true);
  const found = await metaTool('sentinel_get_call', { call_id: callId });
  assert.deepEqual(found.structuredContent?.['answer'], { output: { text: 'kept' } });
  assert.equal(found.structuredContent?.['delivered'], true);
  const again = await metaTool('sentinel_get_call', { call_id: callId });
  assert.deepEqual(again.structuredContent, found.structuredContent);
  assert.deepEqual(await gateway.balanceOf(buyer), before);
});

test('a cancel stops the request with that id', async () => {
  const call = post({ ...callBody('to cancel'), id: 'c-1' });
  await asked('to cancel');
  assert.equal((await post(cancelBody('c-1'))).status, 202);
  assert.equal(await codeOf(call), 'CANCELLED');
});

test('a cancel of somebody else’s id, or of the same digits as a text, does nothing', async () => {
  const stranger = await gateway.newBuyer();
  const call = post({ ...callBody('not yours'), id: 77 });
  await asked('not yours');
  assert.equal((await post(cancelBody(77), { headers: stranger.headers })).status, 202);
  const sibling = await gateway.newKey(buyer);
  assert.equal((await post(cancelBody(77), { headers: sibling.headers })).status, 202);
  assert.equal((await post(cancelBody('77'))).status, 202);
  finish('not yours');
  assert.equal(await codeOf(call), undefined);
});

test('a cancel of an id that two hosts of one key have in flight stops neither', async () => {
  const first = post({ ...callBody('twin 1'), id: 5 });
  const second = post({ ...callBody('twin 2'), id: 5 });
  await asked('twin 1');
  await asked('twin 2');
  assert.equal((await post(cancelBody(5))).status, 202);
  finish('twin 1');
  finish('twin 2');
  assert.deepEqual([await codeOf(first), await codeOf(second)], [undefined, undefined]);
});

test('a client that does not read its stream is cut off, and what it holds stays bounded', async () => {
  const before = await gateway.balanceOf(buyer);
  const socket = openSocket();
  const body = JSON.stringify(callBody('flood', { progressToken: 1 }));
  socket.pause();
  socket.write(
    `POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${buyer.key}\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  await asked('flood');
  const upstream = answerOf('flood');
  const closed = once(upstream, 'close');
  upstream.writeHead(200, { 'content-type': 'text/event-stream' });
  const chunk = `event: chunk\ndata: "${'x'.repeat(64 * 1024)}"\n\n`;
  let sent = 0;
  // Kernel buffers on both sides of both sockets take a few megabytes; 10 MB is what the manifest allows.
  while (sent < 128 && !upstream.destroyed) {
    if (!upstream.write(chunk)) await Promise.race([once(upstream, 'drain'), closed]);
    sent += 1;
  }
  await closed;
  await idle();
  socket.destroy();
  assert.deepEqual(await gateway.balanceOf(buyer), before);
  assert.equal(gateway.ended.at(-1)?.result, 'CANCELLED');
});

test('a client that reads only events gets one, whatever it asks', async () => {
  for (const body of [
    callBody('echo'),
    { jsonrpc: '2.0', id: 1, method: 'ping' },
    { jsonrpc: '2.0', id: 1, method: 'tools/list' },
  ]) {
    for (const accept of [
      'text/event-stream',
      'application/json;q=0, Text/Event-Stream ; q=0.5',
      'x/*, text/event-stream',
    ]) {
      const response = await post(body, { headers: { accept } });
      assert.equal(response.headers.get('content-type'), 'text/event-stream');
      assert.match(await response.text(), /^event: message\ndata: \{.*"id":1.*\}\n\n$/);
    }
  }
});

test('a client that reads only JSON gets JSON, whatever it asks', async () => {
  for (const body of [callBody('echo', { progressToken: 1 }), { jsonrpc: '2.0', id: 1, method: 'ping' }]) {
    for (const accept of [
      'application/json',
      '*/*',
      'application/*;q=0.1',
      'text/event-stream;q=0, */*',
      'application/json; profile="a,text/event-stream"',
    ]) {
      const response = await post(body, { headers: { accept } });
      assert.equal(response.headers.get('content-type'), 'application/json');
      await response.json();
    }
  }
});

test('an old session is its key’s alone, and a revoked key cannot use it any more', async () => {
  const doomed = await gateway.newKey(buyer);
  const stream = await openSession(doomed);
  const stranger = await gateway.newBuyer();
  const list = { jsonrpc: '2.0', id: 1, method: 'tools/list' };
  assert.equal((await postTo(stream.endpoint, list, buyer)).status, 404);
  assert.equal((await postTo(stream.endpoint, list, stranger)).status, 404);
  assert.equal((await postTo(stream.endpoint, list, doomed)).status, 202);
  assert.match(await stream.next(), /^event: message\ndata: .*"tools":\[/);
  await gateway.database.db.transaction((tx) => markRevoked(tx, doomed.keyId, undefined));
  gateway.authenticator.forget(doomed.keyId);
  assert.equal((await postTo(stream.endpoint, list, doomed)).status, 401);
  stream.close();
});

test('a call over the old transport belongs to the session of its connection, unless it names one', async () => {
  const stream = await openSession(buyer);
  const sessionOf = async (meta: object): Promise<string | null> => {
    await postTo(stream.endpoint, callBody('echo', meta), buyer);
    const [, callId] = /"call_id":"call_([0-9a-f]{32})"/.exec(await stream.next()) ?? [];
    await gateway.deps.recorder.flushed();
    const { rows } = await gateway.database.pool.query<{ session: string | null }>(
      'SELECT session FROM calls WHERE id = $1::uuid',
      [callId],
    );
    return rows[0]?.session ?? null;
  };
  assert.equal(await sessionOf({}), new URL(stream.endpoint).searchParams.get('sessionId'));
  assert.equal(await sessionOf({ 'xyz.sentinel/session': 'run 7' }), 'run 7');
  stream.close();
});

test('the filters an old session was opened with bind its calls', async () => {
  const stream = await openSession(buyer, '?min_trust_score=95');
  const before = seller.requests;
  await postTo(stream.endpoint, callBody('echo'), buyer);
  assert.match(await stream.next(), /NOT_FOUND/);
  assert.equal(seller.requests, before);
  const widened = new URL(stream.endpoint);
  widened.searchParams.set('min_trust_score', '0');
  assert.equal((await postTo(widened.href, callBody('echo'), buyer)).status, 400);
  stream.close();
});

test('an old session that closes takes its calls with it, and is gone', async () => {
  const before = await gateway.balanceOf(buyer);
  const stream = await openSession(buyer);
  await postTo(stream.endpoint, callBody('session closes'), buyer);
  await asked('session closes');
  const upstreamClosed = once(answerOf('session closes'), 'close');
  stream.close();
  await upstreamClosed;
  await idle();
  assert.deepEqual(await gateway.balanceOf(buyer), before);
  assert.equal((await postTo(stream.endpoint, callBody('echo'), buyer)).status, 404);
});

test('an old session that nobody uses is closed', async () => {
  const impatient = await startTestGateway({ timing: { sessionIdleMs: 30, tickMs: 10 } });
  const someone = await impatient.newBuyer();
  const response = await fetch(impatient.url, {
    headers: { ...someone.headers, accept: 'text/event-stream' },
  });
  const [, path = ''] = /data: (\S+)/.exec(await response.text()) ?? [];
  assert.equal((await postTo(new URL(path, impatient.url).href, cancelBody(1), someone)).status, 404);
  await impatient.close();
});

const LISTEN = {
  jsonrpc: '2.0',
  id: 1,
  method: 'subscriptions/listen',
  params: {
    notifications: { toolsListChanged: true },
    _meta: {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
    },
  },
};
const LISTEN_HEADERS = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'subscriptions/listen' };

test('one key has at most a hundred streams of list changes, of both eras together', async () => {
  const crowd = await gateway.newBuyer();
  const abort = new AbortController();
  const legacy = { ...crowd.headers, accept: 'text/event-stream', 'mcp-protocol-version': '2025-11-25' };
  const listen = () =>
    post(LISTEN, { headers: { ...crowd.headers, ...LISTEN_HEADERS }, signal: abort.signal });
  assert.equal((await listen()).status, 200);
  for (let count = 1; count < 100; count += 1)
    assert.equal((await fetch(gateway.url, { headers: legacy, signal: abort.signal })).status, 200);
  assert.equal((await listen()).status, 429);
  assert.equal((await fetch(gateway.url, { headers: legacy })).status, 429);
  abort.abort();
  // Those that end make room for as many others.
  const again = new AbortController();
  const streams: Response[] = [];
  while (streams.length < 100) {
    const response = await fetch(gateway.url, { headers: legacy, signal: again.signal });
    if (response.status === 200) streams.push(response);
  }
  again.abort();
});

test('through the app, a stream of list changes whose body is cancelled makes room for another', async () => {
  const crowd = await gateway.newBuyer();
  const listen = async () =>
    gateway.app.fetch(
      new Request(gateway.url, {
        method: 'POST',
        headers: {
          ...crowd.headers,
          ...LISTEN_HEADERS,
          'content-type': 'application/json',
          host: 'localhost',
        },
        body: JSON.stringify(LISTEN),
      }),
    );
  const streams: Response[] = [];
  while (streams.length < 100) streams.push(await listen());
  assert.equal((await listen()).status, 429);
  await streams[0]?.body?.cancel();
  assert.equal((await listen()).status, 200);
  for (const { body } of streams.slice(1)) await body?.cancel();
});

test('one key has at most twenty old sessions', async () => {
  const crowd = await gateway.newBuyer();
  const streams = [];
  for (let count = 0; count < 20; count += 1) streams.push(await openSession(crowd));
  const headers = { ...crowd.headers, accept: 'text/event-stream' };
  assert.equal((await fetch(gateway.url, { headers })).status, 429);
  for (const stream of streams) stream.close();
});

test('hostile posts to an old session are refused as on the new transport', async () => {
  const stream = await openSession(buyer);
  for (const [body, status] of [
    ['', 400],
    ['[]', 400],
    ['{"jsonrpc":"2.0","id":null,"method":"ping"}', 400],
    ['{"jsonrpc":"1.0","id":1,"method":"ping"}', 400],
  ] as const) {
    const headers = { ...buyer.headers, 'content-type': 'application/json' };
    assert.equal((await fetch(stream.endpoint, { method: 'POST', headers, body })).status, status);
  }
  const unknown = stream.endpoint.replace(/sessionId=.*/, `sessionId=${'0'.repeat(48)}`);
  assert.equal((await postTo(unknown, callBody('echo'), buyer)).status, 404);
  assert.equal((await postTo(`${stream.endpoint}&api_key=x`, callBody('echo'), buyer)).status, 400);
  stream.close();
});

type Options = { headers?: Record<string, string>; signal?: AbortSignal };

function post(body: object, { headers, signal }: Options = {}): Promise<Response> {
  return fetch(gateway.url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...buyer.headers,
      ...headers,
    },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
}

function postTo(url: string, body: object, { headers }: Buyer): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

function callBody(text: string, meta: object = {}, agent = 'slow') {
  const name = `sentinel_agt_${agent}_v1`;
  return { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: { text }, _meta: meta } };
}

function cancelBody(requestId: string | number) {
  return { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId, reason: 'test' } };
}

type ToolAnswer = {
  isError?: boolean;
  structuredContent?: Record<string, unknown>;
  _meta?: { 'xyz.sentinel/error'?: { code: string } };
};

async function metaTool(name: string, input: object, who: Buyer = buyer): Promise<ToolAnswer> {
  const body = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: input } };
  return ((await (await post(body, { headers: who.headers })).json()) as { result: ToolAnswer }).result;
}

async function codeOf(call: Promise<Response>): Promise<string | undefined> {
  const { result } = (await (await call).json()) as { result: ToolAnswer };
  return result._meta?.['xyz.sentinel/error']?.code;
}

async function asked(text: string): Promise<void> {
  while (!waiting.has(text)) await once(arrivals, 'asked');
}

function answerOf(text: string): ServerResponse {
  const response = waiting.get(text);
  assert.ok(response, `the agent was asked ${text}`);
  return response;
}

function finish(text: string): void {
  answerOf(text).writeHead(200, { 'content-type': 'application/json' });
  answerOf(text).end(JSON.stringify({ text }));
}

async function idle(): Promise<void> {
  do await new Promise((resolve) => setImmediate(resolve));
  while (gateway.deps.running.count() > 0);
}

function openSocket(): Socket {
  const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
  socket.on('error', () => {});
  return socket;
}

async function openSession(who: Buyer, query = '') {
  const abort = new AbortController();
  const response = await fetch(`${gateway.url}${query}`, {
    headers: { ...who.headers, accept: 'text/event-stream' },
    signal: abort.signal,
  });
  assert.equal(response.status, 200);
  const reader = response.body?.getReader();
  const next = async () => new TextDecoder().decode((await reader?.read())?.value);
  const [, path = ''] = /^event: endpoint\ndata: (\S+)\n\n$/.exec(await next()) ?? [];
  return { endpoint: new URL(path, gateway.url).href, next, close: () => abort.abort() };
}
