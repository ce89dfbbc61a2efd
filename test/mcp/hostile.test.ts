import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { markRevoked } from '../../src/identity/keys.ts';
import {
  manifestOf,
  startSeller,
  startTestGateway,
  type Buyer,
  type TestGateway,
  type TestSeller,
} from '../support/gateway.ts';
import {
  CALL,
  HOSTILE,
  MOST_BYTES,
  MODERN_CALL,
  MODERN_HEADERS,
  params,
  type HostileRequest,
} from './hostile-requests.ts';

let gateway: TestGateway;
let seller: TestSeller;
let buyer: Buyer;

before(async () => {
  seller = await startSeller((input) => ({ text: String(input['text']) }));
  gateway = await startTestGateway();
  await gateway.publish(manifestOf('echo', seller.url));
  buyer = await gateway.newBuyer();
});

after(async () => {
  await gateway?.close();
  await seller?.close();
});

for (const row of HOSTILE) {
  test(`${row.title} is refused before any upstream call, and no money moves`, async () => {
    const before = { requests: seller.requests, balance: await gateway.balanceOf(buyer) };
    const response = await send(row);
    const text = await response.text();
    assert.equal(response.status, row.status, text.slice(0, 300));
    if (row.code === undefined) {
      assert.equal(text, '');
    } else {
      assert.match(response.headers.get('content-type') ?? '', /^application\/(problem\+)?json/);
      const answer = JSON.parse(text) as Answer;
      assert.equal(codeOf(answer), row.code, text.slice(0, 300));
      if ('id' in row) assert.equal(answer.id, row.id);
      if (row.message) assert.match(answer.error?.message ?? '', row.message);
    }
    if (response.status === 401)
      assert.equal(response.headers.get('www-authenticate'), 'Bearer realm="sentinel"');
    assert.equal(text.includes('sk_live_'), response.status === 401 && text.includes('sk_live_…'));
    assert.equal(seller.requests, before.requests);
    assert.deepEqual(await gateway.balanceOf(buyer), before.balance);
  });
}

test('the message behind every row is a good one', async () => {
  const before = seller.requests;
  const plain = await send({ title: '', body: CALL, status: 200 });
  assert.equal(codeOf((await plain.json()) as Answer), undefined);
  const modern = await send({ title: '', body: MODERN_CALL, headers: MODERN_HEADERS, status: 200 });
  const answer = (await modern.json()) as Answer;
  assert.equal(codeOf(answer), undefined);
  assert.equal(answer.result?.resultType, 'complete');
  assert.equal(seller.requests, before + 2);
});

test('a tool named in the header in Base64 is called, once for its idempotency key', async () => {
  const before = seller.requests;
  const name = `=?base64?${Buffer.from('sentinel_agt_echo_v1').toString('base64')}?=`;
  const headers = { ...MODERN_HEADERS, 'mcp-name': name, 'idempotency-key': 'base64-name-0001' };
  for (const isReplay of [undefined, true]) {
    const response = await send({ title: '', body: MODERN_CALL, headers, status: 200 });
    const answer = (await response.json()) as Answer;
    assert.deepEqual(answer.result?.structuredContent, { text: 'a' });
    assert.equal(answer.result?._meta?.['xyz.sentinel/replay'], isReplay);
  }
  assert.equal(seller.requests, before + 1);
});

test('a body that grows beyond what any agent takes, in chunks and without a length, is refused while it arrives', async () => {
  const before = await gateway.balanceOf(buyer);
  const { port } = new URL(gateway.url);
  const socket = connect(Number(port), '127.0.0.1');
  const answer = new Promise<string>((resolve) => socket.once('data', (data) => resolve(data.toString())));
  socket.on('error', () => {});
  socket.write(
    `POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${buyer.key}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
  );
  const chunk = Buffer.alloc(64 * 1024, 0x20);
  for (let sent = 0; sent <= MOST_BYTES; sent += chunk.length) {
    socket.write(`${chunk.length.toString(16)}\r\n`);
    socket.write(chunk);
    socket.write('\r\n');
  }
  assert.match(await answer, /^HTTP\/1\.1 413 /);
  socket.destroy();
  assert.deepEqual(await gateway.balanceOf(buyer), before);
});

test('a key that is revoked stops working with its next request', async () => {
  const doomed = await gateway.newKey(buyer);
  const row = { title: '', body: CALL, headers: doomed.headers, status: 200 };
  assert.equal((await send(row)).status, 200);
  await gateway.database.db.transaction((tx) => markRevoked(tx, doomed.keyId, undefined));
  gateway.authenticator.forget(doomed.keyId);
  assert.equal((await send(row)).status, 401);
});

for (const [method, status] of [
  ['PUT', 405],
  ['PATCH', 405],
  ['GET', 405],
  ['DELETE', 200],
] as const) {
  test(`${method} runs nothing`, async () => {
    const before = await gateway.balanceOf(buyer);
    const response = await fetch(gateway.url, { method, headers: buyer.headers });
    assert.equal(response.status, status);
    if (status === 405) assert.equal(response.headers.get('allow'), 'GET, POST');
    await response.text();
    assert.deepEqual(await gateway.balanceOf(buyer), before);
  });
}

test('a session id and a Last-Event-ID of somebody else change nothing', async () => {
  const headers = { 'mcp-session-id': 'forged', 'last-event-id': '42' };
  const response = await send({ title: '', body: CALL, headers, status: 200 });
  assert.equal(codeOf((await response.json()) as Answer), undefined);
});

test('what was authorised is what is forwarded, byte for byte', async () => {
  const text = 'é\u0000\ud83d\ude00\u202e__proto__ "\\" \u2028';
  const response = await send({ title: '', body: params({ arguments: { text } }), status: 200 });
  const answer = (await response.json()) as Answer;
  assert.deepEqual(answer.result?.structuredContent, { text });
});

type Answer = {
  id?: unknown;
  code?: string;
  error?: { code: number; message: string };
  result?: {
    structuredContent?: unknown;
    resultType?: string;
    _meta?: { 'xyz.sentinel/error'?: { code: string }; 'xyz.sentinel/replay'?: boolean };
  };
};

function codeOf(answer: Answer): number | string | undefined {
  return answer.error?.code ?? answer.code ?? answer.result?._meta?.['xyz.sentinel/error']?.code;
}

function send({ body, headers, query }: HostileRequest): Promise<Response> {
  const isRaw = typeof body === 'string' || body instanceof Uint8Array;
  return fetch(`${gateway.url}${query ?? ''}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...buyer.headers,
      ...headers,
    },
    body: isRaw ? (body as string) : JSON.stringify(body),
  });
}
