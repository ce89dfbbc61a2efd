import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import { silentLog } from '../../src/base/log.ts';
import { createUpstream } from '../../src/upstream/node-upstream.ts';
import type { EndpointTrial } from '../../src/upstream/upstream.ts';
import type { Endpoint } from '../../src/upstream/upstream.ts';

const IDENTITY = { callId: 'call_1', requestId: 'req_1' };

async function serve(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function tryAt(
  t: TestContext,
  endpoint: Endpoint,
  options: Partial<Parameters<typeof createUpstream>[0]> = {},
): Promise<EndpointTrial> {
  const upstream = createUpstream({ allowEndpoint: () => true, log: silentLog, ...options });
  t.after(() => upstream.close());
  return upstream.tryEndpoint(endpoint, IDENTITY);
}

const mcp = (url: string, tool = 'echo'): Endpoint => ({ protocol: 'mcp', url, tool });

/** A server that answers each JSON-RPC request with what `answer` makes of it, and says what it was asked. */
function jsonRpc(answer: (method: string, params: Record<string, unknown>) => object | undefined): {
  listener: RequestListener;
  asked: string[];
} {
  const asked: string[] = [];
  const listener: RequestListener = (request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      if (request.method !== 'POST') return response.writeHead(405).end();
      const {
        id,
        method,
        params = {},
      } = JSON.parse(body) as {
        id?: string;
        method: string;
        params?: Record<string, unknown>;
      };
      asked.push(method);
      if (id === undefined) return response.writeHead(202).end();
      response.writeHead(200, { 'content-type': 'application/json' });
      return response.end(JSON.stringify({ jsonrpc: '2.0', id, ...answer(method, params) }));
    });
  };
  return { listener, asked };
}

const HANDSHAKE = {
  result: {
    protocolVersion: '2025-11-25',
    capabilities: { tools: {} },
    serverInfo: { name: 's', version: '1' },
  },
};

function pagesOf(...pages: string[][]): ReturnType<typeof jsonRpc> {
  return jsonRpc((method, { cursor }) => {
    if (method === 'initialize') return HANDSHAKE;
    const page = Number(cursor ?? 0);
    const next = page + 1 < pages.length ? { nextCursor: String(page + 1) } : {};
    return { result: { tools: (pages[page] ?? []).map((name) => ({ name })), ...next } };
  });
}

function messageOf(trial: EndpointTrial): string {
  assert.ok(trial.kind === 'doubtful', 'the trial finds something');
  return trial.message;
}

test('a tool that is there is found on whichever page it stands, and is not called', async (t) => {
  const { listener, asked } = pagesOf(['a', 'b'], ['c', 'echo']);
  assert.deepEqual(await tryAt(t, mcp(await serve(t, listener))), { kind: 'ok' });
  assert.deepEqual(asked, ['initialize', 'notifications/initialized', 'tools/list', 'tools/list']);
});

test('a tool that is not there is told as that, and none of the others is named', async (t) => {
  const trial = await tryAt(t, mcp(await serve(t, pagesOf(['secret_tool']).listener)));
  assert.ok(trial.kind === 'doubtful' && trial.part === 'tool');
  assert.match(trial.message, /not the name of a tool of that MCP server/);
  assert.doesNotMatch(trial.message, /secret/);
});

test('a server of the stateless era is asked in its own way', async (t) => {
  const { listener } = jsonRpc((method) => {
    if (method === 'initialize') return { error: { code: -32601, message: 'no' } };
    if (method === 'server/discover') return { result: { supportedVersions: ['2026-07-28'] } };
    return { result: { tools: [{ name: 'echo' }] } };
  });
  assert.deepEqual(await tryAt(t, mcp(await serve(t, listener))), { kind: 'ok' });
});

test('a server of the old transport only is told as that, whatever it answers a POST', async (t) => {
  for (const status of [404, 405, 400]) {
    const url = await serve(t, (request, response) => {
      if (request.method !== 'GET') return void response.writeHead(status).end('Cannot POST /sse');
      const server = new Server({ name: 'old', version: '1' }, { capabilities: {} });
      return void server.connect(new SSEServerTransport('/messages', response));
    });
    assert.match(messageOf(await tryAt(t, mcp(`${url}/sse`))), /only the old HTTP\+SSE transport/);
  }
});

test('an event stream that is not of the old transport is not taken for one', async (t) => {
  const url = await serve(t, (request, response) => {
    if (request.method !== 'GET') return void response.writeHead(404).end();
    return void response
      .writeHead(200, { 'content-type': 'text/event-stream' })
      .end('event: news\ndata: 1\n\n');
  });
  assert.match(messageOf(await tryAt(t, mcp(url))), /answers 404/);
});

test('a wrong path is told as that, and nothing the server says is passed on', async (t) => {
  const url = await serve(t, (_request, response) => {
    response.writeHead(404, { 'content-type': 'application/json' }).end('{"message":"internal words"}');
  });
  const missing = messageOf(await tryAt(t, mcp(url)));
  assert.match(missing, /answers 404 to an MCP handshake: its path may be wrong/);
  assert.doesNotMatch(missing, /internal/);

  const page = await serve(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end('<html>internal words</html>');
  });
  const other = messageOf(await tryAt(t, mcp(page)));
  assert.match(other, /does not answer as an MCP server: .*path may be wrong/);
  assert.doesNotMatch(other, /internal/);

  const refusing = await serve(
    t,
    jsonRpc(() => ({ error: { code: -1, message: 'internal words' } })).listener,
  );
  assert.match(
    messageOf(await tryAt(t, mcp(refusing))),
    /^leads to an MCP server that refuses the handshake$/,
  );
});

test('a server that wants credentials is told as that', async (t) => {
  const url = await serve(t, (_request, response) => void response.writeHead(401).end());
  assert.match(messageOf(await tryAt(t, mcp(url))), /answers 401: it wants credentials/);
});

test('a server that never answers does not keep the seller waiting', async (t) => {
  const url = await serve(t, () => {});
  const started = performance.now();
  assert.match(messageOf(await tryAt(t, mcp(url))), /within 4 s/);
  assert.ok(performance.now() - started < 8_000);
});

test('an http agent is connected to, and asked nothing', async (t) => {
  let requests = 0;
  const url = await serve(t, (_request, response) => {
    requests += 1;
    response.end();
  });
  assert.deepEqual(await tryAt(t, { protocol: 'http', url }), { kind: 'ok' });
  assert.equal(requests, 0);
});

test('an agent that is not there is told as that, over either protocol', async (t) => {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await new Promise((resolve) => server.close(resolve));
  assert.match(messageOf(await tryAt(t, { protocol: 'http', url })), /could not be reached: it refused/);
  assert.match(messageOf(await tryAt(t, mcp(url))), /could not be reached: it refused/);
});

test('a private address is not connected to, named or hidden behind a host name', async (t) => {
  let connections = 0;
  const server = createTcpServer(() => (connections += 1)).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const guarded = {
    allowEndpoint: () => false,
    resolve: ((_name, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }])) as NonNullable<
      Parameters<typeof createUpstream>[0]['resolve']
    >,
  };
  for (const host of ['127.0.0.1', 'agents.example']) {
    const url = `https://${host}:${port}/`;
    for (const endpoint of [mcp(url), { protocol: 'http' as const, url }]) {
      assert.match(messageOf(await tryAt(t, endpoint, guarded)), /address/);
    }
  }
  assert.equal(connections, 0);
});
