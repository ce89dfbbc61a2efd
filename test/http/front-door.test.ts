import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { startRestGateway, type RestGateway } from './rest-gateway.ts';

let rest: RestGateway;
before(async () => {
  rest = await startRestGateway({ allowedOrigins: ['https://app.example.com', 'vscode-webview://panel'] });
});
after(() => rest.close());

/** A request exactly as written, header lines and all; answers status, header lines and body. */
async function sendRaw(lines: string[]): Promise<{ status: number; head: string; body: string }> {
  const socket = connect(Number(new URL(rest.url).port), '127.0.0.1');
  socket.write([...lines, 'Connection: close', '', ''].join('\r\n'));
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await once(socket, 'close');
  const [head = '', body = ''] = text.split('\r\n\r\n', 2);
  return { status: Number(head.split(' ')[1]), head: head.toLowerCase(), body };
}

for (const [host, status] of [
  ['localhost', 200],
  ['LOCALHOST:1', 200],
  ['127.0.0.1:8787', 200],
  ['[::1]:8787', 200],
  ['evil.example.com', 403],
  ['localhost.evil.example.com', 403],
  ['localhost.', 403],
  ['127.0.0.1:8787:9', 403],
  ['localhost, evil.example.com', 403],
] as const) {
  test(`a request addressed to ${host} is answered with ${status}`, async () => {
    const { status: got, body } = await sendRaw(['GET /health HTTP/1.1', `Host: ${host}`]);
    // What is no host name at all never gets past the HTTP server, which answers 400.
    if (status === 403 && got === 400) return;
    assert.equal(got, status);
    if (status === 403) assert.match(body, /"code":"HOST_NOT_ALLOWED"/);
  });
}

test('two Host headers are refused, whichever comes first', async () => {
  for (const hosts of [
    ['localhost', 'evil.example.com'],
    ['evil.example.com', 'localhost'],
    ['localhost', 'localhost'],
  ]) {
    const { status } = await sendRaw(['GET /health HTTP/1.1', ...hosts.map((host) => `Host: ${host}`)]);
    assert.ok(status === 403 || status === 400, `${hosts.join()} answered ${status}`);
  }
});

for (const [origin, status] of [
  ['https://app.example.com', 200],
  ['vscode-webview://panel', 200],
  ['http://localhost:5173', 200],
  ['null', 403],
  ['https://app.example.com.evil.com', 403],
  ['http://app.example.com', 403],
  ['https://evil.example.com', 403],
  ['http://localhost.evil.com', 403],
  ['', 403],
] as const) {
  test(`a page of the origin "${origin}" is answered with ${status}`, async () => {
    const answer = await sendRaw(['GET /health HTTP/1.1', 'Host: localhost', `Origin: ${origin}`]);
    assert.equal(answer.status, status);
    assert.equal(answer.head.includes('access-control-allow-origin'), status === 200);
  });
}

test('two Origin headers are refused even when both are allowed', async () => {
  const origins = ['Origin: https://app.example.com', 'Origin: http://localhost:5173'];
  assert.equal((await sendRaw(['GET /health HTTP/1.1', 'Host: localhost', ...origins])).status, 403);
});

test('a preflight names the headers a host may send, and a tool its own', async () => {
  const { status, headers } = await rest.send('OPTIONS', '/mcp', {
    headers: {
      origin: 'https://app.example.com',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization, mcp-param-city, x-evil',
    },
  });
  assert.equal(status, 204);
  const allowed = headers.get('access-control-allow-headers')?.toLowerCase().split(', ') ?? [];
  for (const name of ['authorization', 'mcp-protocol-version', 'mcp-session-id', 'last-event-id']) {
    assert.ok(allowed.includes(name), name);
  }
  assert.ok(allowed.includes('mcp-param-city'));
  assert.ok(!allowed.includes('x-evil'));
  const methods = headers.get('access-control-allow-methods')?.split(', ').sort();
  assert.deepEqual(methods, ['DELETE', 'GET', 'OPTIONS', 'PATCH', 'POST', 'PUT']);
  assert.equal(headers.get('access-control-allow-origin'), 'https://app.example.com');
  assert.match(headers.get('vary') ?? '', /Origin/);
  assert.match(headers.get('access-control-expose-headers') ?? '', /Mcp-Session-Id/);
});

test('every answer carries a request id, and a refusal repeats it in its body', async () => {
  for (const path of ['/health', '/nope', '/v1/calls', '/mcp', '/docs', '/health?token=x']) {
    const { headers, body } = await rest.send('GET', path);
    const id = headers.get('x-request-id');
    assert.match(id ?? '', /^req_[0-9a-f]{32}$/, path);
    if (body?.request_id !== undefined) assert.equal(body.request_id, id, path);
  }
});

test("a client's own request id is kept where it is harmless, and replaced where it is not", async () => {
  const kept = await rest.send('GET', '/nope', { headers: { 'x-request-id': 'trace-7.A_1' } });
  assert.equal(kept.headers.get('x-request-id'), 'trace-7.A_1');
  assert.equal(kept.body.request_id, 'trace-7.A_1');
  for (const bad of ['a b', '<script>', 'x'.repeat(129), 'é']) {
    const { headers } = await rest.send('GET', '/health', { headers: { 'x-request-id': bad } });
    assert.match(headers.get('x-request-id') ?? '', /^req_/, bad);
  }
});

test('a key in the query is refused everywhere and repeated nowhere', async () => {
  const secret = 'sk_live_0123456789abcdef0123456789abcdef01234567';
  for (const query of [
    `api_key=${secret}`,
    `key=x`,
    `token=x`,
    `access_token=x`,
    `q=${secret}`,
    `${secret}=1`,
  ]) {
    for (const path of ['/health', '/v1/agents/search', '/mcp', '/nope']) {
      const { status, text, body } = await rest.send('GET', `${path}?${query}`);
      assert.equal(status, 400, `${path}?${query}`);
      assert.equal(body.code, 'INVALID_INPUT');
      assert.ok(!text.includes(secret));
    }
  }
});

test('an unknown address is a real 404, also under /.well-known', async () => {
  for (const path of ['/nope', '/v1', '/v1/agent', '/.well-known/oauth-protected-resource', '/docs/../x']) {
    const { status, headers, body } = await rest.send('GET', path);
    assert.equal(status, 404, path);
    assert.equal(headers.get('content-type'), 'application/problem+json');
    assert.equal(body.code, 'NOT_FOUND');
  }
});

test('a method that is not offered is a 405 that names those that are', async () => {
  for (const [method, path, allow] of [
    ['POST', '/health', 'GET, HEAD'],
    ['PATCH', '/v1/agents', 'GET, HEAD, POST'],
    ['GET', '/v1/agents/agt_echo_v1/invoke', 'POST'],
    ['GET', '/v1/agents/agt_echo_v1/suspension', 'DELETE, PUT'],
  ] as const) {
    const { status, headers, body } = await rest.send(method, path);
    assert.equal(status, 405, path);
    assert.equal(headers.get('allow'), allow);
    assert.equal(body.code, 'METHOD_NOT_ALLOWED');
  }
});

test('nothing is cached that does not say so', async () => {
  assert.equal((await rest.send('GET', '/health')).headers.get('cache-control'), 'no-store');
  const keys = await rest.send('GET', '/.well-known/jwks.json');
  assert.equal(keys.headers.get('cache-control'), 'public, max-age=300');
});
