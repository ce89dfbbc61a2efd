import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { readIncoming } from '../../src/runtime/incoming-body.ts';

const requests = new EventEmitter();
let server: Server;

before(async () => {
  server = createServer((incoming) => void requests.emit('request', incoming));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});

after(() => {
  server.closeAllConnections();
  server.close();
});

/** A request whose client has sent this after the head, and its socket. */
async function arrive(headers: string, sent: string) {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => {});
  const come = once(requests, 'request');
  socket.write(`POST / HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n\r\n${sent}`);
  const [incoming] = (await come) as [IncomingMessage];
  return { incoming, socket };
}

for (const [title, headers, sent] of [
  ['with a length', 'Content-Length: 100', '{"half":'],
  ['in chunks', 'Transfer-Encoding: chunked', '5\r\n{"hal\r\n'],
] as const) {
  test(`a body ${title} that breaks off is no body, whether it is being read or was not yet`, async () => {
    const reading = await arrive(headers, sent);
    const body = readIncoming(reading.incoming, 1_000);
    reading.socket.resetAndDestroy();
    await assert.rejects(body, /hung up within its request/);

    const waiting = await arrive(headers, sent);
    waiting.socket.resetAndDestroy();
    await new Promise((resolve) => waiting.incoming.once('close', resolve));
    await assert.rejects(readIncoming(waiting.incoming, 1_000), /hung up within its request/);
  });
}

for (const [title, headers, sent] of [
  ['declared too large', 'Content-Length: 1001', ''],
  ['small chunks that are too large together', 'Transfer-Encoding: chunked', tooManyChunks()],
] as const) {
  test(`a body of ${title} is known to be so before its end`, async () => {
    const { incoming, socket } = await arrive(headers, sent);
    assert.equal(await readIncoming(incoming, 1_000), undefined);
    socket.destroy();
  });
}

/** 1,010 bytes, and no end. */
function tooManyChunks(): string {
  return '0a\r\n0123456789\r\n'.repeat(101);
}
