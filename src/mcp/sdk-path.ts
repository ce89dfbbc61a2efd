import {
  createMcpHandler,
  ProtocolError,
  Server,
  WebStandardStreamableHTTPServerTransport,
} from '@modelcontextprotocol/server';
import { invariant } from '../base/invariant.ts';
import type { JsonObject } from '../base/json.ts';
import type { Log } from '../base/log.ts';
import type { Connection } from './connection.ts';
import type { HotPath, Request as ToolsRequest, Wire } from './hot-path.ts';
import { MAX_STREAMS } from './list-changes.ts';
import type { Message } from './parse-request.ts';

/**
 * Everything but plain `tools/call` and `tools/list`: initialize, server/discover, ping, logging/setLevel,
 * subscriptions/listen, unknown methods, and every refusal the revisions define for headers and envelopes.
 */
export type SdkPath = {
  /** A request that says it is of the modern era, or that cannot say what it is. */
  answer(request: Request, message: Message, connection: Connection, wire: SdkWire): Promise<Response>;
  /** A message of the 2025 era or before, answered with JSON or 202. */
  answerLegacy(request: Request, message: Message): Promise<Response>;
  toolsChanged(): void;
};

/** What a doubtful `tools/call` still needs to know of its request. */
export type SdkWire = Pick<Wire, 'requestId' | 'headers'>;

const INSTRUCTIONS =
  'Each tool is a paid agent; its price and trust score are in the last line of its description. A call is charged only when the agent answers as promised: failed calls are free. Use sentinel_search to find agents that are not listed, sentinel_describe for their schema and price, sentinel_call to call them, and sentinel_budget to see what can be spent.';

/** Stateless: each message is served by an instance of its own, and nothing is left of it afterwards. */
export function createSdkPath(hotPath: HotPath, options: { version: string; log: Log }): SdkPath {
  function createServer(): Server {
    return new Server(
      { name: 'sentinel', title: 'Sentinel', version: options.version },
      { capabilities: { tools: { listChanged: true }, logging: {} }, instructions: INSTRUCTIONS },
    );
  }

  /** For modern requests whose form the hot path was not sure of and that turn out to be good. */
  function createModernServer(connection: Connection, wire: SdkWire): Server {
    const server = createServer();
    for (const method of ['tools/list', 'tools/call'] as const) {
      server.setRequestHandler(method, async (request, { mcpReq }) => {
        const { id, signal } = mcpReq;
        const params = request.params as JsonObject | undefined;
        const message: ToolsRequest = { kind: 'request', id, method, params, body: {} };
        const text = await hotPath.answer(message, connection, {
          ...wire,
          era: 'modern',
          signal,
          onChunk: undefined,
        });
        const answer = JSON.parse(text) as { result: never; error?: { code: number; message: string } };
        if (answer.error) throw new ProtocolError(answer.error.code, answer.error.message);
        return answer.result;
      });
    }
    return server;
  }

  const handler = createMcpHandler(
    ({ authInfo }) => {
      invariant(authInfo?.extra, 'a request reaches the SDK with its connection');
      const { connection, wire } = authInfo.extra as { connection: Connection; wire: SdkWire };
      return createModernServer(connection, wire);
    },
    { legacy: 'reject', maxSubscriptions: MAX_STREAMS },
  );

  return {
    answer: (request, { body }, connection, wire) =>
      handler.fetch(request, {
        parsedBody: body,
        // No token: nothing behind this line needs the credential itself.
        authInfo: { token: '', clientId: connection.caller.keyId, scopes: [], extra: { connection, wire } },
      }),
    async answerLegacy(request, { body }) {
      const server = createServer();
      const transport = new WebStandardStreamableHTTPServerTransport({ enableJsonResponse: true });
      try {
        await server.connect(transport);
        return await transport.handleRequest(request, { parsedBody: body });
      } finally {
        server.close().catch((error: unknown) => {
          options.log('warn', 'a protocol instance did not close', { error: String(error) });
        });
      }
    },
    toolsChanged: () => handler.notify.toolsChanged(),
  };
}
