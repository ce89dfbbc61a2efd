import type { Context } from 'hono';
import { streamSSE, type SSEStreamingApi } from 'hono/streaming';
import { unreachable } from '../base/invariant.ts';
import type { CallResult } from '../calls/call.ts';
import type { ChunkListener } from '../upstream/upstream.ts';
import { problemOfThrown } from '../db/thrown-problem.ts';
import { answerCall, formatAnswer, formatRefusal } from './call-answer.ts';
import type { HttpEnv } from './deps.ts';

/** When a silent stream shows a sign of life. */
export type StreamTiming = { openAfterMs: number; heartbeatMs: number };

const TIMING: StreamTiming = {
  // A call that is refused is refused at once, with its status; one that is accepted may take its time.
  openAfterMs: 2_000,
  // Proxies close what is silent; the shortest limit known to us is well above this.
  heartbeatMs: 15_000,
};

type Listener = ChunkListener;

/**
 * Answers with server-sent events. The stream opens at the first chunk, or when the call has run for a
 * moment: until then the call may still be refused with an HTTP status of its own.
 */
export async function streamCall(
  c: Context<HttpEnv>,
  run: (onChunk: Listener) => Promise<CallResult>,
  timing: StreamTiming = TIMING,
): Promise<Response> {
  const early: Parameters<Listener>[] = [];
  let listener: Listener = (...chunk) => void early.push(chunk);
  let opened: () => void = () => {};
  const open = new Promise<'open'>((resolve) => {
    opened = () => resolve('open');
  });
  const timer = setTimeout(opened, timing.openAfterMs);
  const result = run((...chunk) => {
    listener(...chunk);
    opened();
  });

  const first = await Promise.race([result, open]).finally(() => clearTimeout(timer));
  if (first !== 'open' && first.kind === 'problem' && early.length === 0) return answerCall(c, first);

  // Proxies that buffer would turn a stream into one late answer.
  c.header('x-accel-buffering', 'no');
  const response = streamSSE(c, async (stream) => {
    const send = inOrder(stream);
    listener = (chunk, told) => void send('chunk', { chunk, progress: told?.progress, total: told?.total });
    for (const chunk of early.splice(0)) listener(...chunk);
    const heartbeat = setInterval(() => void stream.write(': still working\n\n'), timing.heartbeatMs);
    try {
      await sendEnd(send, await result.catch(failed), c.get('requestId'));
    } finally {
      clearInterval(heartbeat);
    }
  });
  // Hono names both; whether the connection is kept is between the client and the server beneath us.
  response.headers.delete('connection');
  response.headers.delete('transfer-encoding');
  return response;
}

type Send = (event: string, data: unknown) => Promise<void>;

/** Each event is written when the one before it is: a slow reader slows the stream, it does not mix it up. */
function inOrder(stream: SSEStreamingApi): Send {
  let written = Promise.resolve();
  return (event, data) => {
    written = written.then(() => stream.writeSSE({ event, data: JSON.stringify(data) }));
    return written;
  };
}

function sendEnd(send: Send, result: CallResult, requestId: string): Promise<void> {
  switch (result.kind) {
    case 'answer':
      return send('done', formatAnswer(result));
    case 'problem':
      return send('error', formatRefusal(result, requestId));
    default:
      return unreachable(result);
  }
}

function failed(error: unknown): CallResult {
  return { kind: 'problem', problem: problemOfThrown(error) };
}
