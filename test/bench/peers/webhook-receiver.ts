import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serveAsChild } from '../child.ts';

// A receiver as cheap as one can be: it reads the body and says 204.
const server = createServer((request, response) => {
  request.resume();
  request.on('end', () => response.writeHead(204).end());
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  serveAsChild({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook` });
});
