import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { serve } from '@hono/node-server';
import { Server as SessionServer } from '@modelcontextprotocol/sdk/server/index.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { CallToolRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { Server, createMcpHandler } from '@modelcontextprotocol/server';

type Block = { type: 'text'; text: string } | { type: 'image'; data: string; mimeType: string };
type ToolResult = { content: Block[]; structuredContent?: Record<string, unknown>; isError?: boolean };

/** What a tool may use while it runs. */
export type ToolContext = { signal: AbortSignal; progress: (message?: string) => Promise<void> };
export type Tool = (args: Record<string, unknown>, context: ToolContext) => Promise<ToolResult> | ToolResult;

export type McpServer = {
  url: string;
  /** How often the session was initialized. */
  handshakes(): number;
  /** What a restart does to sessions. */
  forgetSessions(): void;
};

/** A stateful Streamable HTTP server on the official SDK 1.x: sessions, answers as event streams or as JSON. */
export async function startSessionServer(
  t: TestContext,
  tools: Record<string, Tool>,
  options: { json?: boolean; lostSession?: number } = {},
): Promise<McpServer> {
  const sessions = new Map<string, StreamableHTTPServerTransport>();
  let handshakes = 0;

  async function openSession(): Promise<StreamableHTTPServerTransport> {
    handshakes++;
    const server = new SessionServer({ name: 'fixture', version: '1' }, { capabilities: { tools: {} } });
    server.setRequestHandler(CallToolRequestSchema, async (request, extra) => {
      const token = request.params._meta?.progressToken;
      let progress = 0;
      const context = {
        signal: extra.signal,
        async progress(message?: string) {
          if (token === undefined) return;
          const params = {
            progressToken: token,
            progress: ++progress,
            total: 10,
            ...(message && { message }),
          };
          await extra.sendNotification({ method: 'notifications/progress', params });
        },
      };
      return runTool(tools, request.params.name, request.params.arguments ?? {}, context);
    });
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      enableJsonResponse: options.json ?? false,
      onsessioninitialized: (id) => void sessions.set(id, transport),
    });
    await server.connect(transport);
    return transport;
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const id = request.headers['mcp-session-id'];
    const session = typeof id === 'string' ? sessions.get(id) : await openSession();
    if (session) return session.handleRequest(request, response);
    const error = { code: -32_000, message: 'Bad Request: No valid session ID provided' };
    // 404 says it all (2025-11-25, Transports, Session Management); those who answer 400 explain themselves.
    if (options.lostSession !== 400) return void response.writeHead(404).end();
    response.writeHead(400, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', error, id: null }));
  }

  const http = createServer((request, response) => void handle(request, response));
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  t.after(() => {
    http.closeAllConnections();
    http.close();
  });
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`,
    handshakes: () => handshakes,
    forgetSessions: () => sessions.clear(),
  };
}

/** A server on the official SDK 2.x: of both eras, or of the stateless one only. */
export async function startStatelessServer(
  t: TestContext,
  tools: Record<string, Tool>,
  legacy: 'reject' | 'stateless',
): Promise<{ url: string; requests: Request[] }> {
  const requests: Request[] = [];
  const handler = createMcpHandler(
    () => {
      const server = new Server({ name: 'fixture', version: '1' }, { capabilities: { tools: {} } });
      server.setRequestHandler('tools/call', async (request, context) => {
        const token = request.params._meta?.progressToken;
        let progress = 0;
        return runTool(tools, request.params.name, request.params.arguments ?? {}, {
          signal: context.mcpReq.signal,
          async progress(message?: string) {
            if (token === undefined) return;
            const params = {
              progressToken: token,
              progress: ++progress,
              total: 10,
              ...(message && { message }),
            };
            await context.mcpReq.notify({ method: 'notifications/progress', params });
          },
        });
      });
      return server;
    },
    { legacy },
  );
  const fetch = (request: Request) => {
    requests.push(request);
    return handler.fetch(request);
  };
  const http = serve({ fetch, port: 0, hostname: '127.0.0.1' });
  await once(http, 'listening');
  t.after(async () => {
    await handler.close();
    http.close();
  });
  return { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`, requests };
}

async function runTool(
  tools: Record<string, Tool>,
  name: string,
  args: Record<string, unknown>,
  context: ToolContext,
): Promise<ToolResult> {
  const tool = tools[name];
  if (!tool) throw new Error(`no tool ${name}`);
  return tool(args, context);
}
