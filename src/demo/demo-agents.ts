import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import type { Log } from '../base/log.ts';
import { createDemoApp } from './demo-app.ts';
import { createDocumentFetcher } from './fetch-document.ts';
import { createIsolatedWork } from './isolated-work.ts';
import { readManifests, relocate, type ManifestFile } from './manifests.ts';
import { startMcpServer } from './mcp-server.ts';

export type DemoAgents = {
  /** Every file of `manifests/`, its URLs pointing to where the agents really listen. */
  manifests: ManifestFile[];
  /** Where the agents listen: the demo's own server and the third party's MCP server. */
  origins: { agents: string; mcp: string };
  /** Ends every server, thread and child process. Calls under way are cut off. */
  close(): Promise<void>;
};

/**
 * Starts the agents of `manifests/`: sellers' servers of their own, which know nothing of the gateway. Ports
 * are free ones unless they are given; a given port that is taken fails the start.
 */
export async function startDemoAgents(options: {
  host?: string;
  port?: number;
  mcpPort?: number;
  log: Log;
}): Promise<DemoAgents> {
  const { host = '127.0.0.1', port = 0, mcpPort = 0, log } = options;
  const closing = new AbortController();
  const isolated = createIsolatedWork();
  let ownOrigin = '';
  const fetcher = createDocumentFetcher(() => ownOrigin);
  const files = readManifests();
  const app = createDemoApp({ files, fetcher, isolated, closing: closing.signal, log });
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;

  const closeServer = async () => {
    closing.abort();
    const closed = server.listening ? once(server, 'close') : undefined;
    server.close();
    server.closeAllConnections();
    await Promise.all([closed, fetcher.close(), isolated.close()]);
  };

  try {
    server.listen(port, host);
    await once(server, 'listening');
    ownOrigin = originOf(server);
    const mcp = await startMcpServer({ port: mcpPort, log });
    const origins = { agents: ownOrigin, mcp: mcp.origin };
    return {
      manifests: files.map(({ file, manifest }) => ({ file, manifest: relocate(manifest, origins) })),
      origins,
      close: async () => {
        await Promise.all([closeServer(), mcp.close()]);
      },
    };
  } catch (error) {
    await closeServer();
    throw error;
  }
}

function originOf(server: Server): string {
  const { address, family, port } = server.address() as AddressInfo;
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}
