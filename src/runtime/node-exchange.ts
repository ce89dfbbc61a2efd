import type { IncomingMessage, ServerResponse } from 'node:http';
import { EVENT_STREAM_HEADERS, type EventStream } from '../base/event-stream.ts';
import type { Answer, Exchange } from '../mcp/exchange.ts';
import { readIncoming } from './incoming-body.ts';

/** An exchange over Node's own HTTP server. No header of the request came twice. */
export function exchangeOver(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  requestId: string,
): Exchange {
  const { headers } = incoming;
  const isGone = (): boolean => outgoing.destroyed && !outgoing.writableFinished;
  return {
    target: incoming.url ?? '/',
    requestId,
    header: (name) => headers[name] as string | undefined,
    allHeaders: () => new Headers(headers as Record<string, string>),
    readBody: (maxBytes) => readIncoming(incoming, maxBytes),
    isGone,
    onGone(listener) {
      const onClose = (): void => {
        if (isGone()) listener();
      };
      if (outgoing.destroyed) onClose();
      else outgoing.on('close', onClose);
      return () => outgoing.off('close', onClose);
    },
  };
}

/** Sends the answer, with what every answer carries. */
export function sendAnswer(
  answer: Answer,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  everyAnswer: Record<string, string>,
): void {
  // Also when nothing is left: only a body that is read to its end is let go of.
  if (incoming.complete) incoming.read();
  if (answer.kind === 'events') {
    outgoing.writeHead(200, { ...everyAnswer, ...EVENT_STREAM_HEADERS });
    sendEvents(answer.stream, outgoing);
    return;
  }
  const { status, headers, text } = answer;
  // Head and body leave in one write.
  outgoing.writeHead(status, { ...everyAnswer, ...headers, 'content-length': Buffer.byteLength(text) });
  outgoing.end(text);
}

function sendEvents(stream: EventStream, outgoing: ServerResponse): void {
  stream.into({
    write: (text) => outgoing.write(text),
    end: () => outgoing.end(),
    cut: () => outgoing.destroy(),
  });
  if (outgoing.destroyed) {
    stream.leave();
    return;
  }
  outgoing.on('drain', stream.flow);
  outgoing.on('close', stream.leave);
  stream.flow();
  // Where no event has taken the head along: clients, and proxies, want to see that the stream is open.
  outgoing.flushHeaders();
}
