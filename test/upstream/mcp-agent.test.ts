import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { UpstreamOutcome, UpstreamRequest } from '../../src/upstream/upstream.ts';
import { startSessionServer, startStatelessServer } from './mcp-servers.ts';
import type { Tool } from './mcp-servers.ts';
import {
  SSE_END,
  SSE_HEAD,
  closed,
  httpAnswer,
  jsonAnswer,
  openUpstream,
  requestTo,
  sseChunk,
  startRawAgent,
  summary,
} from './raw-agent.ts';
import type { RawRequest } from './raw-agent.ts';

const PNG = 'iVBORw0KGgo=';
const TOOLS: Record<string, Tool> = {
  echo: (args) => ({ content: [{ type: 'text', text: JSON.stringify(args) }] }),
  'naïve tool': () => ({ content: [{ type: 'text', text: 'plain words' }] }),
  structured: (args) => ({
    content: [{ type: 'text', text: 'see there' }],
    structuredContent: { got: args },
  }),
  picture: () => ({
    content: [
      { type: 'text', text: 'a picture' },
      { type: 'image', data: PNG, mimeType: 'image/png' },
    ],
  }),
  failing: () => ({ content: [{ type: 'text', text: 'no\nsuch page' }], isError: true }),
  async counting(args, { progress }) {
    for (const step of ['one', 'two', '']) await progress(step && `${String(args['who'])} ${step}`);
    return { content: [{ type: 'text', text: JSON.stringify(args) }] };
  },
};

const SERVERS = {
  'SDK 1.x with sessions and event streams': (t) => startSessionServer(t, TOOLS),
  'SDK 1.x with sessions and JSON': (t) => startSessionServer(t, TOOLS, { json: true }),
  'SDK 2.x of both eras': (t) => startStatelessServer(t, TOOLS, 'stateless'),
  'SDK 2.x of the stateless era only': (t) => startStatelessServer(t, TOOLS, 'reject'),
} satisfies Record<string, (t: TestContext) => Promise<{ url: string }>>;

for (const [name, start] of Object.entries(SERVERS)) {
  test(`${name}: results, errors and content survive the way`, async (t) => {
    const { url } = await start(t);
    const upstream = openUpstream(t);
    const call = (tool: string, rest: Partial<UpstreamRequest> = {}) =>
      upstream.invoke(requestTo({ protocol: 'mcp', url, tool }, { input: { n: 1 }, ...rest }));

    const echoed = [{ type: 'text', text: '{"n":1}' }];
    assert.deepEqual(await call('echo', { isOutputPromised: true }), {
      kind: 'answer',
      output: { n: 1 },
      content: echoed,
    });
    assert.deepEqual(await call('echo'), {
      kind: 'answer',
      output: { content: echoed },
      content: echoed,
      isUnstructured: true,
    });
    const words = [{ type: 'text', text: 'plain words' }];
    assert.deepEqual(await call('naïve tool'), {
      kind: 'answer',
      output: { content: words },
      content: words,
      isUnstructured: true,
    });
    assert.deepEqual(await call('naïve tool', { isOutputPromised: true }), {
      kind: 'answer',
      output: { content: words },
      content: words,
    });
    assert.deepEqual(await call('structured'), {
      kind: 'answer',
      output: { got: { n: 1 } },
      content: [{ type: 'text', text: 'see there' }],
    });
    const picture = [
      { type: 'text', text: 'a picture' },
      { type: 'image', data: PNG, mimeType: 'image/png' },
    ];
    assert.deepEqual(await call('picture'), {
      kind: 'answer',
      output: { content: picture },
      content: picture,
      isUnstructured: true,
    });
    assert.deepEqual(await call('failing'), {
      kind: 'agent_error',
      detail: 'no such page',
      content: [{ type: 'text', text: 'no\nsuch page' }],
    });
    assert.equal((await call('missing')).kind, 'agent_error');
  });

  test(`${name}: many calls at once keep their answers and their progress apart`, async (t) => {
    const { url } = await start(t);
    const upstream = openUpstream(t);
    const callers = Array.from({ length: 50 }, (_, index) => `caller ${index}`);
    await Promise.all(
      callers.map(async (who) => {
        const chunks: string[] = [];
        const outcome = await upstream.invoke(
          requestTo(
            { protocol: 'mcp', url, tool: 'counting' },
            { input: { who }, isOutputPromised: true, onChunk: (chunk) => void chunks.push(chunk) },
          ),
        );
        assert.deepEqual(outcome.kind === 'answer' && outcome.output, { who });
        // A JSON answer has no room for progress.
        if (!name.endsWith('JSON')) assert.deepEqual(chunks, [`${who} one`, `${who} two`, '3/10']);
      }),
    );
  });
}

test('all calls to a server share one session', async (t) => {
  const server = await startSessionServer(t, TOOLS);
  const upstream = openUpstream(t);
  const request = () => requestTo({ protocol: 'mcp', url: server.url, tool: 'echo' });
  await Promise.all(Array.from({ length: 10 }, () => upstream.invoke(request())));
  await upstream.invoke(request());
  assert.equal(server.handshakes(), 1);
});

test('a lost session is opened again once, and the call is made exactly once', async (t) => {
  for (const lostSession of [404, 400]) {
    let runs = 0;
    const tools = { run: () => ({ content: [{ type: 'text' as const, text: `run ${++runs}` }] }) };
    const server = await startSessionServer(t, tools, { lostSession });
    const upstream = openUpstream(t);
    const request = () => requestTo({ protocol: 'mcp', url: server.url, tool: 'run' });
    await upstream.invoke(request());
    server.forgetSessions();
    const outcomes = await Promise.all([upstream.invoke(request()), upstream.invoke(request())]);
    assert.deepEqual(
      outcomes.map(({ kind }) => kind),
      ['answer', 'answer'],
    );
    assert.equal(runs, 3);
    assert.ok(server.handshakes() <= 3);
  }
});

test('a cancelled call reaches the tool as a cancellation, in both eras', async (t) => {
  for (const era of ['session', 'stateless'] as const) {
    const started = Promise.withResolvers<void>();
    const stopped = Promise.withResolvers<void>();
    const tools: Record<string, Tool> = {
      slow: async (_args, { signal, progress }) => {
        signal.addEventListener('abort', () => stopped.resolve());
        await progress('under way');
        started.resolve();
        await stopped.promise;
        return { content: [] };
      },
    };
    const { url } =
      era === 'session' ? await startSessionServer(t, tools) : await startStatelessServer(t, tools, 'reject');
    const controller = new AbortController();
    const outcome = openUpstream(t).invoke(
      requestTo({ protocol: 'mcp', url, tool: 'slow' }, { signal: controller.signal, onChunk: () => {} }),
    );
    await started.promise;
    controller.abort();
    assert.deepEqual(await outcome, { kind: 'cancelled' });
    await stopped.promise;
  }
});

test('a stateless server is told version, method and tool in every request', async (t) => {
  const { url, requests } = await startStatelessServer(t, TOOLS, 'reject');
  await openUpstream(t).invoke(requestTo({ protocol: 'mcp', url, tool: 'naïve tool' }));
  const { headers } = requests.at(-1)!;
  assert.equal(headers.get('mcp-protocol-version'), '2026-07-28');
  assert.equal(headers.get('mcp-method'), 'tools/call');
  assert.equal(headers.get('mcp-name'), '=?base64?bmHDr3ZlIHRvb2w=?=');
});

type Message = { id?: number | string; method?: string; params?: Record<string, unknown> };
/** How a server that is wrong somewhere answers `tools/call`; everything before it goes well. */
type Answers = (id: number | string, request: RawRequest, message: Message) => void;

async function callRawServer(t: TestContext, answers: Answers, rest: Parameters<typeof requestTo>[1] = {}) {
  const agent = await startRawAgent(t, (request) => {
    const message = JSON.parse(request.body) as Message;
    if (message.method === 'initialize') {
      const result = {
        protocolVersion: '2025-06-18',
        capabilities: {},
        serverInfo: { name: 'raw', version: '1' },
      };
      request.socket.write(
        jsonAnswer({ jsonrpc: '2.0', id: message.id, result }, { 'mcp-session-id': 'session-1' }),
      );
    } else if (message.method === 'tools/call') answers(message.id!, request, message);
    else request.socket.write(httpAnswer(202, {}, ''));
  });
  const outcome = await openUpstream(t).invoke(
    requestTo({ protocol: 'mcp', url: agent.url, tool: 'x' }, { maxBytes: 50_000, ...rest }),
  );
  return { agent, outcome };
}

const textResult = (text: string) => ({ content: [{ type: 'text', text }] });
const rpc = (id: unknown, result: unknown) => ({ jsonrpc: '2.0', id, result });
const frame = (value: unknown) => sseChunk(`event: message\ndata: ${JSON.stringify(value)}\n\n`);
const streamed = (...values: unknown[]) =>
  Buffer.concat([Buffer.from(SSE_HEAD), ...values.map(frame), Buffer.from(SSE_END)]);
const result =
  (value: unknown): Answers =>
  (id, { socket }) =>
    void socket.write(jsonAnswer(rpc(id, value)));
const yes = {
  kind: 'answer',
  output: { content: [{ type: 'text', text: 'yes' }] },
  content: [{ type: 'text', text: 'yes' }],
  isUnstructured: true,
};

const MCP_BEHAVIOURS: [does: string, answers: Answers, ends: object | string][] = [
  ['answers with our id', result(textResult('yes')), yes],
  [
    'answers another id',
    (_id, { socket }) => void socket.write(jsonAnswer(rpc(99, textResult('no')))),
    'output_invalid: the answer does not belong to the request',
  ],
  [
    'answers our id as text',
    (id, { socket }) => void socket.write(jsonAnswer(rpc(String(id), textResult('no')))),
    'output_invalid: the answer does not belong to the request',
  ],
  [
    'streams foreign ids, then ours',
    (id, { socket }) => void socket.write(streamed(rpc(99, textResult('no')), rpc(id, textResult('yes')))),
    yes,
  ],
  [
    'answers twice',
    (id, { socket }) => void socket.write(streamed(rpc(id, textResult('yes')), rpc(id, textResult('no')))),
    yes,
  ],
  [
    'answers in a batch',
    (id, { socket }) => void socket.write(jsonAnswer([rpc(99, {}), rpc(id, textResult('yes'))])),
    yes,
  ],
  [
    'opens its stream with an empty event',
    (id, { socket }) =>
      void socket.write(
        Buffer.concat([
          Buffer.from(SSE_HEAD),
          sseChunk('id: 1\ndata:\n\n'),
          frame(rpc(id, textResult('yes'))),
          Buffer.from(SSE_END),
        ]),
      ),
    yes,
  ],
  [
    'keeps its stream open after the answer',
    (id, { socket }) =>
      void socket.write(Buffer.concat([Buffer.from(SSE_HEAD), frame(rpc(id, textResult('yes')))])),
    yes,
  ],
  [
    'ends its stream without an answer',
    (_id, { socket }) => void socket.write(streamed()),
    'unreachable: the stream ended before its answer',
  ],
  [
    'breaks its stream off',
    (_id, { socket }) => void socket.end(SSE_HEAD),
    'unreachable: the connection was lost before the answer was whole',
  ],
  [
    'resets',
    (_id, { socket }) => void socket.resetAndDestroy(),
    'unreachable: the connection was lost before the answer was whole',
  ],
  [
    'accepts and never answers',
    (_id, { socket }) => void socket.write(httpAnswer(202, {}, '')),
    'output_invalid: the answer does not belong to the request',
  ],
  ['hangs', () => {}, 'timeout'],
  [
    'streams what is not JSON',
    (_id, { socket }) =>
      void socket.write(Buffer.concat([Buffer.from(SSE_HEAD), sseChunk('data: {"jso\n\n')])),
    'output_invalid: the answer is not JSON',
  ],
  [
    'answers HTML',
    (_id, { socket }) => void socket.write(httpAnswer(200, {}, '<html>')),
    'output_invalid: the answer is not JSON',
  ],
  [
    'answers too much',
    result(textResult('x'.repeat(60_000))),
    'output_invalid: the answer is larger than 50000 bytes',
  ],
  [
    'redirects',
    (_id, { socket }) => void socket.write(httpAnswer(307, { location: 'http://169.254.169.254/' }, '')),
    'agent_error: it answered with a redirect (307), and none is followed',
  ],
  [
    'says 500',
    (_id, { socket }) => void socket.write(httpAnswer(500, {}, 'oops')),
    'agent_error: it answered 500',
  ],
  [
    'says error in a 200',
    (id, { socket }) =>
      void socket.write(
        jsonAnswer({ jsonrpc: '2.0', id, error: { code: -32602, message: 'bad\targuments' } }),
      ),
    'agent_error: bad arguments',
  ],
  [
    'says error in a 400',
    (id, { socket }) =>
      void socket.write(
        httpAnswer(400, {}, JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32602, message: 'no' } })),
      ),
    'agent_error: no',
  ],
  [
    'loses every session',
    (_id, { socket }) => void socket.write(httpAnswer(404, {}, '')),
    'agent_error: it answered 404',
  ],
  [
    'asks for more input',
    result({ resultType: 'input_required', inputRequests: {} }),
    'agent_error: it asks for more input in the middle of a call, which is not offered here',
  ],
  [
    'answers a result of the future',
    result({ resultType: 'task', content: [] }),
    'output_invalid: the result is of an unknown type',
  ],
  ['answers nothing', result({ content: [] }), 'output_invalid: the answer is empty'],
  ['answers no content', result({}), 'output_invalid: the answer is empty'],
  [
    'answers neither result nor error',
    (id, { socket }) => void socket.write(jsonAnswer({ jsonrpc: '2.0', id })),
    'output_invalid: the answer has neither a result nor an error',
  ],
  [
    'answers content that is no list',
    result({ content: 'text' }),
    'output_invalid: the content is not a list of content blocks',
  ],
  [
    'answers a block without a type',
    result({ content: [{ text: 'x' }] }),
    'output_invalid: the content is not a list of content blocks',
  ],
  [
    'answers structured content alone',
    result({ structuredContent: { a: 1 } }),
    { kind: 'answer', output: { a: 1 }, content: [] },
  ],
  [
    'reports usage',
    result({ structuredContent: { a: 1 }, _meta: { 'xyz.sentinel/usage': { quantity: 3 } } }),
    { kind: 'answer', output: { a: 1 }, content: [], usage: { quantity: '3' } },
  ],
  [
    'reports usage with its unit',
    result({
      structuredContent: { a: 1 },
      _meta: { 'xyz.sentinel/usage': { quantity: 3, unit: 'page' } },
    }),
    { kind: 'answer', output: { a: 1 }, content: [], usage: { quantity: '3', unit: 'page' } },
  ],
  [
    'reports a usage that is none',
    result({ structuredContent: { a: 1 }, _meta: { 'xyz.sentinel/usage': { quantity: -3 } } }),
    'output_invalid: the usage is not a non-negative decimal of at most six places, or its unit no text',
  ],
  ['says error without words', result({ content: [], isError: true }), 'agent_error: it reported an error'],
];

for (const [does, answers, ends] of MCP_BEHAVIOURS) {
  test(`an MCP server that ${does}`, async (t) => {
    const { outcome } = await callRawServer(t, answers, { timeoutMs: ends === 'timeout' ? 100 : 5_000 });
    if (typeof ends === 'string') assert.equal(summary(outcome), ends);
    else assert.deepEqual(outcome, ends);
  });
}

test('only progress for our own token becomes a chunk', async (t) => {
  const chunks: string[] = [];
  const progress = (progressToken: unknown, rest: object) => ({
    jsonrpc: '2.0',
    method: 'notifications/progress',
    params: { progressToken, ...rest },
  });
  await callRawServer(
    t,
    (id, { socket }, { params }) => {
      const { progressToken: token } = params!['_meta'] as { progressToken: unknown };
      socket.write(
        streamed(
          progress(token, { progress: 1, message: 'one' }),
          progress('of another', { progress: 2, message: 'no' }),
          { jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'no' } },
          progress(token, { progress: 50, total: 100 }),
          progress(token, { progress: 0.5 }),
          progress(token, { progress: 'much' }),
          rpc(id, textResult('yes')),
          progress(token, { progress: 9, message: 'too late' }),
        ),
      );
    },
    { onChunk: (chunk) => void chunks.push(chunk) },
  );
  assert.deepEqual(chunks, ['one', '50/100', '0.5']);
});

test('what a metered tool says with its progress that it has used is heard, and nothing else is', async (t) => {
  const heard: unknown[] = [];
  const using = (usage: unknown) => ({ 'xyz.sentinel/usage': usage });
  await callRawServer(
    t,
    (id, { socket }, { params }) => {
      const { progressToken } = params!['_meta'] as { progressToken: unknown };
      const frame = (token: unknown, usage: unknown) => ({
        jsonrpc: '2.0',
        method: 'notifications/progress',
        params: { progressToken: token, progress: 1, message: 'a page', _meta: using(usage) },
      });
      socket.write(
        streamed(
          frame(progressToken, { quantity: 1, unit: 'page' }),
          frame('of another', { quantity: 7 }),
          frame(progressToken, { quantity: -1 }),
          frame(progressToken, { quantity: '2.5' }),
          rpc(id, textResult('yes')),
        ),
      );
    },
    { onChunk: () => {}, onUsage: (usage) => void heard.push(usage) },
  );
  assert.deepEqual(heard, [{ quantity: '1', unit: 'page' }, { quantity: '2.5' }]);
});

test('progress that comes together with the answer, but after it, is not heard', async (t) => {
  const chunks: string[] = [];
  const { outcome } = await callRawServer(
    t,
    (id, { socket }) => {
      const params = { progressToken: id, progress: 1, message: 'late' };
      const late = { jsonrpc: '2.0', method: 'notifications/progress', params };
      const frames = [rpc(id, textResult('yes')), late].map((value) => `data: ${JSON.stringify(value)}\n\n`);
      socket.write(Buffer.concat([Buffer.from(SSE_HEAD), sseChunk(frames.join('')), Buffer.from(SSE_END)]));
    },
    { onChunk: (chunk) => void chunks.push(chunk) },
  );
  assert.deepEqual(outcome, yes);
  assert.deepEqual(chunks, []);
});

test('without a listener no progress is asked for', async (t) => {
  await callRawServer(t, (id, { socket }, { params }) => {
    assert.equal(params?.['_meta'], undefined);
    socket.write(jsonAnswer(rpc(id, textResult('yes'))));
  });
});

test('what a server asks of us is declined politely, and a ping is answered', async (t) => {
  const asked = ['sampling/createMessage', 'elicitation/create', 'roots/list', 'ping'];
  const replies = new Map<unknown, unknown>();
  const answered = Promise.withResolvers<void>();
  const agent = await startRawAgent(t, ({ socket, body, head }) => {
    const message = JSON.parse(body) as Message & { error?: { code: number }; result?: object };
    if (message.method === 'initialize') {
      socket.write(
        jsonAnswer(rpc('initialize', { protocolVersion: '2025-11-25' }), { 'mcp-session-id': 's' }),
      );
    } else if (message.method === 'tools/call') {
      socket.write(
        Buffer.concat([
          Buffer.from(SSE_HEAD),
          ...asked.map((method) => frame({ jsonrpc: '2.0', id: method, method })),
        ]),
      );
      void answered.promise.then(() =>
        socket.write(Buffer.concat([frame(rpc(message.id, textResult('yes'))), Buffer.from(SSE_END)])),
      );
    } else {
      socket.write(httpAnswer(202, {}, ''));
      if (message.method) return;
      assert.match(head, /mcp-session-id: s\r\n|mcp-session-id: s$/);
      replies.set(message.id, message.error?.code ?? message.result);
      if (replies.size === asked.length) answered.resolve();
    }
  });
  const outcome = await openUpstream(t).invoke(requestTo({ protocol: 'mcp', url: agent.url, tool: 'x' }));
  assert.deepEqual(outcome, yes);
  assert.deepEqual(Object.fromEntries(replies), {
    'sampling/createMessage': -32601,
    'elicitation/create': -32601,
    'roots/list': -32601,
    ping: {},
  });
});

test('a call that times out is cancelled at the server and its socket closes', async (t) => {
  const cancelled = Promise.withResolvers<Message>();
  const agent = await startRawAgent(t, ({ socket, body }) => {
    const message = JSON.parse(body) as Message;
    const result = message.method === 'initialize' ? { protocolVersion: '2025-11-25' } : textResult('yes');
    if (message.method === 'notifications/cancelled') cancelled.resolve(message);
    if (body.includes('hang')) socket.write(SSE_HEAD);
    else socket.write(jsonAnswer(rpc(message.id, result)));
  });
  const upstream = openUpstream(t);
  const endpoint = { protocol: 'mcp' as const, url: agent.url, tool: 'x' };
  // The first call opens the session, so that the short deadline of the second is spent on the tool.
  assert.deepEqual(await upstream.invoke(requestTo(endpoint)), yes);
  const outcome = await upstream.invoke(requestTo(endpoint, { input: { do: 'hang' }, timeoutMs: 300 }));
  assert.deepEqual(outcome, { kind: 'timeout' });
  const call = agent.requests.find(({ body }) => body.includes('hang'))!;
  await closed(call.socket);
  assert.equal((await cancelled.promise).params?.['requestId'], (JSON.parse(call.body) as Message).id);
});

test('a caller who leaves during the handshake does not end it for the others', async (t) => {
  const begun = Promise.withResolvers<() => void>();
  const agent = await startRawAgent(t, ({ socket, body }) => {
    const { id, method } = JSON.parse(body) as Message;
    const say = () =>
      socket.write(
        jsonAnswer(rpc(id, method === 'initialize' ? { protocolVersion: '2025-11-25' } : textResult('yes'))),
      );
    if (method === 'initialize') begun.resolve(say);
    else say();
  });
  const upstream = openUpstream(t);
  const endpoint = { protocol: 'mcp' as const, url: agent.url, tool: 'x' };
  const leaving = new AbortController();
  const first = upstream.invoke(requestTo(endpoint, { signal: leaving.signal }));
  const second = upstream.invoke(requestTo(endpoint));
  const finishHandshake = await begun.promise;
  leaving.abort();
  assert.deepEqual(await first, { kind: 'cancelled' });
  finishHandshake();
  assert.deepEqual(await second, yes);
  const sent = agent.requests.map(({ body }) => (JSON.parse(body) as Message).method);
  assert.deepEqual(sent, ['initialize', 'notifications/initialized', 'tools/call']);
});

const HANDSHAKES: [does: string, answer: (message: Message) => Buffer, ends: UpstreamOutcome | string][] = [
  ['wants a key', () => httpAnswer(401, {}, ''), 'agent_error: it answered 401'],
  ['is not there', () => httpAnswer(404, {}, '<html>'), 'agent_error: it answered 404'],
  [
    'redirects',
    () => httpAnswer(302, { location: 'http://169.254.169.254/' }, ''),
    'agent_error: it answered with a redirect (302), and none is followed',
  ],
  [
    'answers nothing',
    () => httpAnswer(200, {}, ''),
    'unreachable: the MCP server ended its handshake without an answer',
  ],
  ['answers HTML', () => httpAnswer(200, {}, '<html>'), 'output_invalid: the answer is not JSON'],
  [
    'speaks a version of the future',
    ({ id }) => jsonAnswer(rpc(id, { protocolVersion: '2031-01-01\r\nx: y' })),
    'output_invalid: the MCP server speaks no protocol version that the gateway knows',
  ],
  [
    'gives a session id that is no header',
    ({ id }) => jsonAnswer(rpc(id, { protocolVersion: '2025-11-25' }), { 'mcp-session-id': 'a b' }),
    'output_invalid: the MCP server gave a session id that is not visible ASCII',
  ],
  [
    'supports only what is to come',
    ({ id, method }) =>
      method === 'initialize'
        ? httpAnswer(400, {}, JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32022, message: 'x' } }))
        : jsonAnswer(rpc(id, { supportedVersions: ['2031-01-01'] })),
    'output_invalid: the MCP server speaks no protocol version that the gateway knows',
  ],
];

for (const [does, answer, ends] of HANDSHAKES) {
  test(`an MCP server that ${does} when greeted never gets the call`, async (t) => {
    const agent = await startRawAgent(
      t,
      ({ socket, body }) => void socket.write(answer(JSON.parse(body) as Message)),
    );
    const outcome = await openUpstream(t).invoke(requestTo({ protocol: 'mcp', url: agent.url, tool: 'x' }));
    assert.equal(summary(outcome), ends);
    assert.ok(agent.requests.every(({ body }) => !body.includes('tools/call')));
  });
}
