import { once } from 'node:events';
import type { Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { createMcpHandler, Server } from '@modelcontextprotocol/server';
import type { FixtureResult, FixtureTool } from './fixture-tools.ts';

export type FixtureServer = { url: string; close(): Promise<void> };

/**
 * A seller's MCP server with the suite's tools, on the official SDK 2.x: of both eras, or only of the stateless
 * one when `legacy` says `reject`.
 */
export async function startFixtureServer(
  tools: Record<string, FixtureTool>,
  legacy: 'stateless' | 'reject' = 'stateless',
): Promise<FixtureServer> {
  const handler = createMcpHandler(() => createServer(tools), { legacy });
  const http = createAdaptorServer({ fetch: (request) => handler.fetch(request) }) as HttpServer;
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`,
    close: async () => {
      http.closeAllConnections();
      http.close();
      await once(http, 'close');
    },
  };
}

function createServer(tools: Record<string, FixtureTool>): Server {
  const server = new Server(
    { name: 'conformance-fixture', version: '1.0.0' },
    // Strict: a tool that asks for what the client has not offered is refused at once, and waits for nothing.
    { capabilities: { tools: {}, logging: {} }, enforceStrictCapabilities: true },
  );
  server.setRequestHandler('tools/list', () => ({
    tools: Object.entries(tools).map(([name, { description, inputSchema }]) => ({
      name,
      description,
      inputSchema: { type: 'object' as const, ...inputSchema },
    })),
  }));
  server.setRequestHandler('tools/call', async ({ params }, { mcpReq }) => {
    const tool = tools[params.name];
    if (!tool) throw new Error(`There is no tool ${params.name}.`);
    const progressToken = params._meta?.progressToken;
    const result: FixtureResult = await tool.run(params.arguments ?? {}, {
      progress: async (progress) => {
        if (progressToken === undefined) return;
        await mcpReq.notify({
          method: 'notifications/progress',
          params: { progressToken, progress, total: 100 },
        });
      },
      log: (data) => mcpReq.notify({ method: 'notifications/message', params: { level: 'info', data } }),
      askClient: (kind, message) =>
        kind === 'elicitation'
          ? mcpReq.elicitInput({ message, requestedSchema: { type: 'object', properties: {} } })
          : mcpReq.requestSampling({
              messages: [{ role: 'user', content: { type: 'text', text: message } }],
              maxTokens: 100,
            }),
    });
    // The blocks are whatever a test put into the table; the server passes them on as they are.
    return result as never;
  });
  return server;
}
