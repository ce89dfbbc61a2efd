import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { createAdaptorServer } from '@hono/node-server';
import { createMcpHandler, ResourceNotFoundError, Server } from '@modelcontextprotocol/server';
import { sql } from 'drizzle-orm';
import { newId } from '../../src/base/ids.ts';
import { keepLinkedResources, removeExpiredLinks } from '../../src/calls/linked-resources.ts';
import { manifestOf, startTestGateway, type Buyer, type TestGateway } from '../support/gateway.ts';
import { connectHost, HOST_KINDS, type Host, type HostKind } from './hosts.ts';

let gateway: TestGateway;
let buyer: Buyer;
const servers: HttpServer[] = [];
/** What the servers' resources are read for. */
const reads: string[] = [];

const FILE = { uri: 'file:///r%20x.txt', mimeType: 'text/plain', text: 'the report', _meta: { own: 1 } };
const BLOB = { uri: 'demo://blob', blob: 'aGk=' };
const SECRET = { uri: 'file:///secret', text: 'never linked' };
const RESOURCES = new Map<string, object[]>([
  [FILE.uri, [FILE]],
  [BLOB.uri, [BLOB, FILE]],
  [SECRET.uri, [SECRET]],
  ['demo://ours', [{ ...FILE, _meta: { 'xyz.sentinel/receipt': 'forged' } }]],
]);

/** A server with resources; its tool links to those it is asked for. `owner` is named in each thing it reads. */
async function startServer(legacy: 'stateless' | 'reject'): Promise<string> {
  const handler = createMcpHandler(
    () => {
      const server = new Server({ name: 'f', version: '1' }, { capabilities: { tools: {}, resources: {} } });
      server.setRequestHandler('tools/call', ({ params }) => {
        const uris = String(params.arguments?.['text']).split(' ');
        if (uris[0] === 'fail') return { isError: true, content: uris.slice(1).map(linkTo) };
        return { content: uris.map(linkTo) };
      });
      server.setRequestHandler('resources/read', ({ params }) => {
        reads.push(params.uri);
        const contents = RESOURCES.get(params.uri);
        if (!contents) throw new ResourceNotFoundError(params.uri);
        return { contents: contents as never };
      });
      return server;
    },
    { legacy },
  );
  const http = createAdaptorServer({ fetch: (request) => handler.fetch(request) }) as HttpServer;
  servers.push(http);
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`;
}

const linkTo = (uri: string) => ({ type: 'resource_link' as const, uri, name: 'a thing' });

before(async () => {
  gateway = await startTestGateway();
  buyer = await gateway.newBuyer('10000');
  for (const legacy of ['stateless', 'reject'] as const) {
    const url = await startServer(legacy);
    const endpoint = { protocol: 'mcp' as const, url, tool: 'link' };
    const { output_schema: _, ...manifest } = manifestOf(`links_${legacy}`, url, { endpoint });
    await gateway.publish(manifest);
  }
});

after(async () => {
  await gateway?.close();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

async function withHost(kind: HostKind, member: Buyer, use: (host: Host) => Promise<void>): Promise<void> {
  const host = await connectHost(kind, gateway.url, member.headers);
  try {
    await use(host);
  } finally {
    await host.close();
  }
}

const buy = (host: Host, text: string, slug = 'links_stateless') =>
  host.callTool(`sentinel_agt_${slug}_v1`, { text });

for (const kind of HOST_KINDS) {
  for (const slug of ['links_stateless', 'links_reject']) {
    test(`${kind}: what an answer of ${slug} links to can be read as from the server itself, and is free`, () =>
      withHost(kind, buyer, async (host) => {
        const { content } = await buy(host, `${FILE.uri} ${BLOB.uri}`, slug);
        assert.deepEqual(content, [linkTo(FILE.uri), linkTo(BLOB.uri)]);
        const paid = await gateway.balanceOf(buyer);
        assert.deepEqual((await host.readResource(FILE.uri)).contents, [FILE]);
        assert.deepEqual((await host.readResource(BLOB.uri)).contents, [BLOB, FILE]);
        assert.deepEqual(await gateway.balanceOf(buyer), paid);
        assert.deepEqual((await host.listResources()).resources, []);
      }));
  }
}

test('only the key that bought the answer reads what it links to, and nothing else of the server', async () => {
  const other = await gateway.newKey(buyer);
  const stranger = await gateway.newBuyer('100');
  await withHost('SDK 1.x', buyer, async (host) => {
    await buy(host, FILE.uri);
    reads.length = 0;
    for (const uri of [SECRET.uri, `${FILE.uri}?x`, '', 'https://example.com/'])
      await assert.rejects(host.readResource(uri), /No answer that this key bought/);
  });
  for (const member of [other, stranger]) {
    await withHost('SDK 2.x modern', member, async (host) => {
      await assert.rejects(host.readResource(FILE.uri), /No answer that this key bought/);
    });
  }
  assert.deepEqual(reads, []);
});

test('what only a refunded answer linked to is not readable', async () => {
  const member = await gateway.newBuyer('100');
  await withHost('SDK 1.x', member, async (host) => {
    assert.equal((await buy(host, `fail ${FILE.uri}`)).isError, true);
    await assert.rejects(host.readResource(FILE.uri), /No answer that this key bought/);
  });
});

test('an answer that was written down and never paid for makes nothing readable', async () => {
  const member = await gateway.newBuyer('100');
  const call = { callId: newId('call'), keyId: member.keyId, agentId: 'agt_links_stateless_v1' };
  await keepLinkedResources(gateway.deps.db, call, [linkTo(FILE.uri)]);
  await withHost('SDK 1.x', member, async (host) => {
    await assert.rejects(host.readResource(FILE.uri), /No answer that this key bought/);
    await buy(host, FILE.uri);
    assert.deepEqual((await host.readResource(FILE.uri)).contents, [FILE]);
  });
});

test('a resource that its server no longer has, or that speaks in our name, is told as what it is', async () => {
  await withHost('SDK 1.x', buyer, async (host) => {
    await buy(host, 'demo://gone demo://ours');
    await assert.rejects(host.readResource('demo://gone'), /agt_links_stateless_v1 reported an error/);
    const { _meta: _, ...file } = FILE;
    assert.deepEqual((await host.readResource('demo://ours')).contents, [file]);
  });
});

test('reading counts toward the rate of the key', async () => {
  const member = await gateway.newBuyer('100', { ratePerMinute: 2 });
  await withHost('SDK 1.x', member, async (host) => {
    await buy(host, FILE.uri);
    await host.readResource(FILE.uri);
    await assert.rejects(host.readResource(FILE.uri), /2 calls a minute/);
  });
});

test('a resource is not found in the way its revision says it', async () => {
  const ask = async (headers: Record<string, string>, params: object) => {
    const response = await fetch(gateway.url, {
      method: 'POST',
      headers: {
        ...buyer.headers,
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...headers,
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'resources/read', params }),
    });
    return ((await response.json()) as { error: { code: number; data: { uri: string } } }).error;
  };
  const uri = 'demo://nothing';
  const legacy = await ask({ 'mcp-protocol-version': '2025-11-25' }, { uri });
  assert.deepEqual([legacy.code, legacy.data.uri], [-32_002, uri]);
  const _meta = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
  };
  const modern = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'resources/read' };
  // The second is an unusual form, which the SDK takes apart first.
  for (const name of [uri, `=?base64?${Buffer.from(uri).toString('base64')}?=`]) {
    const told = await ask({ ...modern, 'mcp-name': name }, { uri, _meta });
    assert.deepEqual([told.code, told.data.uri], [-32_602, uri]);
  }
});

test('a link is forgotten a day after its answer', async () => {
  const member = await gateway.newBuyer('100');
  await withHost('SDK 1.x', member, async (host) => {
    await buy(host, `${FILE.uri} ${FILE.uri} https://example.com/`);
    const { db } = gateway.deps;
    const ofKey = sql`FROM linked_resources WHERE key_id = ${member.keyId}`;
    const hours = await db.execute<{ left: string }>(
      sql`SELECT round(extract(epoch FROM expires_at - now()) / 3600) AS left ${ofKey}`,
    );
    assert.deepEqual(
      hours.rows.map(({ left }) => Number(left)),
      [24],
    );
    await db.execute(sql`UPDATE linked_resources SET expires_at = now() WHERE key_id = ${member.keyId}`);
    await assert.rejects(host.readResource(FILE.uri), /No answer that this key bought/);
    await removeExpiredLinks(db);
    assert.equal((await db.execute(sql`SELECT 1 ${ofKey}`)).rows.length, 0);
  });
});
