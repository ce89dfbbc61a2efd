import type { IncomingMessage } from 'node:http';

/**
 * The whole body, or undefined as soon as it is known to be too large. A declared length is believed: the HTTP
 * parser reads no byte beyond it. Only a body without one (chunked) has to be counted while it is read. Rejects
 * when the client hangs up within it.
 */
export async function readIncoming(
  incoming: IncomingMessage,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  const declared = incoming.headers['content-length'];
  if (declared !== undefined && !(Number(declared) <= maxBytes)) return undefined;
  // A small body comes with its head and is all there by now: no event to wait for, nothing to put together. It
  // is there even where the client has left since, whose call is then on record as cancelled.
  if (incoming.complete || incoming.readableLength === Number(declared)) {
    const body = (incoming.read() as Buffer | null) ?? NOTHING;
    return body.length > maxBytes ? undefined : body;
  }
  if (incoming.destroyed) throw hungUp();
  return collect(incoming, maxBytes);
}

const NOTHING = new Uint8Array();

function collect(incoming: IncomingMessage, maxBytes: number): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const take = (chunk: Buffer): void => {
      length += chunk.length;
      if (length <= maxBytes) {
        chunks.push(chunk);
        return;
      }
      incoming.off('data', take);
      resolve(undefined);
    };
    incoming.on('data', take);
    incoming.on('end', () => resolve(Buffer.concat(chunks, length)));
    // Before its end, this is a client who hangs up; an error is only told to those who listen for one.
    incoming.on('close', () => reject(hungUp()));
  });
}

function hungUp(): Error {
  return new Error('the client hung up within its request');
}
