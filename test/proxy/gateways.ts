import { randomUUID } from 'node:crypto';
import type { Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import { Server as StatelessServer, createMcpHandler } from '@modelcontextprotocol/server';
import { Server as SessionServer } from '@modelcontextprotocol/sdk/server/index.js';
import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js';
import { CallToolRequestSchema, ListToolsRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { KEY } from './raw-host.ts';

/** One HTTP request as the gateway saw it. */
export type Seen = { verb: string; headers: Headers; text: string; method: string | undefined };

/** A small real MCP server that wants the key, standing where the gateway would. */
export type TestGateway = {
  url: string;
  port: number;
  seen: Seen[];
  /** Resolves when a running `hang` call was cancelled. */
  hangCancelled: Promise<void>;
  /** Resolves when a `hang` call is running. */
  hangStarted: Promise<void>;
  /**
   * Lets `count` answer. Clients of SDK 1.x and 2.x (2.4.0, `_onresponse`) forget the progress handler the moment
   * the result is read, before they have called it for steps that came in the same read: those are "for an unknown
   * token". Which lines a pipe hands over in one read nobody can promise, so whoever counts steps says that it has
   * them. That the proxy itself keeps their order is asked of a host that reads lines, in outage.test.ts.
   */
  stepsHeard: () => void;
  close: () => Promise<void>;
};

type Hooks = { hangStarted(): void; hangCancelled(): void; stepsHeard: Promise<void> };
type Answer = (request: Request) => Promise<Response> | Response;

const TOOLS = ['echo', 'count', 'hang', 'grow', 'ask'].map((name) => ({
  name,
  description: `${name}. Cost: ${name.length} credits ($0.0${name.length}) per successful call; failed calls are free.`,
  inputSchema: { type: 'object' as const },
}));

/** The SDK of the revisions up to 2025-11-25, with sessions and a stream on which the server speaks unasked. */
export function startSessionGateway(options: { port?: number } = {}): Promise<TestGateway> {
  return startGateway(options, (hooks) => {
    const sessions = new Map<string, WebStandardStreamableHTTPServerTransport>();
    return async (request) => {
      const id = request.headers.get('mcp-session-id');
      if (id !== null) {
        return (
          (await sessions.get(id)?.handleRequest(request)) ??
          Response.json(
            { jsonrpc: '2.0', id: null, error: { code: -32001, message: 'Session not found' } },
            { status: 404 },
          )
        );
      }
      const transport = new WebStandardStreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: (session) => void sessions.set(session, transport),
      });
      await sessionServer(hooks).connect(transport);
      return transport.handleRequest(request);
    };
  });
}

/** The SDK of 2026-07-28, which serves the older revisions without a session from the same factory. */
export function startStatelessGateway(options: { port?: number } = {}): Promise<TestGateway> {
  return startGateway(options, (hooks) => {
    const handler = createMcpHandler(() => statelessServer(hooks, () => handler.notify.toolsChanged()));
    return (request) => handler.fetch(request);
  });
}

/** A gateway that answers exactly what a test tells it to. */
export function startScriptedGateway(answer: Answer, options: { port?: number } = {}): Promise<TestGateway> {
  return startGateway(options, () => answer);
}

async function startGateway(
  options: { port?: number },
  build: (hooks: Hooks) => Answer,
): Promise<TestGateway> {
  const started = Promise.withResolvers<void>();
  const cancelled = Promise.withResolvers<void>();
  const heard = Promise.withResolvers<void>();
  const answer = build({
    hangStarted: started.resolve,
    hangCancelled: cancelled.resolve,
    stepsHeard: heard.promise,
  });
  const seen: Seen[] = [];

  const server = serve({
    hostname: '127.0.0.1',
    port: options.port ?? 0,
    fetch: async (request: Request) => {
      const text = await request.clone().text();
      const method = /"method":"([^"]+)"/.exec(text)?.[1];
      seen.push({ verb: request.method, headers: request.headers, text, method });
      if (request.headers.get('authorization') !== `Bearer ${KEY}`)
        return new Response('{"code":"UNAUTHENTICATED"}', { status: 401 });
      return answer(request);
    },
  }) as HttpServer;
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    port,
    seen,
    hangStarted: started.promise,
    hangCancelled: cancelled.promise,
    stepsHeard: heard.resolve,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The numbers a JSON parser would round come back as they were sent only when nobody reprinted them. */
function echo(args: unknown): { content: { type: 'text'; text: string }[] } {
  return { content: [{ type: 'text', text: JSON.stringify(args ?? {}) }] };
}

function sessionServer(hooks: Hooks): SessionServer {
  const server = new SessionServer(
    { name: 'session-gateway', version: '1.0.0' },
    { capabilities: { tools: { listChanged: true } } },
  );
  server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: TOOLS }));
  server.setRequestHandler(
    CallToolRequestSchema,
    async ({ params }, { signal, sendNotification, sendRequest }) => {
      const token = params._meta?.progressToken;
      switch (params.name) {
        case 'count':
          for (let progress = 1; progress <= (token === undefined ? 0 : 3); progress += 1) {
            await sendNotification({
              method: 'notifications/progress',
              params: { progressToken: token, progress, message: `step ${progress}` },
            });
          }
          await hooks.stepsHeard;
          return echo(params.arguments);
        case 'hang':
          await hang(signal, hooks);
          return echo({});
        case 'grow':
          await server.sendToolListChanged();
          return echo({});
        case 'ask': {
          const { ElicitResultSchema } = await import('@modelcontextprotocol/sdk/types.js');
          const requestedSchema = {
            type: 'object' as const,
            properties: { name: { type: 'string' as const } },
          };
          const answer = await sendRequest(
            { method: 'elicitation/create', params: { message: 'Who?', requestedSchema } },
            ElicitResultSchema,
          );
          return echo(answer.content);
        }
        default:
          return echo(params.arguments);
      }
    },
  );
  return server;
}

function statelessServer(hooks: Hooks, toolsChanged: () => void): StatelessServer {
  const server = new StatelessServer(
    { name: 'stateless-gateway', version: '1.0.0' },
    { capabilities: { tools: { listChanged: true } } },
  );
  server.setRequestHandler('tools/list', () => ({ tools: TOOLS, ttlMs: 0, cacheScope: 'private' }));
  server.setRequestHandler('tools/call', async ({ params }, { mcpReq }) => {
    const token = params._meta?.progressToken;
    switch (params.name) {
      case 'count':
        for (let progress = 1; progress <= (token === undefined ? 0 : 3); progress += 1) {
          await mcpReq.notify({
            method: 'notifications/progress',
            params: { progressToken: token, progress, message: `step ${progress}` },
          });
        }
        await hooks.stepsHeard;
        return echo(params.arguments);
      case 'hang':
        await hang(mcpReq.signal, hooks);
        return echo({});
      case 'grow':
        toolsChanged();
        return echo({});
      default:
        return echo(params.arguments);
    }
  });
  return server;
}

function hang(signal: AbortSignal, hooks: Hooks): Promise<void> {
  hooks.hangStarted();
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => {
      hooks.hangCancelled();
      resolve();
    });
  });
}
