import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { buffer } from 'node:stream/consumers';
import { DEFAULT_MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES } from '../../src/catalog/manifest-schema.ts';
import { startRestGateway, type Member, type RestGateway } from '../http/rest-gateway.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';
import { call, initialize, initialized, startRawHost, type RawHost } from './raw-host.ts';

const timeout = 60_000;

let rest: RestGateway;
let seller: TestSeller;
let buyer: Member;

before(async () => {
  // It tells how much has come, or answers as much as it was asked for.
  seller = await startSeller(({ text, ask }) => ({
    text: typeof ask === 'number' ? 'x'.repeat(ask) : String(String(text).length),
  }));
  rest = await startRestGateway();
  await rest.publish(manifestOf('large', seller.url, { input_schema: { type: 'object' } }), 80);
  buyer = await rest.newMember('1000');
});

after(async () => {
  await rest?.close();
  await seller?.close();
});

function startHost(url: string): RawHost {
  return startRawHost({ SENTINEL_URL: url, SENTINEL_API_KEY: buyer.key });
}

async function greet(host: RawHost): Promise<void> {
  host.send(initialize(1));
  await host.answer(1);
  host.send(initialized);
}

test('through the proxy an agent takes, and gives, as much as its manifest says', { timeout }, async (t) => {
  const host = startHost(`${rest.url}/mcp`);
  t.after(() => host.child.kill('SIGKILL'));
  await greet(host);
  const frame = '{"text":""}'.length;
  host.send(call(2, 'sentinel_agt_large_v1', { text: 'x'.repeat(DEFAULT_MAX_PAYLOAD_BYTES - frame) }));
  assert.deepEqual((await host.answer(2)).result?.['structuredContent'], {
    text: String(DEFAULT_MAX_PAYLOAD_BYTES - frame),
  });
  host.send(call(3, 'sentinel_agt_large_v1', { ask: DEFAULT_MAX_PAYLOAD_BYTES - frame }));
  const { result } = await host.answer(3);
  const answer = result?.['structuredContent'] as { text: string } | undefined;
  assert.equal(answer?.text.length, DEFAULT_MAX_PAYLOAD_BYTES - frame);
});

test(
  'a call that no agent takes is refused at once, in words, and nothing is tried again',
  { timeout },
  async (t) => {
    const host = startHost(`${rest.url}/mcp`);
    t.after(() => host.child.kill('SIGKILL'));
    await greet(host);
    for (const [id, bytes] of [
      [2, 11_000_000],
      [3, 20_000_000],
      [4, MAX_PAYLOAD_BYTES + 100_000],
    ] as const) {
      host.send(call(id, 'sentinel_agt_large_v1', { text: 'x'.repeat(bytes) }));
      const { error } = await host.answer(id);
      assert.equal(error?.data?.['code'], 'PAYLOAD_TOO_LARGE');
      assert.match(
        error?.message ?? '',
        new RegExp(`no agent takes arguments of more than ${DEFAULT_MAX_PAYLOAD_BYTES}`),
      );
    }
    assert.equal(seller.requests <= 2, true);
  },
);

test(
  'a large body is sent when the gateway asks for it, and never when it refuses',
  { timeout },
  async (t) => {
    const gateway = await startAsked((incoming, outgoing) => {
      outgoing.writeHead(413, { 'content-type': 'application/json' });
      outgoing.end('{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"At most 7 bytes."}}');
      incoming.resume();
    });
    t.after(gateway.close);
    const host = startHost(gateway.url);
    t.after(() => host.child.kill('SIGKILL'));
    host.send(call(1, 'any', { text: 'x'.repeat(1_000_000) }));
    assert.equal((await host.answer(1)).error?.message, 'At most 7 bytes.');
    assert.deepEqual(gateway.seen, ['asked']);
    const [socket] = gateway.sockets;
    assert.ok((socket?.bytesRead ?? 0) < 10_000);
  },
);

test('a large body reaches a gateway that does not know the question', { timeout }, async (t) => {
  for (const refusal of [417, undefined]) {
    const gateway = await startAsked((_, outgoing) => {
      if (refusal !== undefined) outgoing.writeHead(refusal).end();
    });
    t.after(gateway.close);
    const host = startHost(gateway.url);
    t.after(() => host.child.kill('SIGKILL'));
    host.send(call(1, 'any', { text: 'x'.repeat(1_000_000) }));
    assert.ok((await host.answer(1)).result);
  }
});

/** A gateway that leaves to the test what becomes of a request that asks first. */
async function startAsked(onAsked: (incoming: IncomingMessage, outgoing: ServerResponse) => void) {
  const seen: string[] = [];
  const sockets: IncomingMessage['socket'][] = [];
  const answer = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const { id } = JSON.parse(String(await buffer(incoming))) as { id: number };
    outgoing.setHeader('content-type', 'application/json');
    if (!outgoing.headersSent) outgoing.end(JSON.stringify({ jsonrpc: '2.0', id, result: {} }));
  };
  const server: Server = createServer((incoming, outgoing) => {
    seen.push('unasked');
    void answer(incoming, outgoing);
  });
  server.on('connection', (socket) => sockets.push(socket));
  server.on('checkContinue', (incoming, outgoing) => {
    seen.push('asked');
    onAsked(incoming, outgoing);
    if (!outgoing.headersSent) void answer(incoming, outgoing);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    seen,
    sockets,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
