import type { IncomingMessage, ServerResponse } from 'node:http';

/**
 * For a request with `Expect: 100-continue`: its client is told to go on when somebody begins to read the body, and
 * not before. Who is refused first never sends it, and its connection closes, because whether the body still comes
 * is the client's to choose (RFC 9110 section 10.1.1).
 */
export function continueWhenRead(incoming: IncomingMessage, outgoing: ServerResponse): void {
  const { shouldKeepAlive } = outgoing;
  const read = incoming._read.bind(incoming);
  outgoing.shouldKeepAlive = false;
  incoming._read = (size) => {
    incoming._read = read;
    if (!outgoing.headersSent) {
      outgoing.shouldKeepAlive = shouldKeepAlive;
      outgoing.writeContinue();
    }
    read(size);
  };
}
