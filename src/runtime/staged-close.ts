import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** For how long, and how much, a connection is read on after an answer that came before the end of its request. */
export type ReadOnLimits = { maxBytes: number; maxMs: number; maxSilenceMs: number };

export const READ_ON: ReadOnLimits = {
  // More than the largest body any address takes, so that whoever sends one too large may come to its end.
  maxBytes: 64 * 1024 * 1024,
  maxMs: 30_000,
  maxSilenceMs: 5_000,
};

const LOOK_MS = 100;

/** For one server; see `closeInStages`. */
export type StagedClose = {
  /** To be told of every request. False: its connection is closing, so it is not to be answered (RFC 9112 9.6). */
  admit(incoming: IncomingMessage, outgoing: ServerResponse): boolean;
};

/**
 * An answer that is given before the end of its request reaches a client that is still sending (RFC 9112 section
 * 9.6): the rest is read and thrown away, within bounds; where the answer says `Connection: close`, our side is
 * closed first and the rest only when the client has closed its own. A socket that is closed with something unread
 * sends a reset instead, which takes away from the client what it has not read yet, the answer included.
 */
export function closeInStages(server: Server, limits: ReadOnLimits): StagedClose {
  const requests = new WeakMap<Duplex, IncomingMessage>();
  const closing = new WeakSet<Duplex>();

  server.on('connection', (socket: Socket) => {
    // What Node calls when the last answer of a connection has been written.
    socket.destroySoon = () => {
      if (requests.get(socket)?.complete !== false) {
        Socket.prototype.destroySoon.call(socket);
        return;
      }
      closing.add(socket);
      socket.end();
    };
  });

  return {
    admit(incoming, outgoing) {
      const { socket } = incoming;
      if (closing.has(socket)) {
        incoming.resume();
        return false;
      }
      requests.set(socket, incoming);
      outgoing.once('close', () => {
        if (socket.destroyed) return;
        if (!incoming.complete) readOn(incoming, closing.has(socket), limits);
        // A reader that has given up would hold the rest back, and with it the connection's next request.
        if (!incoming.readableEnded) incoming.removeAllListeners('data').resume();
      });
      return true;
    },
  };
}

/** Until the request has ended or, where the connection closes, until the client closes it, too. */
function readOn(incoming: IncomingMessage, isClosing: boolean, limits: ReadOnLimits): void {
  const { socket } = incoming;
  const startedAt = performance.now();
  const bytesBefore = socket.bytesRead;
  let bytes = bytesBefore;
  let heardAt = startedAt;
  // By the clock and the socket's own count: of a body that is thrown away Node tells no chunks.
  const look = setInterval(() => {
    const now = performance.now();
    if (socket.bytesRead > bytes) heardAt = now;
    bytes = socket.bytesRead;
    const isTooMuch = bytes - bytesBefore > limits.maxBytes;
    if (isTooMuch || now - startedAt > limits.maxMs || now - heardAt > limits.maxSilenceMs) socket.destroy();
  }, LOOK_MS);
  look.unref();
  const stop = (): void => {
    clearInterval(look);
    socket.off('close', stop);
  };
  socket.once('close', stop);
  if (!isClosing) incoming.once('end', stop);
}
