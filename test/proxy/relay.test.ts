import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { startScriptedGateway, startSessionGateway, startStatelessGateway } from './gateways.ts';
import {
  KEY,
  type RawMessage,
  call,
  initialize,
  initialized,
  startRawHost,
  statelessMeta,
} from './raw-host.ts';

const timeout = 30_000;
const json = (body: unknown, init?: ResponseInit): Response => Response.json(body, init);
const idOf = async (request: Request): Promise<unknown> => ((await request.json()) as { id: unknown }).id;

test(
  'numbers a JSON parser would round reach the gateway and come back digit for digit',
  { timeout },
  async (t) => {
    const gateway = await startScriptedGateway(
      () =>
        new Response('{"jsonrpc":"2.0","id":12345678901234567890,\n "result":{"big":98765432109876543210}}', {
          headers: { 'content-type': 'application/json' },
        }),
    );
    t.after(gateway.close);
    const host = startRawHost({ SENTINEL_URL: gateway.url });
    t.after(() => host.child.kill('SIGKILL'));
    host.send(
      '{"jsonrpc":"2.0","id":12345678901234567890,"method":"tools/call","params":{"name":"echo","arguments":{"n":12345678901234567891}}}',
    );
    await host.next(({ result }) => result !== undefined);
    assert.match(gateway.seen[0]?.text ?? '', /"n":12345678901234567891/);
    assert.match(host.output(), /98765432109876543210/);
    assert.equal(host.output().trim().split('\n').length, 1, 'one message is one line');
  },
);

test(
  'what is not JSON-RPC is answered as the standard says, and the next message is served',
  { timeout },
  async (t) => {
    const gateway = await startStatelessGateway();
    t.after(gateway.close);
    const host = startRawHost({ SENTINEL_URL: gateway.url });
    t.after(() => host.child.kill('SIGKILL'));
    const errors: [string, number][] = [
      ['{"jsonrpc":"2.0","id":1,', -32700],
      ['hello', -32700],
      ['[]', -32600],
      ['42', -32600],
      ['{"id":1,"method":"ping"}', -32600],
      ['{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600],
      ['{"jsonrpc":"2.0","id":1}', -32600],
    ];
    for (const [line, code] of errors) {
      host.send(line);
      assert.equal((await host.answer(null)).error?.code, code, line);
    }
    host.send('');
    host.send(initialize(7));
    assert.equal((await host.answer(7)).error, undefined);
    assert.equal(gateway.seen.length, 1, 'nothing malformed was forwarded');
  },
);

test('an id that is still in use is refused without touching the first request', { timeout }, async (t) => {
  const release = Promise.withResolvers<void>();
  const gateway = await startScriptedGateway(async (request) => {
    await release.promise;
    return json({ jsonrpc: '2.0', id: await idOf(request), result: { first: true } });
  });
  t.after(gateway.close);
  const host = startRawHost({ SENTINEL_URL: gateway.url });
  t.after(() => host.child.kill('SIGKILL'));
  host.send(call(1, 'echo'));
  host.send(call(1, 'echo'));
  assert.match((await host.answer(null)).error?.message ?? '', /still in use/);
  release.resolve();
  assert.deepEqual((await host.answer(1)).result, { first: true });
});

test('two hundred calls side by side each get their own answer', { timeout }, async (t) => {
  const gateway = await startStatelessGateway();
  t.after(gateway.close);
  const host = startRawHost({ SENTINEL_URL: gateway.url });
  t.after(() => host.child.kill('SIGKILL'));
  for (let id = 0; id < 200; id += 1) host.send(call(id, 'echo', { secret: `s${id}` }, statelessMeta()));
  for (let id = 0; id < 200; id += 1) {
    const { result } = await host.answer(id);
    assert.deepEqual(result?.['content'], [{ type: 'text', text: `{"secret":"s${id}"}` }]);
  }
  const keys = new Set(gateway.seen.map(({ text }) => /idempotency-key":"([^"]+)"/.exec(text)?.[1]));
  assert.equal(keys.size, 200, 'every call has a key of its own');
});

test(
  'a call carries one long idempotency key, and one the host chose is left alone',
  { timeout },
  async (t) => {
    const gateway = await startStatelessGateway();
    t.after(gateway.close);
    const host = startRawHost({ SENTINEL_URL: gateway.url });
    t.after(() => host.child.kill('SIGKILL'));
    const meta = (text: string | undefined): Record<string, unknown> =>
      (JSON.parse(text ?? '{}') as { params: { _meta: Record<string, unknown> } }).params._meta;

    host.send(call(1, 'echo', {}, statelessMeta({ progressToken: 'p' })));
    await host.answer(1);
    assert.match(String(meta(gateway.seen[0]?.text)['xyz.sentinel/idempotency-key']), /^[0-9a-f]{32,}$/);
    assert.equal(meta(gateway.seen[0]?.text)['progressToken'], 'p', 'the rest of _meta stays');

    host.send(call(2, 'echo', {}, statelessMeta({ 'xyz.sentinel/idempotency-key': 'chosen-by-the-host' })));
    await host.answer(2);
    assert.equal(meta(gateway.seen[1]?.text)['xyz.sentinel/idempotency-key'], 'chosen-by-the-host');
  },
);

test(
  'a session id and the agreed version go with every request after initialize, and the session is ended',
  { timeout },
  async (t) => {
    const gateway = await startSessionGateway();
    t.after(gateway.close);
    const host = startRawHost({ SENTINEL_URL: gateway.url });
    t.after(() => host.child.kill('SIGKILL'));
    host.send(initialize(1));
    // A host that does not wait is still served in order.
    host.send(initialized);
    host.send({ jsonrpc: '2.0', id: 2, method: 'tools/list' });
    await host.answer(1);
    assert.ok((await host.answer(2)).result);
    assert.equal(await host.end(), 0);

    const posts = gateway.seen.filter(({ verb }) => verb === 'POST');
    assert.deepEqual(
      posts.map(({ method }) => method),
      ['initialize', 'notifications/initialized', 'tools/list'],
    );
    assert.equal(posts[0]?.headers.get('mcp-session-id'), null);
    for (const { headers } of posts.slice(1)) {
      assert.ok(headers.get('mcp-session-id'));
      assert.equal(headers.get('mcp-protocol-version'), '2025-06-18');
    }
    assert.equal(gateway.seen.at(-1)?.verb, 'DELETE');
  },
);

test(
  'the headers of 2026-07-28 repeat the body, in base64 where a header could not carry it',
  { timeout },
  async (t) => {
    const gateway = await startScriptedGateway(async (request) =>
      json({ jsonrpc: '2.0', id: await idOf(request), result: {} }),
    );
    t.after(gateway.close);
    const host = startRawHost({ SENTINEL_URL: gateway.url });
    t.after(() => host.child.kill('SIGKILL'));
    host.send(call(1, 'echo', {}, statelessMeta()));
    host.send({
      jsonrpc: '2.0',
      id: 2,
      method: 'resources/read',
      params: { uri: 'x:\r\nx-evil: 1 ü', _meta: statelessMeta() },
    });
    await Promise.all([host.answer(1), host.answer(2)]);
    const [tool, resource] = ['tools/call', 'resources/read'].map(
      (method) => gateway.seen.find((seen) => seen.method === method)?.headers,
    );
    assert.equal(tool?.get('mcp-protocol-version'), '2026-07-28');
    assert.equal(tool?.get('mcp-method'), 'tools/call');
    assert.equal(tool?.get('mcp-name'), 'echo');
    assert.equal(
      resource?.get('mcp-name'),
      `=?base64?${Buffer.from('x:\r\nx-evil: 1 ü').toString('base64')}?=`,
    );
    assert.equal(resource?.get('x-evil'), null);
  },
);

test('a redirect is not followed, so the key goes to nobody else', { timeout }, async (t) => {
  const other = await startScriptedGateway(() => new Response('{}'));
  t.after(other.close);
  const gateway = await startScriptedGateway(
    () => new Response(null, { status: 307, headers: { location: other.url } }),
  );
  t.after(gateway.close);
  const host = startRawHost({ SENTINEL_URL: gateway.url });
  t.after(() => host.child.kill('SIGKILL'));
  host.send(initialize(1));
  assert.match((await host.answer(1)).error?.message ?? '', /redirects to .*SENTINEL_URL/);
  assert.equal(other.seen.length, 0);
});

test(
  'what only the gateway could have echoed, the key, is cut out of what the host sees',
  { timeout },
  async (t) => {
    const gateway = await startScriptedGateway(async (request) => {
      const id = await idOf(request);
      return id === 1
        ? json({ jsonrpc: '2.0', id, result: { leaked: request.headers.get('authorization') } })
        : json({ title: 'Bad', detail: `no ${KEY}` }, { status: 400 });
    });
    t.after(gateway.close);
    const host = startRawHost({ SENTINEL_URL: gateway.url });
    t.after(() => host.child.kill('SIGKILL'));
    host.send(call(1, 'echo'));
    host.send(call(2, 'echo'));
    assert.deepEqual((await host.answer(1)).result, { leaked: 'Bearer sk_…' });
    assert.match((await host.answer(2)).error?.message ?? '', /no sk_…/);
    await host.end();
    assert.ok(!host.output().includes(KEY));
  },
);

test(
  "query filters stay in the URL, and the gateway's words about a bad one reach the host",
  { timeout },
  async (t) => {
    let asked = '';
    const gateway = await startScriptedGateway((request) => {
      asked = new URL(request.url).pathname + new URL(request.url).search;
      return json(
        { code: 'INVALID_INPUT', detail: 'badge must be basic, standard or premium' },
        { status: 400 },
      );
    });
    t.after(gateway.close);
    const host = startRawHost({ SENTINEL_URL: `http://127.0.0.1:${gateway.port}?badge=gold` });
    t.after(() => host.child.kill('SIGKILL'));
    host.send(initialize(1));
    assert.match((await host.answer(1)).error?.message ?? '', /badge must be basic, standard or premium/);
    assert.equal(asked, '/mcp?badge=gold');
  },
);

test(
  'the host leaving ends what runs at the gateway, and the proxy with exit code 0',
  { timeout },
  async (t) => {
    const gateway = await startStatelessGateway();
    t.after(gateway.close);
    for (const leave of ['stdin', 'SIGTERM', 'SIGINT'] as const) {
      const gateway = await startStatelessGateway();
      t.after(gateway.close);
      const host = startRawHost({ SENTINEL_URL: gateway.url });
      t.after(() => host.child.kill('SIGKILL'));
      host.send(call(1, 'hang', {}, statelessMeta()));
      await gateway.hangStarted;
      if (leave === 'stdin') host.child.stdin?.end();
      else host.child.kill(leave);
      assert.equal(await host.exit, 0, leave);
      await gateway.hangCancelled;
      assert.equal(host.stderr(), '');
    }
  },
);

test('a host that closes its ear while the proxy speaks does not crash it', { timeout }, async (t) => {
  const gateway = await startScriptedGateway(async (request) =>
    json({ jsonrpc: '2.0', id: await idOf(request), result: {} }),
  );
  t.after(gateway.close);
  const host = startRawHost({ SENTINEL_URL: gateway.url });
  t.after(() => host.child.kill('SIGKILL'));
  host.child.stdout?.destroy();
  for (let id = 0; id < 50; id += 1) host.send(call(id, 'echo'));
  assert.equal(await host.exit, 0);
  assert.equal(host.stderr(), '');
});

test('a host that has stopped reading cannot keep the proxy from leaving', { timeout }, async (t) => {
  const gateway = await startScriptedGateway(async (request) =>
    json({ jsonrpc: '2.0', id: await idOf(request), result: { text: 'x'.repeat(4_000_000) } }),
  );
  t.after(gateway.close);
  const host = startRawHost({ SENTINEL_URL: gateway.url });
  t.after(() => host.child.kill('SIGKILL'));
  host.child.stdout?.once('data', () => {
    host.child.stdout?.pause();
    host.child.kill('SIGTERM');
  });
  host.send(call(1, 'echo'));
  const [code] = (await once(host.child, 'exit')) as [number | null];
  // What arrived of the last message is half a line, and nothing to read.
  host.child.stdout?.destroy();
  assert.equal(code, 0);
});

test(
  'a host that reads slowly slows the stream down instead of filling our memory',
  { timeout },
  async (t) => {
    let sent = 0;
    const gateway = await startScriptedGateway(async (request) => {
      const id = await idOf(request);
      const line = `data: ${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/message', params: { data: 'x'.repeat(65_536) } })}\n\n`;
      const body = new ReadableStream<Uint8Array>({
        pull: (controller) => {
          sent += 1;
          if (sent <= 2_000) return controller.enqueue(Buffer.from(line));
          controller.enqueue(Buffer.from(`data: ${JSON.stringify({ jsonrpc: '2.0', id, result: {} })}\n\n`));
          return controller.close();
        },
      });
      return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
    });
    t.after(gateway.close);
    const host = startRawHost({ SENTINEL_URL: gateway.url });
    t.after(() => host.child.kill('SIGKILL'));
    host.child.stdout?.pause();
    host.send(call(1, 'echo', {}, statelessMeta()));
    // 131 MB are to be sent and nobody reads: wait until the sender has stood still for a while.
    const progress = (): number => sent;
    let before: number;
    do {
      before = progress();
      await new Promise((resolve) => setTimeout(resolve, 300));
    } while (progress() === 0 || progress() !== before);
    assert.ok(sent < 500, `${sent} of 2,000 parts were taken`);
    host.child.stdout?.resume();
    assert.ok((await host.answer(1)).result);
  },
);

test(
  'a tool whose header declarations are invalid is not shown, and the rest of the list is',
  { timeout },
  async (t) => {
    const tool = (name: string, property: unknown): unknown => ({
      name,
      inputSchema: { type: 'object', properties: { p: property } },
    });
    const gateway = await startScriptedGateway(async (request) => {
      const { id, method } = (await request.json()) as { id: unknown; method: string };
      if (method !== 'tools/list') return json({ jsonrpc: '2.0', id, result: {} });
      return json({
        jsonrpc: '2.0',
        id,
        result: {
          tools: [
            tool('good', { type: 'string', 'x-mcp-header': 'P' }),
            tool('bad', { type: 'object', 'x-mcp-header': 'P' }),
          ],
        },
      });
    });
    t.after(gateway.close);
    const host = startRawHost({ SENTINEL_URL: gateway.url });
    t.after(() => host.child.kill('SIGKILL'));
    host.send({ jsonrpc: '2.0', id: 1, method: 'tools/list', params: { _meta: statelessMeta() } });
    const tools = (await host.answer(1)).result?.['tools'] as { name: string }[] | undefined;
    assert.deepEqual(
      tools?.map(({ name }) => name),
      ['good'],
    );
    host.send(call(2, 'good', { p: 'Hello, 世界' }, statelessMeta()));
    await host.answer(2);
    assert.equal(
      gateway.seen.at(-1)?.headers.get('mcp-param-p'),
      `=?base64?${Buffer.from('Hello, 世界').toString('base64')}?=`,
    );
  },
);

test(
  'an answer nobody waits for any more is dropped, and one is never given twice',
  { timeout },
  async (t) => {
    const gateway = await startScriptedGateway(async (request) => {
      const id = await idOf(request);
      const frames = [
        { id: 'unknown', result: {} },
        { id, result: { n: 1 } },
        { id, result: { n: 2 } },
        { method: 'notifications/message', params: {} },
      ];
      const text = frames
        .map((frame) => `data: ${JSON.stringify({ jsonrpc: '2.0', ...frame })}\n\n`)
        .join('');
      return new Response(text, { headers: { 'content-type': 'text/event-stream' } });
    });
    t.after(gateway.close);
    const host = startRawHost({ SENTINEL_URL: gateway.url });
    t.after(() => host.child.kill('SIGKILL'));
    host.send(call(1, 'echo'));
    await host.next((message: RawMessage) => message.method === 'notifications/message');
    const lines = host
      .output()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as RawMessage);
    assert.deepEqual(
      lines.map(({ result }) => result),
      [{ n: 1 }, undefined],
    );
  },
);
