import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { startRestGateway, type Member, type RestGateway } from '../http/rest-gateway.ts';
import { connectHost, HOST_KINDS, type Host } from '../mcp/hosts.ts';
import { manifestOf } from '../support/gateway.ts';

const HOSTS = 200;
const KEYS = 10;

let rest: RestGateway;
let seller: Server;
let buyers: Member[];
/** The seller answers nobody before all have asked, and then the last first. */
let expected = HOSTS;
let whenAllAsked = answerAll;
let waiting: { text: string; response: ServerResponse }[] = [];

before(async () => {
  rest = await startRestGateway();
  seller = createServer((request, response) => {
    void json(request).then((input) => {
      const { text } = input as { text: string };
      waiting.push({ text, response });
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`event: chunk\ndata: ${JSON.stringify(`working on ${text}`)}\n\n`);
      if (waiting.length === expected) whenAllAsked();
    });
  });
  seller.listen(0, '127.0.0.1');
  await once(seller, 'listening');
  const url = `http://127.0.0.1:${(seller.address() as AddressInfo).port}/`;
  await rest.publish(manifestOf('vault', url, { capabilities: { streaming: true } }), 80);
  const wish = { ratePerMinute: 100_000, maxConcurrent: 1_000 };
  buyers = await Promise.all(Array.from({ length: KEYS }, () => rest.newMember('2000', wish)));
});

after(async () => {
  await rest?.close();
  seller?.closeAllConnections();
  seller?.close();
});

function answerAll(): void {
  for (const { text, response } of waiting.toReversed()) {
    response.end(`event: done\ndata: ${JSON.stringify({ output: { text } })}\n\n`);
  }
  waiting = [];
}

test('two hundred hosts with equal request ids and progress tokens never see each other’s answers', async () => {
  const hosts = await Promise.all(
    Array.from({ length: HOSTS }, (_, index) =>
      connectHost(HOST_KINDS[index % HOST_KINDS.length] ?? 'SDK 1.x', `${rest.url}/mcp`, {
        authorization: `Bearer ${buyers[Math.floor(index / HOST_KINDS.length) % KEYS]?.key}`,
      }),
    ),
  );
  try {
    // Every host of a kind has sent as many requests as the others, so its next id, and its token, are theirs too.
    const seen = await Promise.all(hosts.map((host, index) => callVault(host, `secret ${index}`)));
    assert.deepEqual(
      seen,
      hosts.map((_, index) => ({ text: `secret ${index}`, heard: [`working on secret ${index}`] })),
    );
  } finally {
    await Promise.all(hosts.map((host) => host.close()));
  }
  for (const { key } of buyers) {
    const { body } = await rest.send('GET', '/v1/billing/balance', { key });
    assert.deepEqual([body.credits, body.escrow_credits], [String(2000 - (5 * HOSTS) / KEYS), '0']);
  }
});

test('a host that takes its call back does not end the call of another with the same id', async () => {
  const hosts = await Promise.all(
    buyers.map(({ key }, index) =>
      connectHost(HOST_KINDS[index % HOST_KINDS.length] ?? 'SDK 1.x', `${rest.url}/mcp`, {
        authorization: `Bearer ${key}`,
      }),
    ),
  );
  const abort = new AbortController();
  const isCancelled = (index: number): boolean => index < KEYS / 2;
  expected = KEYS;
  whenAllAsked = () => {
    const gone = waiting.filter(({ text }) => isCancelled(Number(text)));
    // Answered only when the gateway has let go of those who were cancelled.
    void Promise.all(gone.map(({ response }) => once(response, 'close'))).then(answerAll);
    abort.abort();
  };
  try {
    const ends = await Promise.allSettled(
      hosts.map((host, index) =>
        host.callTool(
          'sentinel_agt_vault_v1',
          { text: String(index) },
          isCancelled(index) ? { signal: abort.signal } : {},
        ),
      ),
    );
    assert.deepEqual(
      ends.map((end) => (end.status === 'fulfilled' ? end.value.structuredContent : 'cancelled')),
      hosts.map((_, index) => (isCancelled(index) ? 'cancelled' : { text: String(index) })),
    );
  } finally {
    expected = HOSTS;
    whenAllAsked = answerAll;
    await Promise.all(hosts.map((host) => host.close()));
  }
});

test('two hundred requests with one id, of one key, get two hundred answers', async () => {
  const key = buyers[0]?.key ?? '';
  const answers = await Promise.all(
    Array.from({ length: HOSTS }, async (_, index) => {
      const params = {
        name: 'sentinel_agt_vault_v1',
        arguments: { text: `own ${index}` },
        _meta: { progressToken: 0 },
      };
      const { text } = await rest.send('POST', '/mcp', {
        key,
        body: { jsonrpc: '2.0', id: 0, method: 'tools/call', params },
        headers: { accept: 'application/json, text/event-stream' },
      });
      return [...text.matchAll(/(?:working on |"structuredContent":\{"text":")([^"]+)"/g)].map(
        ([, secret]) => secret,
      );
    }),
  );
  assert.deepEqual(
    answers,
    Array.from({ length: HOSTS }, (_, index) => [`own ${index}`, `own ${index}`]),
  );
});

async function callVault(host: Host, secret: string): Promise<{ text: unknown; heard: string[] }> {
  const heard: string[] = [];
  const result = await host.callTool(
    'sentinel_agt_vault_v1',
    { text: secret },
    { onprogress: (message) => heard.push(message) },
  );
  return { text: result.structuredContent?.['text'], heard };
}
