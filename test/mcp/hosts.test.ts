import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import {
  manifestOf,
  startSeller,
  startTestGateway,
  type Buyer,
  type TestGateway,
  type TestSeller,
} from '../support/gateway.ts';
import { connectHost, HOST_KINDS, type Host, type HostKind } from './hosts.ts';

let gateway: TestGateway;
let echo: TestSeller;
let streamer: TestSeller;
let silent: TestSeller;
let buyer: Buyer;
/** The answers of the silent agent, by the text it was asked. */
const waiting = new Map<string, ServerResponse>();
const silentAsked = new EventEmitter();

const HEARTBEAT = /^still working, \d+ s$/;
const CHUNKS = ['one', 'two', 'three'];

before(async () => {
  echo = await startSeller((input) => ({ text: String(input['text']) }));
  streamer = await startSeller((_, __, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const chunk of CHUNKS) response.write(`event: chunk\ndata: ${JSON.stringify(chunk)}\n\n`);
    response.end(`event: done\ndata: {"output":{"text":"${CHUNKS.join(' ')}"}}\n\n`);
    return undefined;
  });
  silent = await startSeller((input, _, response) => {
    waiting.set(String(input['text']), response);
    silentAsked.emit('asked');
    return undefined;
  });
  gateway = await startTestGateway({ timing: { heartbeatMs: 40, commentMs: 60, tickMs: 10 } });
  await gateway.publish(manifestOf('echo', echo.url));
  await gateway.publish(manifestOf('streamer', streamer.url, { capabilities: { streaming: true } }));
  await gateway.publish(manifestOf('silent', silent.url));
  buyer = await gateway.newBuyer();
});

after(async () => {
  await gateway?.close();
  await Promise.all([echo?.close(), streamer?.close(), silent?.close()]);
});

async function withHost(kind: HostKind, use: (host: Host) => Promise<void>, query = ''): Promise<void> {
  const host = await connectHost(kind, `${gateway.url}${query}`, buyer.headers);
  try {
    await use(host);
  } finally {
    await host.close();
  }
}

for (const kind of HOST_KINDS) {
  test(`${kind}: a host lists, calls, pays once, and reads the receipt`, () =>
    withHost(kind, async (host) => {
      const { tools } = await host.listTools();
      const tool = tools.find(({ name }) => name === 'sentinel_agt_echo_v1');
      assert.match(
        tool?.description ?? '',
        /\nCost: 5 credits \(\$0\.05\) per successful call; failed calls are free\. Trust 80\/100\. Timeout 30 s\.$/,
      );
      const before = await gateway.balanceOf(buyer);
      const result = await host.callTool('sentinel_agt_echo_v1', { text: kind });
      assert.deepEqual(result.structuredContent, { text: kind });
      assert.deepEqual(JSON.parse(result.content[0]?.text ?? ''), { text: kind });
      const receipt = result._meta?.['xyz.sentinel/receipt'] as { charged: string; outcome: string };
      assert.deepEqual([receipt.outcome, receipt.charged], ['settled', '5']);
      const after = await gateway.balanceOf(buyer);
      assert.equal(before.availableMicros - after.availableMicros, 5_000_000n);
      assert.equal(after.heldMicros, 0n);
    }));

  test(`${kind}: wrong arguments are a result the model can read, and free`, () =>
    withHost(kind, async (host) => {
      const before = await gateway.balanceOf(buyer);
      const result = await host.callTool('sentinel_agt_echo_v1', { text: 42 });
      assert.equal(result.isError, true);
      assert.equal(result.structuredContent, undefined);
      const told = JSON.parse(result.content[0]?.text ?? '') as Record<string, unknown>;
      assert.deepEqual([told['code'], told['charged'], told['retryable']], ['INVALID_INPUT', '0', false]);
      assert.deepEqual(result._meta?.['xyz.sentinel/error'], told);
      assert.deepEqual(await gateway.balanceOf(buyer), before);
    }));

  test(`${kind}: every chunk arrives as progress, in order and rising, before the whole answer`, () =>
    withHost(kind, async (host) => {
      const heard: [string, number][] = [];
      const result = await host.callTool(
        'sentinel_agt_streamer_v1',
        { text: 'x' },
        { onprogress: (message, progress) => heard.push([message, progress]) },
      );
      // On a busy machine the gateway may have to say in between that it still works.
      const chunks = heard.map(([message]) => message).filter((message) => !HEARTBEAT.test(message));
      assert.deepEqual(chunks, CHUNKS);
      assert.deepEqual(
        heard.map(([, progress]) => progress),
        heard.map((_, index) => index + 1),
      );
      assert.deepEqual(result.structuredContent, { text: CHUNKS.join(' ') });
    }));

  test(`${kind}: an agent that is silent for long is heard of all the same`, () =>
    withHost(kind, async (host) => {
      const text = `silent ${kind}`;
      const heard: string[] = [];
      const answer = host.callTool(
        'sentinel_agt_silent_v1',
        { text },
        {
          onprogress: (message) => {
            heard.push(message);
            if (heard.length === 2) waiting.get(text)?.end(JSON.stringify({ text }));
          },
        },
      );
      await asked(text);
      waiting.get(text)?.writeHead(200, { 'content-type': 'application/json' });
      assert.deepEqual((await answer).structuredContent, { text });
      assert.ok(heard.length >= 2 && heard.every((message) => HEARTBEAT.test(message)), String(heard));
    }));

  test(`${kind}: a host that takes its call back stops the agent and pays nothing`, () =>
    withHost(kind, async (host) => {
      const before = await gateway.balanceOf(buyer);
      const text = `cancelled ${kind}`;
      const abort = new AbortController();
      const answer = host.callTool('sentinel_agt_silent_v1', { text }, { signal: abort.signal });
      await asked(text);
      const upstreamClosed = once(waiting.get(text) as ServerResponse, 'close');
      abort.abort();
      await assert.rejects(answer);
      await upstreamClosed;
      await settled();
      assert.deepEqual(await gateway.balanceOf(buyer), before);
      assert.equal(gateway.ended.at(-1)?.result, 'CANCELLED');
    }));

  test(`${kind}: a host hears that the list of tools has changed`, () =>
    withHost(kind, async (host) => {
      const heard: number[] = [];
      await host.onListChanged(() => {
        heard.push(heard.length);
      });
      // An old host listens only once its own stream is open, and it does not tell when that is.
      for (let score = 60; heard.length === 0 && score < 100; score += 1) {
        await gateway.publish(manifestOf(`changes${slugOf(kind)}`, echo.url), score);
        await setTimeout(50);
      }
      assert.ok(heard.length > 0);
    }));
}

for (const kind of ['SDK 1.x', 'SDK 1.x over old SSE', 'SDK 2.x legacy'] as const) {
  test(`${kind}: ping is answered`, () => withHost(kind, async (host) => void (await host.ping())));
}

test('every era the SDKs negotiate is served', async () => {
  const versions: (string | undefined)[] = [];
  for (const kind of HOST_KINDS) await withHost(kind, async (host) => void versions.push(host.version()));
  assert.deepEqual(versions, ['2025-11-25', '2024-11-05', '2025-11-25', '2026-07-28']);
});

test('/mcp/sse is the same endpoint', async () => {
  for (const kind of HOST_KINDS) {
    const host = await connectHost(kind, `${gateway.url}/sse`, buyer.headers);
    const result = await host.callTool('sentinel_agt_echo_v1', { text: 'sse' });
    assert.deepEqual(result.structuredContent, { text: 'sse' });
    await host.close();
  }
});

test('two hundred hosts that count their requests from the same number never see each other’s answers', async () => {
  const buyers = await Promise.all(Array.from({ length: 10 }, () => gateway.newBuyer()));
  const answers = await Promise.all(
    Array.from({ length: 200 }, async (_, index) => {
      const response = await fetch(gateway.url, {
        method: 'POST',
        headers: {
          ...buyers[index % buyers.length]?.headers,
          'content-type': 'application/json',
          accept: 'application/json',
        },
        body: JSON.stringify({
          jsonrpc: '2.0',
          id: 0,
          method: 'tools/call',
          params: { name: 'sentinel_agt_echo_v1', arguments: { text: `secret ${index}` } },
        }),
      });
      const answer = (await response.json()) as {
        id: number;
        result: { structuredContent: { text: string } };
      };
      return [answer.id, answer.result.structuredContent.text];
    }),
  );
  assert.deepEqual(
    answers,
    Array.from({ length: 200 }, (_, index) => [0, `secret ${index}`]),
  );
});

function slugOf(kind: HostKind): string {
  return kind.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}

async function asked(text: string): Promise<void> {
  while (!waiting.has(text)) await once(silentAsked, 'asked');
}

/** Resolves when no call of the gateway is under way. */
async function settled(): Promise<void> {
  while (gateway.deps.running.count() > 0) await new Promise((resolve) => setImmediate(resolve));
}
