import type { Context } from 'hono';
import { EVENT_STREAM_HEADERS, openEventStream, type EventStream } from '../base/event-stream.ts';
import { unreachable } from '../base/invariant.ts';
import type { CallResult, PaidCallRequest } from '../calls/call.ts';
import { problemOfThrown } from '../db/thrown-problem.ts';
import { answerCall, formatAnswer, formatRefusal } from './call-answer.ts';
import type { HttpEnv } from './env.ts';
import { bodyOf } from './event-body.ts';

/** When a silent stream shows a sign of life. */
export type StreamTiming = { openAfterMs: number; heartbeatMs: number };

const TIMING: StreamTiming = {
  // A call that is refused is refused at once, with its status; one that is accepted may take its time.
  openAfterMs: 2_000,
  // Proxies close what is silent; the shortest limit known to us is well above this.
  heartbeatMs: 15_000,
};

/** What a streamed call hears of its reader. */
type Reader = Required<Pick<PaidCallRequest, 'signal' | 'onChunk'>>;

/**
 * Answers with server-sent events. The stream opens at the first chunk, or when the call has run for a
 * moment: until then the call may still be refused with an HTTP status of its own. A reader who hangs up, or does
 * not read, is one who leaves the call.
 */
export async function streamCall(
  c: Context<HttpEnv>,
  run: (reader: Reader) => Promise<CallResult>,
  timing: StreamTiming = TIMING,
): Promise<Response> {
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  const hangUp = c.req.raw.signal;
  if (hangUp.aborted) leave();
  else hangUp.addEventListener('abort', leave, { once: true });
  const stream = openEventStream(leave);
  const { promise: isOpen, resolve: open } = Promise.withResolvers<'open'>();
  const timer = setTimeout(() => open('open'), timing.openAfterMs);

  const result = run({
    signal: gone.signal,
    onChunk: (chunk, told) => {
      stream.send('chunk', JSON.stringify({ chunk, progress: told?.progress, total: told?.total }));
      open('open');
    },
  });
  const first = await Promise.race([isOpen, result]).finally(() => clearTimeout(timer));
  if (first !== 'open' && first.kind === 'problem') return answerCall(c, first);

  const heartbeat = setInterval(stream.comment, timing.heartbeatMs);
  void result
    .catch(failed)
    .then((ended) => sendEnd(stream, ended, c.get('requestId')))
    .finally(() => {
      clearInterval(heartbeat);
      hangUp.removeEventListener('abort', leave);
    });
  return c.body(bodyOf(stream), 200, EVENT_STREAM_HEADERS);
}

function sendEnd(stream: EventStream, result: CallResult, requestId: string): void {
  switch (result.kind) {
    case 'answer':
      stream.send('done', JSON.stringify(formatAnswer(result)));
      break;
    case 'problem':
      stream.send('error', JSON.stringify(formatRefusal(result, requestId)));
      break;
    default:
      unreachable(result);
  }
  stream.end();
}

function failed(error: unknown): CallResult {
  return { kind: 'problem', problem: problemOfThrown(error) };
}
