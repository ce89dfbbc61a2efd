import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import type { Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { createAdaptorServer } from '@hono/node-server';
import { CALL, HOSTILE, MODERN_CALL, MODERN_HEADERS } from '../mcp/hostile-requests.ts';
import {
  manifestOf,
  startSeller,
  startTestGateway,
  type Buyer,
  type TestGateway,
  type TestSeller,
} from '../support/gateway.ts';
import { exchangeRaw, openRaw, type RawAnswer } from '../support/raw-http.ts';

let gateway: TestGateway;
let seller: TestSeller;
let buyer: Buyer;
/** The same gateway, all of it through the app. */
let throughApp: Server;
let straightPort: number;
let appPort: number;
/** Tells of each call the agent leaves to the test, with the response to answer it by. */
const asked = new EventEmitter();
/** What the gateway found worth an error. */
const errors: string[] = [];

before(async () => {
  seller = await startSeller(({ text }, _, response) => {
    if (text !== 'wait') return { text };
    asked.emit('asked', response);
    return undefined;
  });
  gateway = await startTestGateway({
    // That somebody has left is not to be noticed by a heartbeat that finds nobody.
    timing: { heartbeatMs: 3_600_000, commentMs: 3_600_000 },
    log: (level, message) => void (level === 'error' && errors.push(message)),
  });
  await gateway.publish(manifestOf('echo', seller.url, { capabilities: { streaming: true } }));
  buyer = await gateway.newBuyer();
  throughApp = createAdaptorServer({ fetch: gateway.app.fetch }) as Server;
  throughApp.listen(0, '127.0.0.1');
  await once(throughApp, 'listening');
  straightPort = Number(new URL(gateway.url).port);
  appPort = (throughApp.address() as AddressInfo).port;
});

after(async () => {
  throughApp?.closeAllConnections();
  throughApp?.close();
  await gateway?.close();
  await seller?.close();
});

/** A request in parts; `headers` replace those of a good one, or leave them out. */
type Wish = {
  method?: string;
  target?: string;
  version?: string;
  headers?: Record<string, string | string[] | undefined>;
  body?: unknown;
};

function bytesOf({ method = 'POST', target = '/mcp', version = '1.1', headers, body }: Wish): Buffer {
  const bytes = body instanceof Uint8Array ? body : Buffer.from(textOf(body));
  const all: NonNullable<Wish['headers']> = {
    host: 'localhost',
    authorization: `Bearer ${buyer.key}`,
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'x-request-id': 'of-this-test',
    'content-length': method === 'POST' ? String(bytes.length) : undefined,
    connection: 'close',
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) =>
    value === undefined ? [] : [value].flat().map((each) => `${name}: ${each}`),
  );
  const head = [`${method} ${target} HTTP/${version}`, ...lines, '', ''].join('\r\n');
  return Buffer.concat([Buffer.from(head, 'latin1'), bytes]);
}

function textOf(body: unknown): string {
  return typeof body === 'string' ? body : body === undefined ? '' : JSON.stringify(body);
}

/** In chunks of that size. */
function chunked(text: string, size: number): string {
  const chunks = text.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [];
  return [...chunks, ''].map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('');
}

/** What differs from one time to the next, and how the body was framed. */
function comparable(answers: RawAnswer[]): RawAnswer[] {
  return answers.map(({ status, headers, body }) => ({
    status,
    headers: headers
      .filter((line) => !/^(date|content-length|transfer-encoding): /.test(line))
      .map((line) => line.replace(/^(x-request-id: req_)[0-9a-f]{32}$/, '$1…')),
    body: body
      .replace(/"request_id":"req_[0-9a-f]{32}"/, '"request_id":"req_…"')
      .replaceAll(/"xyz\.sentinel\/receipt":\{[^}]*\}/g, '"xyz.sentinel/receipt":{}')
      .replaceAll(/call_[0-9a-f]{32}/g, 'call_…'),
  }));
}

async function assertSame(request: Buffer): Promise<RawAnswer> {
  const [straight, app] = await Promise.all([
    exchangeRaw(straightPort, request),
    exchangeRaw(appPort, request),
  ]);
  assert.deepEqual(comparable(straight), comparable(app));
  assert.equal(straight.length, 1);
  return straight[0] as RawAnswer;
}

for (const { title, body, headers, query, status } of HOSTILE) {
  test(`${title} is answered byte for byte as the app answers it`, async () => {
    const answer = await assertSame(bytesOf({ target: `/mcp${query ?? ''}`, body, headers: { ...headers } }));
    assert.equal(answer.status, status);
  });
}

const LIST = { jsonrpc: '2.0', id: 1, method: 'tools/list' };
const PING = { jsonrpc: '2.0', id: 1, method: 'ping' };
const NOTE = { jsonrpc: '2.0', method: 'notifications/initialized' };
const INITIALIZE = {
  jsonrpc: '2.0',
  id: 'i',
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } },
};
const DISCOVER = { jsonrpc: '2.0', id: 1, method: 'server/discover', params: MODERN_CALL.params };
const NOT_HERE = { 'x-request-id': 'not an id' };
const ONLY_EVENTS = { accept: 'text/event-stream' };

const REQUESTS: [title: string, wish: Wish, status: number][] = [
  ['a paid call', { body: CALL }, 200],
  ['a paid modern call', { body: MODERN_CALL, headers: MODERN_HEADERS }, 200],
  ['a paid call for a reader of events', { body: CALL, headers: ONLY_EVENTS }, 200],
  ['a list', { body: LIST }, 200],
  ['a list for a reader of events', { body: LIST, headers: ONLY_EVENTS }, 200],
  ['a list without an Accept', { body: LIST, headers: { accept: undefined } }, 200],
  ['a list on /mcp/sse', { target: '/mcp/sse?tools=meta', body: LIST }, 200],
  ['a ping', { body: PING }, 200],
  ['a ping for a reader of events', { body: PING, headers: ONLY_EVENTS }, 200],
  ['a notification', { body: NOTE }, 202],
  ['an initialize', { body: INITIALIZE }, 200],
  ['a discover', { body: DISCOVER, headers: { ...MODERN_HEADERS, 'mcp-method': 'server/discover' } }, 200],
  ['a key in X-API-Key', { body: LIST, headers: { authorization: undefined, 'x-api-key': '' } }, 401],
  ['a request id that is not kept', { body: LIST, headers: NOT_HERE }, 200],
  ['no request id', { body: CALL, headers: { 'x-request-id': undefined } }, 200],
  ['Content-Type in capitals', { body: LIST, headers: { 'content-type': 'Application/JSON' } }, 200],
  // Headers that came twice
  ['two keys', { body: LIST, headers: { authorization: ['Bearer x', 'Bearer y'] } }, 401],
  ['two Accepts', { body: LIST, headers: { accept: ['text/html', 'application/json'] } }, 200],
  ['two Content-Types', { body: LIST, headers: { 'content-type': ['application/json', 'text/plain'] } }, 415],
  ['two Origins', { body: LIST, headers: { origin: ['http://localhost', 'http://evil.example'] } }, 403],
  [
    'two sessions',
    { body: CALL, headers: { 'x-sentinel-session': ['a', 'b'], accept: 'application/json' } },
    200,
  ],
  // Host and Origin
  ['a foreign Host', { body: CALL, headers: { host: 'evil.example' } }, 403],
  ['a Host in capitals', { body: LIST, headers: { host: 'LOCALHOST' } }, 200],
  ['a Host with a port', { body: LIST, headers: { host: '127.0.0.1:1' } }, 200],
  ['a Host with a port that is none', { body: LIST, headers: { host: 'localhost:99999' } }, 400],
  ['a Host of IPv6', { body: LIST, headers: { host: '[::1]:8787' } }, 200],
  ['an empty Host', { body: LIST, headers: { host: '' } }, 400],
  ['no Host', { body: LIST, headers: { host: undefined } }, 400],
  ['a foreign Origin', { body: CALL, headers: { origin: 'https://evil.example' } }, 403],
  ['the Origin null', { body: CALL, headers: { origin: 'null' } }, 403],
  ['an Origin of this machine', { body: LIST, headers: { origin: 'http://localhost:5173' } }, 200],
  [
    'a page of this machine that reads events',
    { body: LIST, headers: { ...ONLY_EVENTS, origin: 'http://localhost:5173' } },
    200,
  ],
  [
    'a refused page of this machine',
    { body: LIST, headers: { authorization: undefined, origin: 'http://localhost:5173' } },
    401,
  ],
  [
    'a preflight',
    { method: 'OPTIONS', headers: { origin: 'http://localhost', 'access-control-request-method': 'POST' } },
    204,
  ],
  // Targets
  ['a key in the query', { target: '/mcp?token=x', body: CALL }, 400],
  ['a query of odd characters', { target: '/mcp?badge="gold\\', body: LIST }, 400],
  ['an empty query', { target: '/mcp?', body: LIST }, 200],
  ['a slash after the path', { target: '/mcp/', body: LIST }, 404],
  ['a path in capitals', { target: '/MCP', body: LIST }, 404],
  ['a path with escapes', { target: '/%6dcp', body: LIST }, 200],
  ['a path with a fragment', { target: '/mcp#x', body: LIST }, 200],
  ['a whole URL', { target: 'http://localhost/mcp', body: LIST }, 200],
  ['a whole URL elsewhere', { target: 'http://evil.example/mcp', body: LIST }, 200],
  ['a backslash in the path', { target: '/\\mcp', body: LIST }, 400],
  // Other verbs
  ['GET without an Accept', { method: 'GET', headers: { accept: undefined } }, 405],
  ['GET with a bad key', { method: 'GET', headers: { ...ONLY_EVENTS, authorization: 'Bearer x' } }, 401],
  ['HEAD', { method: 'HEAD' }, 405],
  ['DELETE', { method: 'DELETE' }, 200],
  ['PUT', { method: 'PUT' }, 405],
  ['GET of the messages', { method: 'GET', target: '/mcp/messages' }, 405],
  ['a message to no session', { target: '/mcp/messages?sessionId=x', body: LIST }, 404],
  ['a key beside a session', { target: '/mcp/messages?sessionId=x&api_key=y', body: LIST }, 400],
  // Bodies
  ['no body', { headers: { 'content-length': undefined } }, 400],
  [
    'a chunked body',
    {
      headers: { 'content-length': undefined, 'transfer-encoding': 'chunked' },
      body: chunked(JSON.stringify(LIST), 5),
    },
    200,
  ],
  // HTTP itself
  ['HTTP/1.0', { version: '1.0', body: LIST }, 200],
  ['HTTP/1.0 for a reader of events', { version: '1.0', body: LIST, headers: ONLY_EVENTS }, 200],
  ['HTTP/1.0 without a Host', { version: '1.0', body: LIST, headers: { host: undefined } }, 400],
];

for (const [title, wish, status] of REQUESTS) {
  test(`${title} is answered byte for byte as the app answers it`, async () => {
    assert.equal((await assertSame(bytesOf(wish))).status, status);
  });
}

test('a request may follow on a connection whose last body nobody read', async () => {
  const connection = openRaw(straightPort);
  const keep = { connection: 'keep-alive' };
  const bad = { ...keep, authorization: 'Bearer x' };
  connection.socket.write(bytesOf({ body: ' '.repeat(300_000), headers: bad }));
  connection.socket.write(bytesOf({ body: LIST, headers: keep }));
  connection.socket.write(bytesOf({ body: PING, headers: bad }));
  connection.socket.write(bytesOf({ body: LIST }));
  await connection.closed;
  assert.deepEqual(
    connection.answers().map(({ status }) => status),
    [401, 200, 401, 200],
  );
});

for (const [title, asChunks] of [
  ['with a length', false],
  ['in chunks', true],
] as const) {
  test(`a body ${title} that comes long after its head, in many pieces, is read whole`, async () => {
    const text = 'é'.repeat(500_000);
    const body = Buffer.from(JSON.stringify(callOf(text)));
    const request = bytesOf({
      body: asChunks ? Buffer.from(chunked(body.toString('latin1'), 100_000), 'latin1') : body,
      headers: {
        expect: '100-continue',
        ...(asChunks ? { 'content-length': undefined, 'transfer-encoding': 'chunked' } : {}),
      },
    });
    const head = request.indexOf('\r\n\r\n') + 4;
    const connection = openRaw(straightPort);
    connection.socket.write(request.subarray(0, head));
    await connection.answered(1);
    connection.socket.write(request.subarray(head));
    const [, answer] = await connection.answered(2);
    const { result } = JSON.parse(answer?.body ?? '') as { result: { structuredContent: object } };
    assert.deepEqual(result.structuredContent, { text });
  });
}

test('a client that leaves within its body, or before its answer, is nobody’s error', async () => {
  const before = errors.length;
  const whole = bytesOf({ body: CALL, headers: { expect: '100-continue' } });
  for (const missing of [1, 40, 0]) {
    const connection = openRaw(straightPort);
    connection.socket.write(whole.subarray(0, whole.indexOf('\r\n\r\n') + 4));
    await connection.answered(1);
    const rest = whole.subarray(whole.indexOf('\r\n\r\n') + 4, whole.length - missing);
    await new Promise<void>((resolve) => connection.socket.write(rest, () => resolve()));
    connection.socket.resetAndDestroy();
    await connection.closed;
  }
  // The last of them has reached the gateway when this one is answered.
  await exchangeRaw(straightPort, bytesOf({ body: LIST }));
  await idle();
  assert.deepEqual(errors.slice(before), []);
});

for (const way of ['straight', 'through the app'] as const) {
  const port = (): number => (way === 'straight' ? straightPort : appPort);

  test(`${way}: a client that leaves before its answer, or within it, stops the agent`, async () => {
    const before = await gateway.balanceOf(buyer);
    for (const chunk of [undefined, 'one']) {
      const reached = once(asked, 'asked');
      const connection = openRaw(port());
      const meta = { progressToken: 1 };
      connection.socket.write(bytesOf({ body: callOf('wait', meta) }));
      const [upstream] = (await reached) as [ServerResponse];
      const upstreamClosed = once(upstream, 'close');
      if (chunk !== undefined) {
        upstream.writeHead(200, { 'content-type': 'text/event-stream' });
        upstream.write(`event: chunk\ndata: "${chunk}"\n\n`);
        let come = '';
        while (!come.includes(`"message":"${chunk}"`))
          come += String((await once(connection.socket, 'data'))[0]);
      }
      connection.socket.destroy();
      await upstreamClosed;
      await idle();
      assert.equal(gateway.ended.at(-1)?.result, 'CANCELLED');
    }
    assert.deepEqual(await gateway.balanceOf(buyer), before);
  });

  test(`${way}: the call of a client that leaves while its key is looked up is on record`, async () => {
    const stranger = await gateway.newBuyer();
    const lock = await gateway.database.pool.connect();
    await lock.query('BEGIN; LOCK TABLE api_keys');
    const connection = openRaw(port());
    const headers = { authorization: `Bearer ${stranger.key}` };
    const request = bytesOf({ body: callOf('never'), headers });
    await new Promise<void>((resolve) => connection.socket.write(request, () => resolve()));
    // What needs no key is answered in between: after the call has come, and after its client has left.
    await exchangeRaw(port(), bytesOf({ method: 'DELETE' }));
    connection.socket.resetAndDestroy();
    await connection.closed;
    await exchangeRaw(port(), bytesOf({ method: 'DELETE' }));
    const before = { requests: seller.requests, ended: gateway.ended.length };
    await lock.query('COMMIT');
    lock.release();
    while (gateway.ended.length === before.ended) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(gateway.ended.at(-1)?.result, 'CANCELLED');
    assert.equal(seller.requests, before.requests);
  });

  test(`${way}: a reader of an old stream who reads nothing is cut off`, async (t) => {
    const print = t.mock.method(console, 'error', () => {});
    const stream = openRaw(port());
    stream.socket.write(bytesOf({ method: 'GET', headers: ONLY_EVENTS }));
    let opened = '';
    while (!opened.includes('sessionId=')) opened += String((await once(stream.socket, 'data'))[0]);
    const target = /\/mcp\/messages\?sessionId=\w+/.exec(opened)?.[0] ?? '';
    stream.socket.pause();

    const call = bytesOf({ target, body: callOf('x'.repeat(1_000_000)) });
    let status = 202;
    // What the kernel holds for both ends is a few megabytes.
    for (let sent = 0; status === 202 && sent < 40; sent += 1) {
      status = (await exchangeRaw(port(), call))[0]?.status ?? 0;
      await idle();
    }
    assert.equal(status, 404);
    stream.socket.resume();
    await stream.closed;
    // Through the app the connection is dropped by an error, which the HTTP server around it prints.
    if (way === 'straight') assert.equal(print.mock.callCount(), 0);
  });
}

test('a list that fails is told to whoever reads only events, too', async () => {
  const { pool } = gateway.database;
  await pool.query('ALTER TABLE price_listings RENAME TO price_listings_away');
  try {
    const stranger = await gateway.newBuyer();
    const headers = { authorization: `Bearer ${stranger.key}` };
    const json = await assertSame(bytesOf({ body: LIST, headers }));
    assert.equal(json.status, 500);
    const events = await assertSame(bytesOf({ body: LIST, headers: { ...headers, ...ONLY_EVENTS } }));
    assert.equal(
      events.body,
      'event: message\ndata: {"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Internal error."}}\n\n',
    );
    assert.equal(errors.filter((message) => message === 'an MCP request failed').length, 4);
  } finally {
    await pool.query('ALTER TABLE price_listings_away RENAME TO price_listings');
  }
});

function callOf(text: string, meta: object = {}) {
  return { ...CALL, params: { ...CALL.params, arguments: { text }, _meta: meta } };
}

async function idle(): Promise<void> {
  do await new Promise((resolve) => setImmediate(resolve));
  while (gateway.deps.running.count() > 0);
}
