import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, test } from 'node:test';
import { continueWhenRead } from '../../src/runtime/expect-continue.ts';
import { closeInStages, READ_ON, type ReadOnLimits } from '../../src/runtime/staged-close.ts';
import { openRaw } from '../support/raw-http.ts';

let server: Server;
let requests: string[] = [];

/** A server that refuses each request at once, and keeps its connection or not, as the path says. */
async function listen(limits: Partial<ReadOnLimits> = {}): Promise<number> {
  requests = [];
  const answer = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    if (!stages.admit(incoming, outgoing)) return;
    requests.push(incoming.url ?? '');
    if (incoming.url === '/read') {
      incoming.resume().on('end', () => outgoing.end('read'));
      return;
    }
    if (incoming.url === '/close') outgoing.setHeader('connection', 'close');
    outgoing.writeHead(413).end('no');
  };
  server = createServer(answer);
  const stages = closeInStages(server, { ...READ_ON, ...limits });
  server.on('checkContinue', (incoming, outgoing) => {
    continueWhenRead(incoming, outgoing);
    answer(incoming, outgoing);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

afterEach(() => {
  server.closeAllConnections();
  server.close();
});

const head = (path: string, length: number, more = ''): string =>
  `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${length}\r\n${more}\r\n`;

test('after an answer that closes, our side is closed at once, and the other is still read', async () => {
  const port = await listen();
  const { socket, answered, closed } = openRaw(port);
  socket.allowHalfOpen = true;
  socket.write(head('/close', 30_000_000));
  const [answer] = await answered(1);
  assert.equal(answer?.status, 413);
  assert.ok(answer?.headers.includes('connection: close'));
  await once(socket, 'end');
  // A reset would end this before all of it is taken.
  for (let sent = 0; sent < 30; sent += 1) {
    if (!socket.write(Buffer.alloc(1_000_000))) await once(socket, 'drain');
  }
  socket.end();
  await closed;
  assert.equal(socket.errored, null);
});

for (const path of ['/close', '/keep']) {
  test(`${path}: a client that never stops sending is cut after the bound`, async () => {
    const port = await listen({ maxBytes: 3_000_000 });
    const { socket, answered, closed } = openRaw(port);
    socket.allowHalfOpen = true;
    socket.write(head(path, 4_000_000_000));
    await answered(1);
    const part = Buffer.alloc(100_000);
    const fill = (): void => {
      while (!socket.destroyed && socket.write(part));
    };
    socket.on('drain', fill);
    fill();
    await closed;
  });

  test(`${path}: a client that sends a little for ever is cut after a while`, async () => {
    const port = await listen({ maxMs: 300 });
    const { socket, answered, closed } = openRaw(port);
    socket.allowHalfOpen = true;
    socket.write(head(path, 4_000_000));
    await answered(1);
    const trickle = setInterval(() => socket.write(' '), 20);
    await closed;
    clearInterval(trickle);
  });

  test(`${path}: a client that falls silent within its body is let go of`, async () => {
    const port = await listen({ maxSilenceMs: 200 });
    const connected = once(server, 'connection') as Promise<[Socket]>;
    const { socket, answered } = openRaw(port);
    socket.allowHalfOpen = true;
    socket.write(head(path, 4_000_000));
    const [ours] = await connected;
    const letGo = once(ours, 'close');
    await answered(1);
    await letGo;
    socket.destroy();
  });
}

test('a connection whose refused body came to its end serves the next request', async () => {
  const port = await listen();
  const { socket, answered } = openRaw(port);
  socket.write(head('/keep', 2_000_000));
  assert.equal((await answered(1))[0]?.status, 413);
  socket.write(Buffer.alloc(2_000_000));
  socket.write(head('/read', 5) + 'hello');
  assert.equal((await answered(2))[1]?.body, 'read');
});

test('what follows on a connection that closes is not answered, and not done', async () => {
  const port = await listen();
  const { socket, answered, closed } = openRaw(port);
  socket.allowHalfOpen = true;
  socket.write(head('/close', 10));
  await answered(1);
  socket.end(`0123456789${head('/read', 5)}hello`);
  await closed;
  assert.deepEqual(requests, ['/close']);
});

test('a client that asks first is told to go on when its body is read, and not when it is refused', async () => {
  const port = await listen();
  const asking = 'Expect: 100-continue\r\n';
  const read = openRaw(port);
  read.socket.write(head('/read', 5, asking));
  assert.equal((await read.answered(1))[0]?.status, 100);
  read.socket.write('hello');
  assert.equal((await read.answered(2))[1]?.body, 'read');
  // Its connection may be used again.
  read.socket.write(head('/read', 2) + 'ho');
  assert.equal((await read.answered(3))[2]?.body, 'read');

  const refused = openRaw(port);
  refused.socket.write(head('/keep', 5, asking));
  const answers = await refused.answered(1);
  assert.deepEqual(
    answers.map(({ status }) => status),
    [413],
  );
  assert.ok(answers[0]?.headers.includes('connection: close'));
  await refused.closed;
});
