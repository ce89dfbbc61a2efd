import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { createSigner } from '../../src/identity/signer.ts';
import { createRequestSigner } from '../../src/upstream/signature.ts';
import type { Endpoint } from '../../src/upstream/upstream.ts';
import { httpAnswer, jsonAnswer, openUpstream, requestTo, startRawAgent } from './raw-agent.ts';
import type { RawRequest } from './raw-agent.ts';

const PROTOCOLS = ['http', 'mcp'] as const;

/** A server with sessions: the n-th handshake opens session `s<n>`, and only the newest one is known. */
function sessionServer(): { answer: (request: RawRequest) => void; sessions: () => number } {
  let sessions = 0;
  function answer({ head, body, socket }: RawRequest): void {
    const { id, method } = JSON.parse(body) as { id?: unknown; method?: string };
    const reply = (result: unknown, headers = {}) =>
      socket.write(jsonAnswer({ jsonrpc: '2.0', id, result }, headers));
    if (method === 'initialize') {
      reply({ protocolVersion: '2025-11-25' }, { 'mcp-session-id': `s${++sessions}` });
    } else if (!head.includes(`mcp-session-id: s${sessions}\r\n`)) {
      socket.write(httpAnswer(404, {}, ''));
    } else if (method === 'notifications/initialized') {
      socket.write(httpAnswer(202, {}, ''));
    } else reply({ content: [{ type: 'text', text: 'said' }] });
  }
  return { answer, sessions: () => sessions };
}

test('a call is signed when it is prepared and once, and the agent hears of it when it is sent', async (t) => {
  const server = sessionServer();
  const agent = await startRawAgent(t, server.answer);
  const { privateKey } = generateKeyPairSync('ed25519');
  const sign = createRequestSigner({ keyId: 'k', sign: createSigner(privateKey) });
  let signatures = 0;
  const upstream = openUpstream(t, {
    signer: (...asked) => {
      signatures += 1;
      return sign(...asked);
    },
  });
  const mcp: Endpoint = { protocol: 'mcp', url: agent.url, tool: 'x' };
  await upstream.invoke(requestTo(mcp));
  for (const protocol of PROTOCOLS) {
    const before = { requests: agent.requests.length, signatures };
    const request = requestTo({ ...mcp, protocol }, { input: { method: 'tools/call' } });
    const prepared = upstream.prepare(request);
    upstream.prepare(request);
    assert.equal(signatures, before.signatures + 2);
    // Whatever the two above would have sent by now would be there before this.
    await upstream.invoke(requestTo(mcp));
    assert.equal(agent.requests.length, before.requests + 1);
    await prepared.send();
    assert.equal(agent.requests.length, before.requests + 2);
    assert.equal(signatures, before.signatures + 3);
  }
  const ids = agent.requests
    .map(({ body }) => JSON.parse(body) as { id?: number; method?: string; params?: unknown })
    .filter(({ method, params }) => method === 'tools/call' && params !== undefined)
    .map(({ id }) => id);
  assert.equal(ids.length, 4);
  assert.equal(new Set(ids).size, 4);
});

test('a call is sent though its connections were given up since it was prepared', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const agent = await startRawAgent(t, ({ socket }) => void socket.write(jsonAnswer(1)));
  const prepared = openUpstream(t).prepare(requestTo({ protocol: 'http', url: agent.url }));
  t.mock.timers.tick(10 * 60_000);
  assert.equal((await prepared.send()).kind, 'answer');
});

test('what is prepared after the gateway closed opens nothing', async (t) => {
  const intervals: number[] = [];
  t.mock.method(globalThis, 'setInterval', (...args: [() => void, number]) => {
    intervals.push(args[1]);
    return setTimeout(() => {}, 0);
  });
  const upstream = openUpstream(t);
  await upstream.close();
  const prepared = upstream.prepare(requestTo({ protocol: 'http', url: 'http://127.0.0.1:9/' }));
  assert.deepEqual(await prepared.send(), { kind: 'unreachable', detail: 'the gateway is shutting down' });
  assert.deepEqual(intervals, []);
});

test('a signature that fails is told to whoever sends, and troubles nobody when nobody does', async (t) => {
  const agent = await startRawAgent(t, ({ socket }) => void socket.write(jsonAnswer(1)));
  const upstream = openUpstream(t, { signer: () => Promise.reject(new Error('the key is gone')) });
  const endpoint: Endpoint = { protocol: 'http', url: agent.url };
  // An unhandled rejection would end the process of this test.
  upstream.prepare(requestTo(endpoint));
  await assert.rejects(upstream.prepare(requestTo(endpoint)).send(), /the key is gone/);
  assert.equal(agent.requests.length, 0);
});

test('a call prepared for a session that was lost meanwhile is written for the new one, and sent once', async (t) => {
  const server = sessionServer();
  const agent = await startRawAgent(t, server.answer);
  const upstream = openUpstream(t);
  const endpoint: Endpoint = { protocol: 'mcp', url: agent.url, tool: 'x' };
  await upstream.invoke(requestTo(endpoint));
  const prepared = upstream.prepare(requestTo(endpoint, { callId: 'call_prepared' }));

  // Somebody else opens a session, so that the server forgets ours, and the next call finds out.
  const other = openUpstream(t);
  await other.invoke(requestTo(endpoint));
  await upstream.invoke(requestTo(endpoint));
  assert.equal(server.sessions(), 3);

  assert.equal((await prepared.send()).kind, 'answer');
  const sent = agent.requests.filter(({ head }) => head.includes('call_prepared'));
  assert.equal(sent.length, 1);
  assert.match(sent[0]!.head, /mcp-session-id: s3/);
});

test('a call prepared before there was a session opens one when it is sent', async (t) => {
  const server = sessionServer();
  const agent = await startRawAgent(t, server.answer);
  const prepared = openUpstream(t).prepare(requestTo({ protocol: 'mcp', url: agent.url, tool: 'x' }));
  assert.equal((await prepared.send()).kind, 'answer');
  assert.equal(server.sessions(), 1);
});

test('whether an endpoint may be called is decided when the call is sent', async (t) => {
  for (const protocol of PROTOCOLS) {
    const agent = await startRawAgent(t, sessionServer().answer);
    let isAllowed = true;
    const upstream = openUpstream(t, { allowEndpoint: () => isAllowed });
    const endpoint: Endpoint = { protocol, url: agent.url, tool: 'x' };
    const noLonger = upstream.prepare(requestTo(endpoint));
    isAllowed = false;
    const notYet = upstream.prepare(requestTo(endpoint));
    assert.equal((await noLonger.send()).kind, 'unreachable');
    assert.equal(agent.requests.length, 0);
    isAllowed = true;
    await notYet.send();
    assert.ok(agent.requests.length > 0);
  }
});

test('the time a call waits before it is sent is not taken from its deadline', async (t) => {
  const slow = await startRawAgent(t, () => {});
  const quick = await startRawAgent(t, ({ socket }) => void socket.write(jsonAnswer(1)));
  const upstream = openUpstream(t);
  const prepared = upstream.prepare(requestTo({ protocol: 'http', url: quick.url }, { timeoutMs: 200 }));
  const waited = await upstream.invoke(requestTo({ protocol: 'http', url: slow.url }, { timeoutMs: 250 }));
  assert.equal(waited.kind, 'timeout');
  assert.equal((await prepared.send()).kind, 'answer');
});

test('a call whose buyer left after it was prepared is not sent', async (t) => {
  const agent = await startRawAgent(t, ({ socket }) => void socket.write(jsonAnswer(1)));
  const buyer = new AbortController();
  const prepared = openUpstream(t).prepare(
    requestTo({ protocol: 'http', url: agent.url }, { signal: buyer.signal }),
  );
  buyer.abort();
  assert.deepEqual(await prepared.send(), { kind: 'cancelled' });
  assert.equal(agent.requests.length, 0);
});
