import type { Log } from '../base/log.ts';

/**
 * An answer that is sent while it is read. Each piece is made when the connection has room for it, and none after
 * the reader has gone. What fails on the way breaks the connection off: an answer that looked complete would be
 * worse. `head` is what was read before anything was sent, while a failure was still a problem with a status.
 */
export function streamText(
  head: string,
  text: AsyncGenerator<string>,
  { log, what }: { log: Log; what: string },
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let isGone = false;
  return new ReadableStream<Uint8Array>(
    {
      start: (controller) => controller.enqueue(encoder.encode(head)),
      pull: async (controller) => {
        try {
          const { done, value } = await text.next();
          if (isGone) return;
          if (done === true) controller.close();
          else controller.enqueue(encoder.encode(value));
        } catch (error) {
          if (isGone) return;
          log('error', `${what} broke off`, { error: String(error) });
          // Whoever serves the stream may print what it is told, and that is for the log alone.
          controller.error(new Error(`${what} broke off`));
        }
      },
      cancel: async () => {
        isGone = true;
        await text.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}
