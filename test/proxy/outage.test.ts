import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { test } from 'node:test';
import type { AddressInfo } from 'node:net';
import {
  type TestGateway,
  startScriptedGateway,
  startSessionGateway,
  startStatelessGateway,
} from './gateways.ts';
import { call, initialize, initialized, startRawHost, statelessMeta } from './raw-host.ts';

const timeout = 40_000;
const json = (body: unknown, init?: ResponseInit): Response => Response.json(body, init);
const idOf = async (request: Request): Promise<unknown> => ((await request.json()) as { id: unknown }).id;
const keyOf = ({ text }: { text: string }): string | undefined =>
  /idempotency-key":"([^"]+)"/.exec(text)?.[1];

/** A port nobody listens on: taken and given back. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test(
  'a host that starts before the gateway is served as soon as the gateway is there',
  { timeout },
  async (t) => {
    const port = await freePort();
    const host = startRawHost({ SENTINEL_URL: `http://127.0.0.1:${port}/mcp` });
    t.after(() => host.child.kill('SIGKILL'));
    host.send(initialize(1));
    host.send('not json');
    await host.answer(null);
    const gateway = await startSessionGateway({ port });
    t.after(gateway.close);
    assert.ok((await host.answer(1)).result);
  },
);

test(
  'a call that a dying gateway cut off is sent again under the same key, and answered once',
  { timeout },
  async (t) => {
    const cut: TestGateway['seen'] = [];
    const port = await freePort();
    // The connection breaks with the request received and no word said: nobody can know whether it was charged.
    const dying = createServer((request) => {
      let text = '';
      request.setEncoding('utf8').on('data', (part: string) => (text += part));
      request.on('end', () => {
        cut.push({ verb: 'POST', headers: new Headers(), text, method: undefined });
        dying.close();
        request.socket.destroy();
        dying.closeAllConnections();
      });
    }).listen(port, '127.0.0.1');
    await once(dying, 'listening');
    const host = startRawHost({ SENTINEL_URL: `http://127.0.0.1:${port}/mcp` });
    t.after(() => host.child.kill('SIGKILL'));
    host.send(call(1, 'echo', { n: 1 }, statelessMeta()));
    await once(dying, 'close');

    const gateway = await startStatelessGateway({ port });
    t.after(gateway.close);
    assert.deepEqual((await host.answer(1)).result?.['content'], [{ type: 'text', text: '{"n":1}' }]);
    assert.equal(cut.length, 1);
    assert.equal(gateway.seen.length, 1);
    assert.equal(gateway.seen[0]?.text, cut[0]?.text, 'byte for byte the same request');
    assert.match(keyOf(gateway.seen[0] ?? { text: '' }) ?? '', /^[0-9a-f]{32,}$/);
  },
);

for (const status of [502, 503, 504]) {
  test(`HTTP ${status} is a gateway that restarts: the call is sent again`, { timeout }, async (t) => {
    let tries = 0;
    const gateway = await startScriptedGateway(async (request) => {
      tries += 1;
      if (tries < 3) return new Response('<html>restarting</html>', { status });
      return json({ jsonrpc: '2.0', id: await idOf(request), result: { tries } });
    });
    t.after(gateway.close);
    const host = startRawHost({ SENTINEL_URL: gateway.url });
    t.after(() => host.child.kill('SIGKILL'));
    host.send(call(1, 'echo'));
    assert.deepEqual((await host.answer(1)).result, { tries: 3 });
    assert.equal(new Set(gateway.seen.map(keyOf)).size, 1);
  });
}

for (const status of [400, 401, 403, 404, 429, 500]) {
  test(`HTTP ${status} is an answer: the call is not sent again`, { timeout }, async (t) => {
    const gateway = await startScriptedGateway(() => new Response('no', { status }));
    t.after(gateway.close);
    const host = startRawHost({ SENTINEL_URL: gateway.url });
    t.after(() => host.child.kill('SIGKILL'));
    host.send(call(1, 'echo'));
    assert.match((await host.answer(1)).error?.message ?? '', new RegExp(`HTTP ${status}`));
    assert.equal(gateway.seen.length, 1);
  });
}

test('a JSON-RPC error without an id is given to the request it refused', { timeout }, async (t) => {
  const body = {
    jsonrpc: '2.0',
    id: null,
    error: { code: -32022, message: 'Unsupported', data: { supported: ['2025-11-25'] } },
  };
  const gateway = await startScriptedGateway(() => json(body, { status: 400 }));
  t.after(gateway.close);
  const host = startRawHost({ SENTINEL_URL: gateway.url });
  t.after(() => host.child.kill('SIGKILL'));
  host.send({ jsonrpc: '2.0', id: 'd', method: 'server/discover', params: { _meta: statelessMeta() } });
  assert.deepEqual((await host.answer('d')).error, body.error);
});

test(
  'a stream that breaks after some progress is asked for again, and no step is told twice',
  { timeout },
  async (t) => {
    let tries = 0;
    const gateway = await startScriptedGateway(async (request) => {
      const id = await idOf(request);
      tries += 1;
      const steps = tries === 1 ? [1, 2] : [1, 2, 3];
      const frames: unknown[] = steps.map((progress) => ({
        method: 'notifications/progress',
        params: { progressToken: 'p', progress },
      }));
      if (tries > 1) frames.push({ id, result: { tries } });
      const text = frames
        .map((frame) => `data: ${JSON.stringify({ jsonrpc: '2.0', ...(frame as object) })}\n\n`)
        .join('');
      return new Response(text, { headers: { 'content-type': 'text/event-stream' } });
    });
    t.after(gateway.close);
    const host = startRawHost({ SENTINEL_URL: gateway.url });
    t.after(() => host.child.kill('SIGKILL'));
    host.send(call(1, 'count', {}, statelessMeta({ progressToken: 'p' })));
    assert.deepEqual((await host.answer(1)).result, { tries: 2 });
    const steps = host.output().matchAll(/"progress":(\d)/g);
    assert.deepEqual(
      [...steps].map(([, step]) => step),
      ['1', '2', '3'],
    );
    const [last, result] = ['"progress":3', '"tries":2'].map((text) => host.output().indexOf(text));
    assert.ok((last ?? 0) < (result ?? 0), 'what came with the answer is told before it');
    assert.equal(new Set(gateway.seen.map(keyOf)).size, 1);
  },
);

test(
  'a gateway that forgot its sessions in a restart gets a new one, and the host never notices',
  { timeout },
  async (t) => {
    const first = await startSessionGateway();
    const host = startRawHost({ SENTINEL_URL: first.url });
    t.after(() => host.child.kill('SIGKILL'));
    host.send(initialize(1));
    host.send(initialized);
    host.send(call(2, 'echo', { n: 1 }));
    await host.answer(2);
    await first.close();

    const second = await startSessionGateway({ port: first.port });
    t.after(second.close);
    for (let id = 3; id < 8; id += 1) host.send(call(id, 'echo', { n: id }));
    for (let id = 3; id < 8; id += 1) {
      assert.deepEqual((await host.answer(id)).result?.['content'], [{ type: 'text', text: `{"n":${id}}` }]);
    }
    assert.equal(
      second.seen.filter(({ method }) => method === 'initialize').length,
      1,
      'one new session for all of them',
    );
    assert.equal(
      host.output().match(/serverInfo/g)?.length,
      1,
      'the second handshake stays between us and the gateway',
    );
  },
);

test('a gateway that stays away is reported in clear words, once the time is up', { timeout }, async (t) => {
  const port = await freePort();
  const host = startRawHost({
    SENTINEL_URL: `http://127.0.0.1:${port}/mcp?agents=a`,
    SENTINEL_RETRY_SECONDS: '2.5',
  });
  t.after(() => host.child.kill('SIGKILL'));
  host.send(call(1, 'echo'));
  const { error } = await host.answer(1);
  assert.match(
    error?.message ?? '',
    new RegExp(
      `http://127.0.0.1:${port}/mcp cannot be reached: the connection was refused .*tried for [12] s.*doctor`,
    ),
  );
  assert.deepEqual(error?.data, { code: 'UNAVAILABLE', retryable: true });
  await host.end();
  assert.match(host.stderr(), /cannot be reached/);
});

test('a call cancelled while the gateway is away is never sent', { timeout }, async (t) => {
  const port = await freePort();
  const host = startRawHost({ SENTINEL_URL: `http://127.0.0.1:${port}/mcp` });
  t.after(() => host.child.kill('SIGKILL'));
  host.send(call(1, 'echo', {}, statelessMeta()));
  host.send({
    jsonrpc: '2.0',
    method: 'notifications/cancelled',
    params: { requestId: 1, _meta: statelessMeta() },
  });
  host.send('not json');
  await host.answer(null);
  const gateway = await startStatelessGateway({ port });
  t.after(gateway.close);
  host.send(call(2, 'echo', {}, statelessMeta()));
  await host.answer(2);
  assert.deepEqual(
    gateway.seen.map(({ text }) => (JSON.parse(text) as { id: number }).id),
    [2],
  );
});
