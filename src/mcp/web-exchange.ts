import type { Context } from 'hono';
import { newId } from '../base/ids.ts';
import { EVENT_STREAM_HEADERS, type EventStream } from './event-stream.ts';
import type { Answer, Exchange } from './exchange.ts';
import { readBody } from './read-body.ts';

/** An exchange through the app around us, on any runtime that has fetch's `Request` and `Response`. */
export function exchangeOf(c: Context): Exchange {
  const { url } = c.req;
  const given: unknown = c.get('requestId' as never);
  return {
    target: url.slice(url.indexOf('/', url.indexOf('://') + 3)),
    requestId: typeof given === 'string' ? given : newId('req'),
    header: (name) => c.req.header(name),
    allHeaders: () => new Headers(c.req.raw.headers),
    readBody: (maxBytes) => readBody(c.req.raw, maxBytes),
    isGone: () => c.req.raw.signal.aborted,
    onGone(listener) {
      const { signal } = c.req.raw;
      if (signal.aborted) listener();
      else signal.addEventListener('abort', listener, { once: true });
      return () => signal.removeEventListener('abort', listener);
    },
  };
}

export function responseOf(c: Context, answer: Answer): Response {
  if (answer.kind === 'events') {
    return new Response(bodyOf(answer.stream), { headers: dress(c, EVENT_STREAM_HEADERS) });
  }
  const { status, headers, text } = answer;
  return new Response(text === '' ? null : text, { status, headers: dress(c, headers) });
}

/** Where the app around us says what every answer carries, ours is made with it and marked as dressed. */
function dress(c: Context, headers: Record<string, string>): Record<string, string> {
  const plain: unknown = c.get('plainHeaders' as never);
  if (typeof plain !== 'object' || plain === null) return headers;
  c.set('isDressed' as never, true as never);
  return { ...plain, ...headers };
}

function bodyOf(stream: EventStream): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream<Uint8Array>(
    {
      start: (controller) =>
        stream.into({
          write: (text) => {
            controller.enqueue(encoder.encode(text));
            return (controller.desiredSize ?? 0) > 0;
          },
          end: () => controller.close(),
          // The one way to make whoever reads the body drop the connection.
          cut: () => controller.error(new Error('a client that does not read its event stream was cut off')),
        }),
      pull: () => stream.flow(),
      cancel: () => stream.leave(),
    },
    // Nothing is kept here: what is not asked for waits in the stream, and is counted there.
    { highWaterMark: 0 },
  );
}
