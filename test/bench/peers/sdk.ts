import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { CallToolRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { serveAsChild } from '../child.ts';

// The official SDK 1.x on both sides, as its documentation builds a stateless server (a new one a request),
// with one client connection to the upstream.
const client = new Client({ name: 'pass-through', version: '1.0.0' });
await client.connect(new StreamableHTTPClientTransport(new URL(process.env['UPSTREAM'] ?? '')));

const http = createServer((request, response) => {
  const server = new Server({ name: 'pass-through', version: '1.0.0' }, { capabilities: { tools: {} } });
  server.setRequestHandler(CallToolRequestSchema, ({ params }) => client.callTool(params));
  const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
  response.on('close', () => void transport.close());
  void server
    .connect(transport as Parameters<Server['connect']>[0])
    .then(() => transport.handleRequest(request, response));
});
http.listen(0, '127.0.0.1', () => {
  serveAsChild({ url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp` });
});
