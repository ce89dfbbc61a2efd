import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { after, before, test } from 'node:test';
import { startRestGateway, type Member, type RestGateway } from '../http/rest-gateway.ts';
import { connectHost, HOST_KINDS, type Host, type HostKind } from '../mcp/hosts.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';

let rest: RestGateway;
let buyer: Member;
let sellers: TestSeller[];
/** Answers nobody has ended yet, by the text the agent was asked. */
const unanswered = new Map<string, ServerResponse>();
const asked = new EventEmitter();

const ENDPOINTS = ['/mcp', '/mcp/sse'];
const CHUNKS = ['one', 'two “zwei”', 'three\nlines'];

before(async () => {
  rest = await startRestGateway();
  const echo = await startSeller((input) => ({ text: String(input['text']) }));
  const liar = await startSeller(() => ({ text: 42 }));
  const broken = await startSeller((_, __, response) => void response.writeHead(500).end('stack trace'));
  const streamer = await startSeller((_, __, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const chunk of CHUNKS) response.write(`event: chunk\ndata: ${JSON.stringify(chunk)}\n\n`);
    response.end(`event: done\ndata: ${JSON.stringify({ output: { text: CHUNKS.join(' ') } })}\n\n`);
    return undefined;
  });
  const silent = await startSeller((input, _, response) => {
    unanswered.set(String(input['text']), response);
    asked.emit('asked');
    return undefined;
  });
  sellers = [echo, liar, broken, streamer, silent];
  await rest.publish(manifestOf('echo', echo.url), 80);
  await rest.publish(manifestOf('liar', liar.url), 80);
  await rest.publish(manifestOf('broken', broken.url), 80);
  await rest.publish(manifestOf('streamer', streamer.url, { capabilities: { streaming: true } }), 80);
  await rest.publish(manifestOf('silent', silent.url), 80);
  buyer = await rest.newMember('10000', { ratePerMinute: 100_000 });
});

after(async () => {
  await rest?.close();
  await Promise.all((sellers ?? []).map((seller) => seller.close()));
});

async function withHost(kind: HostKind, path: string, use: (host: Host) => Promise<void>): Promise<void> {
  const host = await connectHost(kind, `${rest.url}${path}`, { authorization: `Bearer ${buyer.key}` });
  try {
    await use(host);
  } finally {
    await host.close();
  }
}

for (const kind of HOST_KINDS) {
  for (const path of ENDPOINTS) {
    test(`${kind} on ${path}: what is listed can be called, and the answer fits the listed schema`, () =>
      withHost(kind, path, async (host) => {
        const { tools } = await host.listTools();
        const echo = tools.find(({ name }) => name === 'sentinel_agt_echo_v1');
        assert.deepEqual(echo?.outputSchema, {
          type: 'object',
          properties: { text: { type: 'string' } },
          required: ['text'],
          additionalProperties: false,
        });
        // Both SDKs check structured content against the schema of the list they have read, and throw.
        const result = await host.callTool('sentinel_agt_echo_v1', { text: `${kind} ${path}` });
        assert.deepEqual(result.structuredContent, { text: `${kind} ${path}` });
        assert.deepEqual(JSON.parse(result.content[0]?.text ?? ''), result.structuredContent);
      }));

    test(`${kind} on ${path}: each chunk arrives, rising, before the whole answer`, () =>
      withHost(kind, path, async (host) => {
        const heard: [string, number][] = [];
        const onprogress = (message: string, progress: number): void => void heard.push([message, progress]);
        const result = await host.callTool('sentinel_agt_streamer_v1', { text: 'x' }, { onprogress });
        assert.deepEqual(
          heard,
          CHUNKS.map((chunk, index) => [chunk, index + 1]),
        );
        assert.deepEqual(result.structuredContent, { text: CHUNKS.join(' ') });
      }));
  }

  test(`${kind}: every failure is a result the host can read, and none is charged`, () =>
    withHost(kind, '/mcp', async (host) => {
      await host.listTools();
      const before = await balance();
      for (const [tool, code] of [
        ['sentinel_agt_liar_v1', 'OUTPUT_INVALID'],
        ['sentinel_agt_broken_v1', 'AGENT_ERROR'],
        ['sentinel_agt_nobody_v1', 'NOT_FOUND'],
      ] as const) {
        const result = await host.callTool(tool, { text: 'x' });
        const told = JSON.parse(result.content[0]?.text ?? '') as Record<string, unknown>;
        assert.deepEqual(
          [result.isError, told['code'], told['charged'], result.structuredContent],
          [true, code, '0', undefined],
        );
        assert.ok(!JSON.stringify(result).includes('stack trace'));
      }
      assert.deepEqual(await balance(), before);
    }));

  test(`${kind}: a call that is taken back stops the agent, and its refund is seen over REST`, () =>
    withHost(kind, '/mcp', async (host) => {
      const before = await balance();
      const text = `cancelled by ${kind}`;
      const abort = new AbortController();
      const answer = host.callTool('sentinel_agt_silent_v1', { text }, { signal: abort.signal });
      while (!unanswered.has(text)) await once(asked, 'asked');
      const stopped = once(unanswered.get(text) as ServerResponse, 'close');
      abort.abort();
      await assert.rejects(answer);
      await stopped;
      while (rest.gateway.deps.running.count() > 0) await nextTurn();
      const { body } = await rest.send('GET', '/v1/calls?limit=1', { key: buyer.key });
      const { agent_id: agent, outcome, code, held, charged } = body.items[0] as Record<string, unknown>;
      assert.deepEqual(
        [agent, outcome, code, held, charged],
        ['agt_silent_v1', 'refunded', 'CANCELLED', '5', '0'],
      );
      assert.deepEqual(await balance(), before);
    }));

  test(`${kind}: a host hears of an agent that is put up for sale, and then sees it`, () =>
    withHost(kind, '/mcp', async (host) => {
      const changed = Promise.withResolvers<void>();
      await host.onListChanged(() => changed.resolve());
      const slug = `new_${kind.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_')}`;
      const url = (sellers[0] as TestSeller).url;
      // A 1.x host does not tell when the stream it listens on is open, so the list changes until it has heard.
      let hasHeard = false;
      for (let patch = 0; patch < 20 && !hasHeard; patch += 1) {
        await rest.publish(manifestOf(slug, url, { version: `1.0.${patch}` }), 80);
        hasHeard = await Promise.race([changed.promise.then(() => true), laterFalse()]);
      }
      assert.ok(hasHeard, 'the host was told nothing');
      const { tools } = await host.listTools();
      assert.ok(tools.some(({ name }) => name === `sentinel_agt_${slug}_v1`));
    }));
}

async function balance(): Promise<unknown[]> {
  const { body } = await rest.send('GET', '/v1/billing/balance', { key: buyer.key });
  return [body.credits, body.escrow_credits];
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const laterFalse = (): Promise<false> => new Promise((resolve) => setTimeout(resolve, 250, false));
