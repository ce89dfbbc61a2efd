/** Server-sent events on their way to one client. Sending on a stream that has ended does nothing. */
export type EventStream = {
  /** Sends an event; its data is one line. */
  send: (event: string, data: string) => void;
  /** Passes on what is written as events already. */
  pass: (events: string) => void;
  comment: () => void;
  end: () => void;
  /** For the server that carries it: where its events go, once `flow` is called. */
  into: (sink: Sink) => void;
  /** The sink has room: what waits goes first. */
  flow: () => void;
  /** The reader has left. */
  leave: () => void;
};

/** Where events go: a socket, or the body of a fetch `Response`. */
export type Sink = {
  /** Takes the text in any case; false when it wants no more before `flow` is called. */
  write(text: string): boolean;
  end(): void;
  /** Drops the connection, and what is buffered for it. */
  cut(): void;
};

export const EVENT_STREAM_HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-transform',
  // nginx would otherwise hold events back until its buffer is full.
  'x-accel-buffering': 'no',
};

// Of what a client has not read, this much is kept beside what the socket holds; then it is cut off.
const MAX_UNREAD_BYTES = 1024 * 1024;

/** `onGone` hears, once, that the reader left or was cut off. */
export function openEventStream(onGone: () => void): EventStream {
  let sink: Sink | undefined;
  let hasRoom = false;
  let waiting: string[] = [];
  let unreadBytes = 0;
  let state: 'open' | 'ended' | 'closed' = 'open';

  function write(event: string): void {
    if (state !== 'open') return;
    if (hasRoom && sink) {
      hasRoom = sink.write(event);
      return;
    }
    if (unreadBytes > MAX_UNREAD_BYTES) {
      sink?.cut();
      leave();
      return;
    }
    waiting.push(event);
    unreadBytes += Buffer.byteLength(event);
  }

  function flow(): void {
    if (state === 'closed' || sink === undefined) return;
    hasRoom = true;
    // Not all at once: what the sink holds is not counted any more.
    while (hasRoom) {
      const event = waiting.shift();
      if (event === undefined) break;
      unreadBytes -= Buffer.byteLength(event);
      hasRoom = sink.write(event);
    }
    if (state === 'ended' && waiting.length === 0) close(sink);
  }

  function close(ended: Sink): void {
    state = 'closed';
    ended.end();
  }

  function leave(): void {
    const wasOpen = state === 'open';
    state = 'closed';
    waiting = [];
    if (wasOpen) onGone();
  }

  return {
    send: (event, data) => write(`event: ${event}\ndata: ${data}\n\n`),
    pass: write,
    comment: () => write(': \n\n'),
    end: () => {
      if (state !== 'open') return;
      state = 'ended';
      if (sink && waiting.length === 0) close(sink);
    },
    into: (to) => {
      sink = to;
      if (state === 'closed') to.cut();
    },
    flow,
    leave,
  };
}
