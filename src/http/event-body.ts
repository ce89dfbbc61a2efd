import type { EventStream } from '../base/event-stream.ts';

/** Events as the body of a fetch `Response`; a reader who does not read is cut off. */
export function bodyOf(stream: EventStream): ReadableStream<Uint8Array> {
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
