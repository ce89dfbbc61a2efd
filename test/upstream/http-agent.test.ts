import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { UpstreamOutcome } from '../../src/upstream/upstream.ts';
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

type Says = string | Buffer | ((request: RawRequest) => void);
const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
const stream = (...frames: string[]) => Buffer.concat([Buffer.from(SSE_HEAD), ...frames.map(sseChunk)]);
const whole = (...frames: string[]) => Buffer.concat([stream(...frames), Buffer.from(SSE_END)]);
const json = { 'content-type': 'application/json' };
const unreachable = 'unreachable: the connection was lost before the answer was whole';
const notJson = 'output_invalid: the answer is not JSON';
const badUsage =
  'output_invalid: the usage is not a non-negative decimal of at most six places, or its unit no text';

const NO_DECIMALS = [
  '',
  ' ',
  '+5',
  '05',
  '5.',
  '.5',
  '1e3',
  '1E3',
  '0x10',
  '1,5',
  '1 000',
  '1_000',
  '5 pages',
  '"5"',
  'NaN',
  'Infinity',
  '-0',
  '1.0000000',
  '1234567890123',
  '9'.repeat(5_000),
  '٥',
  '5\u00a0',
];

/** What an agent does, and how the call ends: the outcome itself, or its kind and words. */
type Behaviour = [does: string, says: Says, ends: UpstreamOutcome | string];

const BEHAVIOURS: Behaviour[] = [
  ['answers JSON', jsonAnswer({ a: 1 }), { kind: 'answer', output: { a: 1 } }],
  ['answers 201', httpAnswer(201, json, '"made"'), { kind: 'answer', output: 'made' }],
  ['answers JSON and calls it text', httpAnswer(200, {}, '[1]'), { kind: 'answer', output: [1] }],
  [
    'answers with members that look like a prototype',
    httpAnswer(200, json, '{"__proto__":{"x":1}}'),
    'answer',
  ],
  [
    'sends interim answers first',
    Buffer.concat([
      Buffer.from('HTTP/1.1 103 Hint\r\ncontent-type: text/event-stream\r\n\r\n'),
      jsonAnswer(7),
    ]),
    { kind: 'answer', output: 7 },
  ],
  [
    'answers twice',
    Buffer.concat([jsonAnswer('first'), jsonAnswer('second')]),
    { kind: 'answer', output: 'first' },
  ],
  ['answers with nothing', httpAnswer(200, json, ''), 'output_invalid: the answer is empty'],
  ['answers 204', 'HTTP/1.1 204 X\r\n\r\n', 'output_invalid: it answered 204 instead of 200'],
  ['answers 202', httpAnswer(202, json, '{}'), 'output_invalid: it answered 202 instead of 200'],
  [
    'sends its content type twice',
    jsonAnswer(1, { 'Content-Type': 'application/json' }),
    { kind: 'answer', output: 1 },
  ],
  ['answers HTML', httpAnswer(200, { 'content-type': 'text/html' }, '<html></html>'), notJson],
  ['answers broken JSON', httpAnswer(200, json, '{"a":'), notJson],
  [
    'answers in UTF-16',
    httpAnswer(200, json, Buffer.from([0xff, 0xfe, 0x7b, 0])),
    'output_invalid: the answer is not UTF-8',
  ],
  [
    'nests 20,000 deep',
    httpAnswer(200, json, deep),
    'output_invalid: the answer is nested deeper than 200 levels',
  ],
  [
    'announces too much and then hangs',
    'HTTP/1.1 200 OK\r\ncontent-length: 50001\r\n\r\n',
    'output_invalid: the answer is larger than 50000 bytes',
  ],
  [
    'sends too much without announcing it',
    Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\n\r\n'), Buffer.alloc(60_000, 32)]),
    'output_invalid: the answer is larger than 50000 bytes',
  ],
  [
    'sends a gzip bomb',
    httpAnswer(200, { ...json, 'content-encoding': 'gzip' }, gzipSync(Buffer.alloc(5_000_000, 32))),
    'output_invalid: the answer is compressed, and none was asked for',
  ],
  [
    'redirects to the metadata service',
    httpAnswer(302, { location: 'http://169.254.169.254/latest/meta-data/' }, ''),
    'agent_error: it answered with a redirect (302), and none is followed',
  ],
  [
    'says 500 with HTML',
    httpAnswer(500, {}, '<h1>stack trace at /srv/app.py</h1>'),
    'agent_error: it answered 500',
  ],
  [
    'says 422 with a problem',
    httpAnswer(422, json, '{"title":"x","detail":"no text layer"}'),
    'agent_error: it answered 422: no text layer',
  ],
  [
    'says 400 with a nested error',
    httpAnswer(400, json, '{"error":{"message":"bad page"}}'),
    'agent_error: it answered 400: bad page',
  ],
  [
    'says an error with control and direction marks',
    httpAnswer(400, json, JSON.stringify({ error: 'a\r\nb\u001b[31m\u202ec\u0000d' })),
    'agent_error: it answered 400: a b [31m c d',
  ],
  [
    'says an endless error',
    `HTTP/1.1 500 X\r\n\r\n{"message":"${'y'.repeat(40_000)}`,
    'agent_error: it answered 500',
  ],
  [
    'says a huge error',
    httpAnswer(500, json, `{"message":"${'y'.repeat(40_000)}"}`),
    'agent_error: it answered 500',
  ],
  [
    'says a long error',
    httpAnswer(500, json, `{"message":"${'z'.repeat(900)}"}`),
    `agent_error: it answered 500: ${'z'.repeat(299)}…`,
  ],
  ['closes without a word', ({ socket }) => socket.end(), unreachable],
  ['resets', ({ socket }) => socket.resetAndDestroy(), unreachable],
  ['breaks off in the head', ({ socket }) => socket.end('HTTP/1.1 200 OK\r\ncontent-'), unreachable],
  [
    'breaks off in the body',
    ({ socket }) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"a"'),
    unreachable,
  ],
  ['does not speak HTTP', 'SSH-2.0-OpenSSH_9.6\r\n', 'output_invalid: the answer is not valid HTTP'],
  [
    'sends an endless head',
    `HTTP/1.1 200 OK\r\nx: ${'h'.repeat(200_000)}`,
    'output_invalid: the answer is not valid HTTP',
  ],
  ['switches protocols', 'HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n', unreachable],
  ['hangs', () => {}, 'timeout'],
  ['hangs after the head', 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n', 'timeout'],
  [
    'reports usage in a header',
    jsonAnswer(1, { 'x-sentinel-usage': '12.50' }),
    { kind: 'answer', output: 1, usage: { quantity: '12.5' } },
  ],
  ...['12.5 ', '12.5\t', '12.5 \t ', ' \t12.5'].map((text): Behaviour => [
    `reports a usage with blanks around, as ${JSON.stringify(text)}`,
    jsonAnswer(1, { 'x-sentinel-usage': text }),
    { kind: 'answer', output: 1, usage: { quantity: '12.5' } },
  ]),
  ...NO_DECIMALS.map((text): Behaviour => [
    `reports a usage that is no plain decimal, as ${JSON.stringify(text.slice(0, 20))}`,
    jsonAnswer(1, { 'x-sentinel-usage': text }),
    badUsage,
  ]),
  [
    'ends its type with blanks',
    httpAnswer(200, { 'content-type': 'application/json \t' }, '7'),
    { kind: 'answer', output: 7 },
  ],
  [
    'streams with blanks after the type',
    Buffer.concat([
      Buffer.from(
        'HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream ; charset=utf-8 \r\ntransfer-encoding: chunked\r\n\r\n',
      ),
      sseChunk('event: done\ndata: {"output":1}\n\n'),
      Buffer.from(SSE_END),
    ]),
    { kind: 'answer', output: 1 },
  ],
  [
    'says that it is not coded, with a blank after it',
    jsonAnswer(1, { 'content-encoding': 'Identity ' }),
    { kind: 'answer', output: 1 },
  ],
  ['reports a negative usage', jsonAnswer(1, { 'x-sentinel-usage': '-1' }), badUsage],
  ['reports a usage twice', jsonAnswer(1, { 'x-sentinel-usage': '1', 'X-Sentinel-Usage': '2' }), badUsage],
  ['reports a usage of seven places', jsonAnswer(1, { 'x-sentinel-usage': '0.0000001' }), badUsage],
  [
    'streams to its done frame',
    whole('event: done\ndata: {"output":[1]}\n\n'),
    { kind: 'answer', output: [1] },
  ],
  [
    'streams usage as a number',
    whole('event: done\ndata: {"output":1,"usage":{"quantity":2.5}}\n\n'),
    { kind: 'answer', output: 1, usage: { quantity: '2.5' } },
  ],
  [
    'streams usage with its unit',
    whole('event: done\ndata: {"output":1,"usage":{"quantity":2.5,"unit":"page"}}\n\n'),
    { kind: 'answer', output: 1, usage: { quantity: '2.5', unit: 'page' } },
  ],
  [
    'streams a usage whose unit is no text',
    whole('event: done\ndata: {"output":1,"usage":{"quantity":2.5,"unit":1}}\n\n'),
    badUsage,
  ],
  [
    'streams a usage that is none',
    whole('event: done\ndata: {"output":1,"usage":{"quantity":1e300}}\n\n'),
    badUsage,
  ],
  ['streams a usage that is text', whole('event: done\ndata: {"output":1,"usage":"3"}\n\n'), badUsage],
  [
    'is done twice',
    whole('event: done\ndata: {"output":1}\n\nevent: done\ndata: {"output":2}\n\n'),
    { kind: 'answer', output: 1 },
  ],
  [
    'fails after it was done',
    whole('event: done\ndata: {"output":1}\n\nevent: error\ndata: "no"\n\n'),
    { kind: 'answer', output: 1 },
  ],
  [
    'is done without output',
    whole('event: done\ndata: {}\n\n'),
    'output_invalid: the done frame has no output',
  ],
  [
    'is done with broken JSON',
    whole('event: done\ndata: {\n\n'),
    'output_invalid: the done frame is not JSON',
  ],
  [
    'streams an error frame',
    whole('event: error\ndata: {"message":"no pages"}\n\n'),
    'agent_error: no pages',
  ],
  [
    'streams an error in plain words',
    whole('event: error\ndata: out of paper\n\n'),
    'agent_error: out of paper',
  ],
  [
    'ends a stream before it is done',
    whole('event: chunk\ndata: "a"\n\n'),
    'unreachable: the stream ended before its done frame',
  ],
  [
    'ends a stream inside its done frame',
    whole('event: done\ndata: {"output":1}'),
    'unreachable: the stream ended before its done frame',
  ],
  ['breaks a stream off', ({ socket }) => socket.end(stream('event: chunk\ndata: "a"\n\n')), unreachable],
  ['streams nothing but heartbeats', stream(': ping\n\n'), 'timeout'],
  [
    'keeps a stream open after it was done',
    stream('event: done\ndata: {"output":1}\n\n'),
    { kind: 'answer', output: 1 },
  ],
];

for (const [does, says, ends] of BEHAVIOURS) {
  test(`an agent that ${does}`, async (t) => {
    const agent = await startRawAgent(t, (request) => {
      if (typeof says === 'function') says(request);
      else request.socket.write(says);
    });
    const upstream = openUpstream(t);
    const timeoutMs = ends === 'timeout' ? 60 : 5_000;
    const outcome = await upstream.invoke(
      requestTo({ protocol: 'http', url: agent.url }, { timeoutMs, maxBytes: 50_000 }),
    );
    if (typeof ends === 'string') assert.equal(summary(outcome), ends);
    else assert.deepEqual(outcome, ends);
    assert.equal(agent.requests.length, 1);
  });
}

test('nobody listening is unreachable, and so is a name that does not exist', async (t) => {
  const upstream = openUpstream(t, {
    allowEndpoint: (url) => url.hostname === '127.0.0.1',
    resolve: (_name, callback) => callback(Object.assign(new Error('no'), { code: 'ENOTFOUND' }), []),
  });
  const refused = await upstream.invoke(requestTo({ protocol: 'http', url: 'http://127.0.0.1:1/' }));
  assert.deepEqual(refused, { kind: 'unreachable', detail: 'it refused the connection' });
  const missing = await upstream.invoke(requestTo({ protocol: 'http', url: 'https://nowhere.example/' }));
  assert.deepEqual(missing, { kind: 'unreachable', detail: 'its host name could not be found' });
});

test('the log names the origin and the cause of a lost connection, and no part of the URL that may be secret', async (t) => {
  const agent = await startRawAgent(t, ({ socket }) => socket.resetAndDestroy());
  const lines: unknown[] = [];
  const upstream = openUpstream(t, { log: (...line) => void lines.push(line) });
  const endpoint = { protocol: 'http' as const, url: `${agent.url}/hook-7f3a?token=s3cret` };
  await upstream.invoke(requestTo(endpoint, { callId: 'call_a' }));
  const fields = { callId: 'call_a', origin: agent.origin, code: 'ECONNRESET' };
  assert.deepEqual(lines, [['warn', 'an agent could not be reached', fields]]);
});

test('a trickling body and an endless stream end at the deadline, and the socket closes', async (t) => {
  for (const head of ['HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n', SSE_HEAD]) {
    const agent = await startRawAgent(t, ({ socket }) => {
      socket.write(head);
      const drip = setInterval(() => socket.write(head === SSE_HEAD ? sseChunk(': x\n') : ' '), 5);
      socket.on('close', () => clearInterval(drip));
    });
    const upstream = openUpstream(t);
    const outcome = await upstream.invoke(requestTo({ protocol: 'http', url: agent.url }, { timeoutMs: 80 }));
    assert.deepEqual(outcome, { kind: 'timeout' });
    await closed(agent.sockets[0]!);
  }
});

test('an endless stream of frames ends at the byte limit', async (t) => {
  const agent = await startRawAgent(t, ({ socket }) => {
    socket.write(SSE_HEAD);
    const frame = sseChunk(`event: chunk\ndata: "${'c'.repeat(1_000)}"\n\n`);
    const flood = () => {
      while (!socket.destroyed && socket.write(frame));
    };
    socket.on('drain', flood);
    flood();
  });
  const upstream = openUpstream(t);
  let heard = 0;
  const outcome = await upstream.invoke(
    requestTo({ protocol: 'http', url: agent.url }, { maxBytes: 100_000, onChunk: () => void heard++ }),
  );
  assert.equal(summary(outcome), 'output_invalid: the answer is larger than 100000 bytes');
  assert.ok(heard > 0 && heard <= 100);
  await closed(agent.sockets[0]!);
});

test('chunks arrive in order and whole, wherever the stream is cut', async (t) => {
  const text = [
    ': hello\r\n\r\n',
    'event: chunk\r\ndata: "ein ß und 🎈"\r\n\r\n',
    'event: chunk\rdata: plain words\r\r',
    'event: chunk\ndata: {"a":1}\n\n',
    'event: chunk\r\ndata: two\r\ndata: lines\r\n\r\n',
    'event: progress\ndata: "not for us"\n\n',
    'event: done\r\ndata: {"output":{"ok":true}}\r\n\r\n',
  ].join('');
  const bytes = Buffer.from(text);
  for (const size of [1, 2, 3, 7, bytes.length]) {
    const agent = await startRawAgent(t, ({ socket }) => {
      socket.write(SSE_HEAD);
      for (let at = 0; at < bytes.length; at += size) socket.write(sseChunk(bytes.subarray(at, at + size)));
      socket.write(SSE_END);
    });
    const chunks: string[] = [];
    const outcome = await openUpstream(t).invoke(
      requestTo({ protocol: 'http', url: agent.url }, { onChunk: (chunk) => void chunks.push(chunk) }),
    );
    assert.deepEqual(
      chunks,
      ['ein ß und 🎈', 'plain words', '{"a":1}', 'two\nlines'],
      `cut every ${size} bytes`,
    );
    assert.deepEqual(outcome, { kind: 'answer', output: { ok: true } });
  }
});

test('a chunk that comes together with the done frame, but after it, is not heard', async (t) => {
  const agent = await startRawAgent(
    t,
    ({ socket }) =>
      void socket.write(whole('event: done\ndata: {"output":1}\n\nevent: chunk\ndata: "late"\n\n')),
  );
  const chunks: string[] = [];
  const onChunk = (chunk: string) => void chunks.push(chunk);
  const outcome = await openUpstream(t).invoke(requestTo({ protocol: 'http', url: agent.url }, { onChunk }));
  assert.deepEqual(outcome, { kind: 'answer', output: 1 });
  assert.deepEqual(chunks, []);
});

test('a cancelled call closes the socket, and a later answer changes nothing', async (t) => {
  const controller = new AbortController();
  const agent = await startRawAgent(t, ({ socket }) => {
    socket.write(SSE_HEAD);
    socket.write(sseChunk('event: chunk\ndata: "one"\n\n'));
  });
  const chunks: string[] = [];
  const outcome = await openUpstream(t).invoke(
    requestTo(
      { protocol: 'http', url: agent.url },
      {
        signal: controller.signal,
        onChunk(chunk) {
          chunks.push(chunk);
          controller.abort();
          agent.sockets[0]!.write(sseChunk('event: done\ndata: {"output":1}\n\n'));
        },
      },
    ),
  );
  assert.deepEqual(outcome, { kind: 'cancelled' });
  assert.deepEqual(chunks, ['one']);
  await closed(agent.sockets[0]!);
});

test('a call that is cancelled before it starts, or while it waits for a connection, sends nothing', async (t) => {
  const agent = await startRawAgent(t, ({ socket, body }) => {
    if (body.includes('second')) socket.write(jsonAnswer('second'));
  });
  const upstream = openUpstream(t, { maxConnectionsPerOrigin: 1 });
  const endpoint = { protocol: 'http' as const, url: agent.url };
  assert.deepEqual(await upstream.invoke(requestTo(endpoint, { signal: AbortSignal.abort() })), {
    kind: 'cancelled',
  });

  const first = new AbortController();
  const waiting = new AbortController();
  const holder = upstream.invoke(requestTo(endpoint, { signal: first.signal }));
  const waiter = upstream.invoke(requestTo(endpoint, { signal: waiting.signal, input: { n: 'waiting' } }));
  waiting.abort();
  assert.deepEqual(await waiter, { kind: 'cancelled' });
  first.abort();
  assert.deepEqual(await holder, { kind: 'cancelled' });
  const after = await upstream.invoke(requestTo(endpoint, { input: { n: 'second' } }));
  assert.deepEqual(after, { kind: 'answer', output: 'second' });
  assert.ok(agent.requests.every(({ body }) => !body.includes('waiting')));
});

test('neither timer nor listener outlives a call', async (t) => {
  const agent = await startRawAgent(t, ({ socket }) => void socket.write(jsonAnswer(1)));
  const upstream = openUpstream(t);
  const { signal } = new AbortController();
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  await upstream.invoke(requestTo({ protocol: 'http', url: agent.url }, { signal }));
  const before = timers();
  for (let round = 0; round < 20; round++) {
    await upstream.invoke(requestTo({ protocol: 'http', url: agent.url }, { signal }));
  }
  assert.equal(getEventListeners(signal, 'abort').length, 0);
  assert.equal(timers(), before);
  // undici frees a connection one turn of the event loop after the answer, so a caller in a hurry opens a second.
  assert.ok(agent.sockets.length <= 2);
});

test('a stream that ends after its done frame leaves a connection to use again', async (t) => {
  const agent = await startRawAgent(
    t,
    ({ socket }) => void socket.write(whole('event: done\ndata: {"output":1}\n\n')),
  );
  const upstream = openUpstream(t);
  for (let round = 0; round < 5; round++)
    await upstream.invoke(requestTo({ protocol: 'http', url: agent.url }));
  assert.equal(agent.requests.length, 5);
  assert.ok(agent.sockets.length <= 2);
});

test('closing the gateway side ends running calls as unreachable', async (t) => {
  const upstream = openUpstream(t);
  const agent = await startRawAgent(t, () => void upstream.close());
  const request = requestTo({ protocol: 'http', url: agent.url });
  assert.deepEqual(await upstream.invoke(request), {
    kind: 'unreachable',
    detail: 'the gateway closed the connection',
  });
  assert.deepEqual(await upstream.invoke(request), {
    kind: 'unreachable',
    detail: 'the gateway is shutting down',
  });
});

test('an agent gets the arguments, our ids and nothing of the buyer', async (t) => {
  const agent = await startRawAgent(t, ({ socket }) => void socket.write(jsonAnswer(1)));
  const input = { path: '../../etc?x=1#y', text: 'a\r\nX-Evil: 1', ü: 'ß' };
  const upstream = openUpstream(t);
  await upstream.invoke(
    requestTo({ protocol: 'http', url: `${agent.url}?k=v` }, { input, callId: 'call_a', requestId: 'req_b' }),
  );
  const { head, body } = agent.requests[0]!;
  assert.deepEqual(JSON.parse(Buffer.from(body, 'latin1').toString()), input);
  const [requestLine, ...headers] = head.toLowerCase().split('\r\n');
  assert.equal(requestLine, 'post /run?k=v http/1.1');
  const names = headers.map((line) => line.slice(0, line.indexOf(':')));
  assert.deepEqual(
    new Set(names),
    new Set([
      'host',
      'connection',
      'content-type',
      'accept',
      'accept-encoding',
      'user-agent',
      'x-sentinel-request-id',
      'x-sentinel-call-id',
      'content-length',
    ]),
  );
  assert.ok(
    headers.includes('x-sentinel-call-id: call_a') && headers.includes('x-sentinel-request-id: req_b'),
  );
});

test('an id with a line break is our bug and never reaches the wire', async (t) => {
  const agent = await startRawAgent(t, ({ socket }) => void socket.write(jsonAnswer(1)));
  const request = requestTo({ protocol: 'http', url: agent.url }, { requestId: 'req\r\nx-evil: 1' });
  await assert.rejects(openUpstream(t).invoke(request), /visible ASCII/);
  assert.equal(agent.requests.length, 0);
});

test('a listener that throws is our bug: the call rejects and the socket closes', async (t) => {
  const agent = await startRawAgent(
    t,
    ({ socket }) => void socket.write(stream('event: chunk\ndata: "x"\n\n')),
  );
  const onChunk = () => assert.fail('broken listener');
  await assert.rejects(
    openUpstream(t).invoke(requestTo({ protocol: 'http', url: agent.url }, { onChunk })),
    /broken listener/,
  );
  await closed(agent.sockets[0]!);
});
