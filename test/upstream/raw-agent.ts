import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { createUpstream } from '../../src/upstream/node-upstream.ts';
import type { UpstreamOptions } from '../../src/upstream/node-upstream.ts';
import type { Endpoint, Upstream, UpstreamOutcome, UpstreamRequest } from '../../src/upstream/upstream.ts';

/** One request as it came over the wire. */
export type RawRequest = { head: string; body: string; socket: Socket };

export type RawAgent = {
  url: string;
  origin: string;
  /** Every request that arrived whole. */
  requests: RawRequest[];
  sockets: Socket[];
};

/** An agent that says exactly the bytes a test wants, over TCP. It lives as long as the test. */
export async function startRawAgent(
  t: TestContext,
  answer: (request: RawRequest) => void,
): Promise<RawAgent> {
  const requests: RawRequest[] = [];
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    let received = '';
    socket.setEncoding('latin1');
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      received += String(chunk);
      for (;;) {
        const headEnd = received.indexOf('\r\n\r\n');
        if (headEnd < 0) return;
        const head = received.slice(0, headEnd);
        const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
        if (received.length < headEnd + 4 + length) return;
        const body = received.slice(headEnd + 4, headEnd + 4 + length);
        received = received.slice(headEnd + 4 + length);
        const request = { head, body, socket };
        requests.push(request);
        answer(request);
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url: `${origin}/run`, origin, requests, sockets };
}

/** Waits until the gateway's side of a connection is gone, by whatever end. */
export async function closed(socket: Socket): Promise<void> {
  if (!socket.destroyed) await new Promise((resolve) => socket.once('close', resolve));
}

/** An answer with a length, so that the connection can be used again. */
export function httpAnswer(status: number, headers: Record<string, string>, body: string | Buffer): Buffer {
  const bytes = Buffer.from(body);
  const lines = Object.entries({ 'content-length': String(bytes.length), ...headers });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return Buffer.concat([Buffer.from(`HTTP/1.1 ${status} X\r\n${head}\r\n`), bytes]);
}

export function jsonAnswer(value: unknown, headers: Record<string, string> = {}): Buffer {
  return httpAnswer(200, { 'content-type': 'application/json', ...headers }, JSON.stringify(value));
}

/** The head of a chunked event stream; `sseChunk` and `SSE_END` follow. */
export const SSE_HEAD =
  'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
export const SSE_END = '0\r\n\r\n';
export function sseChunk(text: string | Buffer): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);
}

export type TestUpstream = Upstream & {
  /** Prepares and sends. */
  invoke(request: UpstreamRequest): Promise<UpstreamOutcome>;
};

/** An upstream that may call loopback, closed with the test. */
export function openUpstream(t: TestContext, options: Partial<UpstreamOptions> = {}): TestUpstream {
  const upstream = createUpstream({ allowEndpoint: () => true, log: silentLog, ...options });
  t.after(() => upstream.close());
  return { ...upstream, invoke: async (request) => upstream.prepare(request).send() };
}

let calls = 0;

/** A request with everything a test does not care about filled in. */
export function requestTo(endpoint: Endpoint, rest: Partial<UpstreamRequest> = {}): UpstreamRequest {
  calls++;
  return {
    endpoint,
    input: { question: 'how?' },
    callId: `call_${calls}`,
    requestId: `req_${calls}`,
    organizationId: 'org_1',
    isOutputPromised: false,
    timeoutMs: 5_000,
    maxBytes: 1_000_000,
    signal: new AbortController().signal,
    ...rest,
  };
}

/** What an outcome is called, with the words that matter to the table a test is. */
export function summary(outcome: UpstreamOutcome): string {
  return 'detail' in outcome ? `${outcome.kind}: ${outcome.detail}` : outcome.kind;
}
