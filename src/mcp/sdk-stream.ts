import { openEventStream, type EventStream } from '../base/event-stream.ts';

/** The body of an answer the SDK goes on writing. */
export function eventsOf({ headers, body }: Response): ReadableStream<Uint8Array> | undefined {
  const isStream = headers.get('content-type')?.startsWith('text/event-stream') === true;
  return isStream && body !== null ? body : undefined;
}

/**
 * Events of the SDK through a stream of ours, which minds readers that do not read: the SDK's own keeps whatever
 * it is given. `restore` is given each piece, of whole events. `onOver` hears that it has ended, on either side.
 */
export function relayEvents(
  events: ReadableStream<Uint8Array>,
  restore: (text: string) => string,
  onOver: () => void,
): EventStream {
  const reader = events.getReader();
  const decoder = new TextDecoder();
  // A reader that is cancelled reads to its end at once.
  const stream = openEventStream(() => void reader.cancel().catch(() => {}));

  async function relay(): Promise<void> {
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      stream.pass(restore(decoder.decode(read.value, { stream: true })));
    }
  }

  relay()
    .catch(() => {})
    .finally(() => {
      stream.end();
      onOver();
    });
  return stream;
}
