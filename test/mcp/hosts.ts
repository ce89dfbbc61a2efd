import * as sdk2 from '@modelcontextprotocol/client';
import { Client as Client1 } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CallToolResultSchema, ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

/** A `tools/call` result, as far as these tests look into it. */
export type HostResult = {
  content: { type: string; text?: string }[];
  structuredContent?: Record<string, unknown>;
  isError?: boolean;
  _meta?: Record<string, unknown>;
};

export type HostTool = {
  name: string;
  description?: string;
  inputSchema: object;
  outputSchema?: object;
  annotations?: object;
  _meta?: Record<string, unknown>;
};

/** A real client of one of the official SDKs. */
export type Host = {
  version(): string | undefined;
  listTools(cursor?: string): Promise<{ tools: HostTool[]; nextCursor?: string }>;
  callTool(
    name: string,
    input: object,
    options?: {
      onprogress?: (message: string, progress: number) => void;
      signal?: AbortSignal;
      meta?: object;
    },
  ): Promise<HostResult>;
  listResources(): Promise<{ resources: unknown[] }>;
  readResource(uri: string): Promise<{ contents: object[] }>;
  ping(): Promise<unknown>;
  onListChanged(listener: () => void): Promise<void>;
  close(): Promise<void>;
};

export const HOST_KINDS = ['SDK 1.x', 'SDK 1.x over old SSE', 'SDK 2.x legacy', 'SDK 2.x modern'] as const;
export type HostKind = (typeof HOST_KINDS)[number];

const INFO = { name: 'test-host', version: '1.0.0' };

export async function connectHost(
  kind: HostKind,
  url: string,
  headers: Record<string, string>,
): Promise<Host> {
  return kind === 'SDK 1.x' || kind === 'SDK 1.x over old SSE'
    ? connectFirst(kind, new URL(url), headers)
    : connectSecond(kind, new URL(url), headers);
}

async function connectFirst(kind: HostKind, url: URL, headers: Record<string, string>): Promise<Host> {
  const client = new Client1(INFO);
  const transport =
    kind === 'SDK 1.x'
      ? new StreamableHTTPClientTransport(url, { requestInit: { headers } })
      : new SSEClientTransport(url, { requestInit: { headers } });
  await client.connect(transport);
  return {
    version: () =>
      transport instanceof StreamableHTTPClientTransport ? transport.protocolVersion : '2024-11-05',
    listTools: async (cursor) => (await client.listTools(cursor === undefined ? {} : { cursor })) as never,
    callTool: async (name, input, options = {}) =>
      (await client.callTool(
        { name, arguments: { ...input }, ...(options.meta ? { _meta: { ...options.meta } } : {}) },
        CallToolResultSchema,
        requestOptions(options),
      )) as HostResult,
    listResources: () => client.listResources(),
    readResource: (uri) => client.readResource({ uri }),
    ping: () => client.ping(),
    onListChanged: (listener) => {
      client.setNotificationHandler(ToolListChangedNotificationSchema, listener);
      return Promise.resolve();
    },
    close: () => client.close(),
  };
}

async function connectSecond(kind: HostKind, url: URL, headers: Record<string, string>): Promise<Host> {
  const isModern = kind === 'SDK 2.x modern';
  const client = new sdk2.Client(INFO, {
    versionNegotiation: { mode: isModern ? { pin: '2026-07-28' } : 'legacy' },
  });
  await client.connect(new sdk2.StreamableHTTPClientTransport(url, { requestInit: { headers } }));
  return {
    version: () => client.getNegotiatedProtocolVersion(),
    listTools: async (cursor) => (await client.listTools(cursor === undefined ? {} : { cursor })) as never,
    callTool: async (name, input, options = {}) =>
      (await client.callTool(
        { name, arguments: { ...input }, ...(options.meta ? { _meta: { ...options.meta } } : {}) },
        requestOptions(options),
      )) as HostResult,
    listResources: () => client.listResources(),
    readResource: (uri) => client.readResource({ uri }),
    ping: () => client.ping(),
    onListChanged: async (listener) => {
      client.setNotificationHandler('notifications/tools/list_changed', listener);
      if (isModern) await client.listen({ toolsListChanged: true });
    },
    close: () => client.close(),
  };
}

function requestOptions(options: Parameters<Host['callTool']>[2] & object) {
  const { onprogress, signal } = options;
  return {
    ...(signal ? { signal } : {}),
    ...(onprogress
      ? {
          onprogress: ({ message, progress }: { message?: string | undefined; progress: number }) =>
            onprogress(message ?? '', progress),
        }
      : {}),
  };
}
