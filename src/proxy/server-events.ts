import type { IncomingMessage } from 'node:http';
import { createParser } from 'eventsource-parser';

/** What an SSE stream says: a message, or how to come back to the stream after it broke. */
export type ServerEvent =
  { kind: 'message'; text: string } | { kind: 'id'; id: string } | { kind: 'retry'; retryMs: number };

const MAX_EVENT_CHARACTERS = 64 * 1024 * 1024;

/**
 * The events of one stream, in order, read only as fast as they are taken. A stream that breaks simply
 * ends: whether the answer was among its events tells the reader all it needs to know.
 */
export async function* readEvents(response: IncomingMessage): AsyncGenerator<ServerEvent, void> {
  const ready: ServerEvent[] = [];
  const parser = createParser({
    maxBufferSize: MAX_EVENT_CHARACTERS,
    onId: (id) => ready.push({ kind: 'id', id }),
    onRetry: (retryMs) => ready.push({ kind: 'retry', retryMs }),
    onEvent: ({ event, data }) => {
      // An event without data opens a resumable stream (SEP-1699); other event names are not MCP's.
      if (data !== '' && (event === undefined || event === 'message'))
        ready.push({ kind: 'message', text: data });
    },
  });
  response.setEncoding('utf8');
  try {
    for await (const chunk of response as AsyncIterable<string>) {
      parser.feed(chunk);
      yield* ready.splice(0);
    }
  } catch {
    // Cut off, cancelled, or an event beyond the limit.
  } finally {
    response.destroy();
  }
}
