import {
  createMcpHandler,
  ProtocolError,
  Server,
  WebStandardStreamableHTTPServerTransport,
} from '@modelcontextprotocol/server';
import { randomUUID } from 'node:crypto';
import { isRawNumber, parseJsonExactly } from '../base/exact-json.ts';
import { invariant } from '../base/invariant.ts';
import type { JsonObject } from '../base/json.ts';
import type { Log } from '../base/log.ts';
import type { Connection } from './connection.ts';
import type { HotPath, Request as ToolsRequest, Wire } from './hot-path.ts';
import { MAX_STREAMS } from './list-changes.ts';
import type { Message } from './parse-request.ts';
import { MODERN_VERSION } from './revision.ts';

/**
 * Everything but plain `tools/call` and `tools/list`: initialize, server/discover, ping, logging/setLevel,
 * subscriptions/listen, unknown methods, and every refusal the revisions define for headers and envelopes.
 */
export type SdkPath = {
  /** A request that says it is of the modern era, or that cannot say what it is. */
  answer(request: Request, message: SdkMessage, connection: Connection, wire: SdkWire): Promise<Response>;
  /** A message of the 2025 era or before, answered with JSON or 202. */
  answerLegacy(request: Request, message: SdkMessage): Promise<Response>;
  toolsChanged(): void;
};

/**
 * The body as the SDK takes it, and its answer's text as the client knows it: an id that no double holds goes through
 * the SDK as a text that occurs nowhere else.
 */
export function standInForId({ body, ...message }: Message): {
  body: JsonObject;
  restore: (text: string) => string;
} {
  if (message.kind === 'notification' || !isRawNumber(message.id)) return { body, restore: (text) => text };
  const standIn = randomUUID();
  const { rawJSON } = message.id;
  return { body: { ...body, id: standIn }, restore: (text) => text.replaceAll(`"${standIn}"`, rawJSON) };
}

export type SdkMessage = Pick<Message, 'body' | 'exactParams'>;

/** What a doubtful `tools/call` still needs to know of its request. */
export type SdkWire = Pick<Wire, 'requestId' | 'headers'>;

type Extra = { connection: Connection; wire: SdkWire; exactParams: JsonObject | undefined };

const INSTRUCTIONS =
  'Each tool is a paid agent; its price and trust score are in the last line of its description. A call is charged only when the agent answers as promised: failed calls are free. Use sentinel_search to find agents that are not listed, sentinel_describe for their schema and price, sentinel_call to call them, and sentinel_budget to see what can be spent.';

/** Stateless: each message is served by an instance of its own, and nothing is left of it afterwards. */
export function createSdkPath(hotPath: HotPath, options: { version: string; log: Log }): SdkPath {
  function createServer(): Server {
    const server = new Server(
      { name: 'sentinel', title: 'Sentinel', version: options.version },
      {
        capabilities: { tools: { listChanged: true }, resources: {}, logging: {} },
        instructions: INSTRUCTIONS,
      },
    );
    // Resources can be read that an answer links to, and there is no list of those.
    server.setRequestHandler('resources/list', () => ({ resources: [] }));
    server.setRequestHandler('resources/templates/list', () => ({ resourceTemplates: [] }));
    return server;
  }

  /** For modern requests whose form the hot path was not sure of and that turn out to be good. */
  function createModernServer({ connection, wire, exactParams }: Extra): Server {
    const server = createServer();
    for (const method of ['tools/list', 'tools/call', 'resources/read'] as const) {
      server.setRequestHandler(method, async (request, { mcpReq }) => {
        const { id, signal } = mcpReq;
        const params = request.params as JsonObject | undefined;
        const message: ToolsRequest = { kind: 'request', id, method, params, exactParams, body: {} };
        const text = await hotPath.answer(message, connection, {
          ...wire,
          era: 'modern',
          revision: MODERN_VERSION,
          signal,
          onChunk: undefined,
        });
        const answer = parseJsonExactly(text) as unknown as {
          result: never;
          error?: { code: number; message: string; data?: unknown };
        };
        if (answer.error) throw new ProtocolError(answer.error.code, answer.error.message, answer.error.data);
        return answer.result;
      });
    }
    return server;
  }

  const handler = createMcpHandler(
    ({ authInfo }) => {
      invariant(authInfo?.extra, 'a request reaches the SDK with its connection');
      return createModernServer(authInfo.extra as Extra);
    },
    { legacy: 'reject', maxSubscriptions: MAX_STREAMS },
  );

  return {
    answer: (request, { body, exactParams }, connection, wire) =>
      handler.fetch(request, {
        parsedBody: body,
        // No token: nothing behind this line needs the credential itself.
        authInfo: {
          token: '',
          clientId: connection.caller.keyId,
          scopes: [],
          extra: { connection, wire, exactParams } satisfies Extra,
        },
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
