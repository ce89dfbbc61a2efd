import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { serveAsChild } from '../child.ts';

// A streaming agent: the first chunk at once, the rest when it is told to. With `text: "hold"` it stays open
// for a minute, so that open streams can be counted.
const server = createServer((request, response) => {
  let body = '';
  request.on('data', (part: Buffer) => (body += part.toString()));
  request.on('end', () => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('event: chunk\ndata: "first"\n\n');
    const isHeld = body.includes('"hold"');
    void wait(isHeld ? 60_000 : 5, undefined, { ref: false }).then(() =>
      response.end('event: done\ndata: {"output":{"text":"first"}}\n\n'),
    );
  });
});
server.listen(0, '127.0.0.1', () => {
  serveAsChild({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` });
});
