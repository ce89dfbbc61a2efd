import { setImmediate as nextTurn } from 'node:timers/promises';
import { openEventStream, type EventStream } from '../base/event-stream.ts';
import type { ChunkListener } from '../upstream/upstream.ts';
import type { Answer, TextAnswer } from './exchange.ts';
import type { RequestId } from './parse-request.ts';
import { createProgress } from './progress.ts';
import type { Pulse } from './pulse.ts';

/** How a client may be answered. */
export type AnswerForm = {
  /** It reads event streams. */
  sse: boolean;
  /** It reads plain JSON. */
  json: boolean;
};

/**
 * Answers one request with JSON when it is quick, and with an event stream from the first chunk on or when it
 * has been silent for so long that a proxy might hang up. `run` gets the ear for chunks, absent where nobody
 * listens, and never rejects; `onGone` hears that the reader of a stream has left.
 */
export function answerAsItComes(
  form: AnswerForm,
  progressToken: RequestId | undefined,
  pulse: Pulse,
  onGone: () => void,
  run: (onChunk: ChunkListener | undefined) => Promise<TextAnswer>,
): Promise<Answer> {
  return new Promise((resolve) => {
    let stream: EventStream | undefined;

    function open(): EventStream {
      if (stream === undefined) {
        stream = openEventStream(onGone);
        resolve({ kind: 'events', stream });
      }
      return stream;
    }

    if (!form.json) open();
    const progress =
      form.sse && progressToken !== undefined
        ? createProgress(progressToken, pulse, (notification) => open().send('message', notification))
        : undefined;
    const stop = progress?.stop ?? (form.sse ? keepAwake(pulse, () => open().comment()) : undefined);

    async function finish(answer: TextAnswer): Promise<void> {
      stop?.();
      if (stream === undefined) {
        resolve(answer);
        return;
      }
      // The 1.x client forgets who listens for progress as soon as it reads the result: in one read with it,
      // the last chunk would be lost.
      if (progress?.hasTold()) await nextTurn();
      stream.send('message', answer.text);
      stream.end();
    }

    void run(progress?.tell).then(finish);
  });
}

/** Calls back whenever nothing was said for so long that a proxy might hang up. */
export function keepAwake(pulse: Pulse, comment: () => void): () => void {
  let lastAt = pulse.now();
  return pulse.add((now) => {
    if (now - lastAt < pulse.timing.commentMs) return;
    lastAt = now;
    comment();
  });
}
