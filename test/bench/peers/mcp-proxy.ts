import { createServer, type AddressInfo } from 'node:net';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Server } from '@modelcontextprotocol/server';
import { proxyServer, startHTTPServer } from 'mcp-proxy';
import { serveAsChild } from '../child.ts';

// The npm package as a library, the way its README connects a server to an HTTP upstream.
const client = new Client({ name: 'mcp-proxy', version: '1.0.0' });
await client.connect(new StreamableHTTPClientTransport(new URL(process.env['UPSTREAM'] ?? '')));
const serverCapabilities = client.getServerCapabilities() ?? {};
const serverVersion = client.getServerVersion() ?? { name: 'mcp-proxy', version: '1.0.0' };

const port = await freePort();
await startHTTPServer({
  createServer: async () => {
    const server = new Server(serverVersion, { capabilities: serverCapabilities });
    await proxyServer({ client, server, serverCapabilities });
    return server;
  },
  host: '127.0.0.1',
  port,
  stateless: true,
  enableJsonResponse: true,
});
serveAsChild({ url: `http://127.0.0.1:${port}/mcp` });

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const found = (probe.address() as AddressInfo).port;
      probe.close(() => resolve(found));
    });
  });
}
