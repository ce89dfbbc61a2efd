import { once } from 'node:events';
import { createServer, request as send, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';

export type Front = { url: string; close(): Promise<void> };

type Names = { toGateway: ReadonlyMap<string, string>; fromGateway: ReadonlyMap<string, string> };

/**
 * Stands between the suite, which can neither send a key nor know what the gateway calls its tools, and the
 * gateway. It adds the key and maps names in both directions; everything else, `Host` and `Origin` included,
 * goes through as it is, and event streams as they come.
 */
export async function startFront(
  gateway: { url: string; key: string },
  toGateway: ReadonlyMap<string, string>,
): Promise<Front> {
  const names = { toGateway, fromGateway: new Map([...toGateway].map(([suite, own]) => [own, suite])) };
  const server = createServer((request, response) => {
    forward(request, response, gateway, names).catch(() => response.destroy());
  });
  server.listen(0, 'localhost');
  await once(server, 'listening');
  return {
    // The suite takes this host name only when it checks the defence against DNS rebinding.
    url: `http://localhost:${(server.address() as AddressInfo).port}/mcp`,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function forward(
  request: IncomingMessage,
  response: ServerResponse,
  gateway: { url: string; key: string },
  names: Names,
): Promise<void> {
  const body = await buffer(request);
  const message = parse(body);
  const mapped = message === undefined ? body : Buffer.from(JSON.stringify(mapCall(message, names)));
  const { 'transfer-encoding': _, ...headers } = request.headers;
  const header = headers['mcp-name'];
  const name = typeof header === 'string' ? names.toGateway.get(header) : undefined;

  const onward = send(new URL(request.url ?? '', gateway.url), {
    method: request.method,
    headers: {
      ...headers,
      authorization: `Bearer ${gateway.key}`,
      'content-length': mapped.length,
      ...(name === undefined ? {} : { 'mcp-name': name }),
    },
  });
  response.on('close', () => onward.destroy());
  onward.end(mapped);
  const [answer] = (await once(onward, 'response')) as [IncomingMessage];

  const { 'content-length': length, ...answerHeaders } = answer.headers;
  if (message?.['method'] === 'tools/list') {
    const text = (await buffer(answer)).toString();
    response.writeHead(answer.statusCode ?? 502, answerHeaders).end(mapList(text, names));
    return;
  }
  response.writeHead(answer.statusCode ?? 502, {
    ...answerHeaders,
    ...(length === undefined ? {} : { 'content-length': length }),
  });
  response.flushHeaders();
  await pipeline(answer, response);
}

type RpcMessage = Record<string, unknown> & { params?: Record<string, unknown> };

/** The message, or undefined for what is none and goes through untouched. */
function parse(body: Buffer): RpcMessage | undefined {
  try {
    const message: unknown = JSON.parse(body.toString());
    return typeof message === 'object' && message !== null && !Array.isArray(message)
      ? (message as RpcMessage)
      : undefined;
  } catch {
    return undefined;
  }
}

function mapCall(message: RpcMessage, { toGateway }: Names): RpcMessage {
  const name = message.params?.['name'];
  if (message['method'] !== 'tools/call' || typeof name !== 'string') return message;
  return { ...message, params: { ...message.params, name: toGateway.get(name) ?? name } };
}

/** Whether the list came as JSON or as an event: a tool's name is the same text in both. */
function mapList(text: string, { fromGateway }: Names): string {
  return text.replaceAll(
    /"name":"(sentinel_[a-z0-9_]+)"/g,
    (_, name: string) => `"name":"${fromGateway.get(name) ?? name}"`,
  );
}
