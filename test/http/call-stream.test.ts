import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Hono } from 'hono';
import { Problem } from '../../src/base/problem.ts';
import type { CallResult } from '../../src/calls/call.ts';
import { streamCall } from '../../src/http/call-stream.ts';
import type { HttpEnv } from '../../src/http/env.ts';

const REFUSED: CallResult = { kind: 'problem', problem: new Problem('TIMEOUT', 'Too late.') };

/** The answer to a call that ends when the test says so. */
async function stream(timing: { openAfterMs: number; heartbeatMs: number }, result: Promise<CallResult>) {
  const app = new Hono<HttpEnv>();
  app.get('/', (c) => streamCall(c, () => result, timing));
  return app.request('/');
}

test(
  'a silent call opens its stream and shows signs of life until it ends',
  { timeout: 10_000 },
  async () => {
    const call = Promise.withResolvers<CallResult>();
    const response = await stream({ openAfterMs: 1, heartbeatMs: 1 }, call.promise);
    assert.equal(response.status, 200);
    let text = '';
    for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      text += Buffer.from(part).toString();
      if (text.split(': \n\n').length === 4) call.resolve(REFUSED);
    }
    assert.match(text, /: \n\nevent: error\ndata: \{.*"code":"TIMEOUT".*\}\n\n$/);
  },
);

test('a call that fails before its stream has opened is an ordinary refusal', async () => {
  const response = await stream({ openAfterMs: 60_000, heartbeatMs: 60_000 }, Promise.resolve(REFUSED));
  assert.equal(response.status, 504);
  assert.equal(response.headers.get('content-type'), 'application/problem+json');
});

test(
  'a bug of ours ends an open stream with INTERNAL, and without its words',
  { timeout: 10_000 },
  async () => {
    const call = Promise.withResolvers<CallResult>();
    const response = await stream({ openAfterMs: 1, heartbeatMs: 60_000 }, call.promise);
    call.reject(new Error('secret inside'));
    const text = await response.text();
    assert.match(text, /"code":"INTERNAL"/);
    assert.ok(!text.includes('secret'));
  },
);

test('a reader who does not read its chunks is cut off, and has left the call', async () => {
  const app = new Hono<HttpEnv>();
  const call = Promise.withResolvers<CallResult>();
  let unread = 0;
  app.get('/', (c) =>
    streamCall(c, ({ onChunk, signal }) => {
      while (!signal.aborted && unread < 10_000_000) {
        onChunk('x'.repeat(1_000));
        unread += 1_000;
      }
      return call.promise;
    }),
  );
  const response = await app.request('/');
  assert.ok(unread > 900_000 && unread < 1_200_000, `${unread} bytes are kept for it`);
  await assert.rejects(response.text());
  call.resolve(REFUSED);
});

test('a reader who hangs up has left the call', async () => {
  const app = new Hono<HttpEnv>();
  const call = Promise.withResolvers<CallResult>();
  const left = Promise.withResolvers<void>();
  app.get('/', (c) =>
    streamCall(c, ({ onChunk, signal }) => {
      signal.addEventListener('abort', () => left.resolve());
      onChunk('the first');
      return call.promise;
    }),
  );
  const response = await app.request('/');
  await response.body?.cancel();
  await left.promise;
  call.resolve(REFUSED);
});
