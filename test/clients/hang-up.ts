import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** The ways a client speaks to the gateway. */
export const WIRES = ['mcp legacy', 'mcp modern', 'rest', 'old sse'] as const;
export type Wire = (typeof WIRES)[number];

/** How far a client goes before it hangs up. */
export const MOMENTS = ['in the head', 'in the body', 'after the request', 'in the answer', 'never'] as const;
export type Moment = (typeof MOMENTS)[number];

/** One client that hangs up, drawn from a seed; numbers in [0, 1) say where inside of a part. */
export type HangUp = {
  wire: Wire;
  moment: Moment;
  agent: string;
  text: string;
  /** RST instead of FIN. */
  isAbrupt: boolean;
  where: number;
};

/** The same numbers for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Plays one client. Resolves, with what it has read, when its sockets are closed. */
export async function play(plan: HangUp, gateway: { port: number; key: string }): Promise<string> {
  const client = await open(gateway.port);
  if (plan.wire !== 'old sse') return finish(client, plan, requestOf(plan, gateway.key));

  // The answer of the old transport comes on a stream of its own; that stream is what is hung up.
  client.socket.write(
    `GET /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${gateway.key}\r\naccept: text/event-stream\r\n\r\n`,
  );
  const path = await client.until((text) => /data: (\/mcp\/messages\?sessionId=[\w-]+)/.exec(text)?.[1]);
  if (path === undefined) return client.text();
  const post = await open(gateway.port);
  const sent = finish(
    post,
    { ...plan, moment: plan.moment === 'in the answer' ? 'never' : plan.moment },
    {
      ...requestOf(plan, gateway.key, path),
      isWhole: (text) => text.includes('202 Accepted'),
    },
  );
  if (plan.moment === 'in the answer') await client.until(eventsSeen(plan, 1));
  if (plan.moment === 'never') await client.until((text) => (text.includes('"result"') ? true : undefined));
  await sent;
  await hangUp(client.socket, plan);
  return client.text();
}

type Client = {
  socket: Socket;
  text(): string;
  /** Waits until `found` finds something in what was read, or the gateway has closed. */
  until<Found>(found: (text: string) => Found | undefined): Promise<Found | undefined>;
};

/** Where an answer in chunks ends; one with a length ends with its connection, which is not to be kept. */
const LAST_CHUNK = /\r\n0\r\n\r\n$/;

type RawRequest = { head: string; body: string; isWhole: (text: string) => boolean };

async function open(port: number): Promise<Client> {
  const socket = connect(port, '127.0.0.1');
  // A gateway that closes first is no error of this client; what it read says enough.
  socket.on('error', () => {});
  let text = '';
  socket.setEncoding('utf8').on('data', (part: string) => (text += part));
  await once(socket, 'connect');
  return {
    socket,
    text: () => text,
    until: async (found) => {
      for (;;) {
        const result = found(text);
        if (result !== undefined || socket.destroyed || socket.readableEnded) return result;
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            socket.off('data', wake).off('close', wake).off('end', wake);
            resolve();
          };
          socket.on('data', wake).on('close', wake).on('end', wake);
        });
      }
    },
  };
}

async function finish(client: Client, plan: HangUp, request: RawRequest): Promise<string> {
  const { head, body, isWhole } = request;
  const { socket } = client;
  switch (plan.moment) {
    case 'in the head':
      socket.write(head.slice(0, Math.floor(plan.where * head.length)));
      break;
    case 'in the body':
      socket.write(head + body.slice(0, Math.floor(plan.where * body.length)));
      break;
    case 'after the request':
      await new Promise((resolve) => socket.write(head + body, resolve));
      // Some at once, some when the gateway, or the agent, has begun to work on it.
      await delay(plan.where * 40);
      break;
    case 'in the answer':
      socket.write(head + body);
      await client.until(eventsSeen(plan, 0));
      break;
    case 'never':
      socket.write(head + body);
      await client.until((text) => (isWhole(text) ? true : undefined));
      break;
  }
  await hangUp(socket, plan);
  return client.text();
}

/** One to three events of the answer; or all of it, where it has fewer. */
function eventsSeen(plan: HangUp, before: number): (text: string) => true | undefined {
  const wanted = before + 1 + Math.floor(plan.where * 3);
  return (text) =>
    text.split('\ndata: ').length > wanted ||
    text.includes('"result"') ||
    /^content-length/im.test(text) ||
    LAST_CHUNK.test(text)
      ? true
      : undefined;
}

async function hangUp(socket: Socket, { isAbrupt }: HangUp): Promise<void> {
  if (socket.closed) return;
  const closed = once(socket, 'close');
  // A connection the gateway has already ended cannot be reset any more.
  if (isAbrupt && !socket.readableEnded && !socket.writableEnded) socket.resetAndDestroy();
  else socket.destroy();
  await closed;
}

function requestOf(plan: HangUp, key: string, path?: string): RawRequest {
  const isRest = plan.wire === 'rest';
  const body = JSON.stringify(isRest ? { inputs: { text: plan.text }, stream: true } : messageOf(plan));
  const modern =
    plan.wire === 'mcp modern'
      ? `mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: sentinel_${plan.agent}\r\n`
      : '';
  const head =
    `POST ${path ?? (isRest ? `/v1/agents/${plan.agent}/invoke` : '/mcp')} HTTP/1.1\r\nhost: 127.0.0.1\r\n` +
    `authorization: Bearer ${key}\r\naccept: application/json, text/event-stream\r\n${modern}` +
    `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n`;
  return { head, body, isWhole: (text) => LAST_CHUNK.test(text) };
}

function messageOf(plan: HangUp): object {
  const envelope = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientInfo': { name: 'raw', version: '1' },
    'io.modelcontextprotocol/clientCapabilities': {},
  };
  return {
    jsonrpc: '2.0',
    // Equal for all: ids are a matter of one client.
    id: 1,
    method: 'tools/call',
    params: {
      name: `sentinel_${plan.agent}`,
      arguments: { text: plan.text },
      _meta: { progressToken: 1, ...(plan.wire === 'mcp modern' ? envelope : {}) },
    },
  };
}
