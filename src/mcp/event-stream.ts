/** A response body of server-sent events. Sending on one that has ended does nothing. */
export type EventStream = {
  readonly response: Response;
  /** Sends one JSON-RPC message. */
  send: (message: string) => void;
  sendEvent: (event: string, data: string) => void;
  comment: () => void;
  end: () => void;
};

// Of what a client has not read, this much is kept beside what the socket holds; then it is cut off.
const MAX_UNREAD_BYTES = 1024 * 1024;

const HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-transform',
  // nginx would otherwise hold events back until its buffer is full.
  'x-accel-buffering': 'no',
};

const encoder = new TextEncoder();
const COMMENT = encoder.encode(': \n\n');

/** `onGone` hears, once, that the reader left or was cut off. */
export function openEventStream(onGone: () => void): EventStream {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  const body = new ReadableStream<Uint8Array>(
    {
      start: (started) => {
        controller = started;
      },
      cancel: () => leave(),
    },
    { highWaterMark: 0, size: (chunk) => chunk.byteLength },
  );

  function leave(): void {
    if (controller === undefined) return;
    controller = undefined;
    onGone();
  }

  function write(bytes: Uint8Array): void {
    if (controller === undefined) return;
    const unread = -(controller.desiredSize ?? 0);
    if (unread > MAX_UNREAD_BYTES) {
      controller.error(new Error('a client that does not read its event stream was cut off'));
      leave();
      return;
    }
    controller.enqueue(bytes);
  }

  return {
    response: new Response(body, { headers: HEADERS }),
    send: (message) => write(encoder.encode(`event: message\ndata: ${message}\n\n`)),
    sendEvent: (event, data) => write(encoder.encode(`event: ${event}\ndata: ${data}\n\n`)),
    comment: () => write(COMMENT),
    end: () => {
      controller?.close();
      controller = undefined;
    },
  };
}
