import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import type { AddressInfo } from 'node:net';
import { Pool } from 'undici';
import { serveAsChild } from '../child.ts';

// The least a gateway can do: parse, see that it is a call, forward it through a pool, answer.
const upstream = new URL(process.env['UPSTREAM'] ?? '');
const pool = new Pool(upstream.origin, { connections: 256 });
const app = new Hono();
app.post('/mcp', async (c) => {
  const message = JSON.parse(await c.req.text()) as { jsonrpc: string; id: unknown; method: string };
  if (message.jsonrpc !== '2.0' || message.method !== 'tools/call') return c.body(null, 400);
  const answer = await pool.request({
    path: upstream.pathname,
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify(message),
  });
  return c.body(await answer.body.text(), 200, { 'content-type': 'application/json' });
});

const server = createAdaptorServer({ fetch: app.fetch });
server.listen(0, '127.0.0.1', () => {
  serveAsChild({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp` });
});
