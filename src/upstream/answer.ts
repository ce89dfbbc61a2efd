import { StringDecoder } from 'node:string_decoder';
import { createParser } from 'eventsource-parser';
import type { EventSourceMessage } from 'eventsource-parser';
import { contentCodings, parseMediaType } from '../base/http-fields.ts';
import { startExchange } from './exchange.ts';
import type { ExchangeFailure } from './exchange-failure.ts';
import type { AnswerHeaders, Exchange } from './exchange.ts';
import type { Target } from './pools.ts';
import type { SignedPost } from './signed-post.ts';
import type { UpstreamOutcome } from './upstream.ts';

/** What an agent's answer is, whichever protocol it speaks: one body, a stream of frames, or a refusal. */
export type AnswerListener = {
  /** A 2xx body, read whole. */
  whole(body: Buffer, status: number, headers: AnswerHeaders): void;
  /** One event of a 2xx `text/event-stream`. */
  frame(event: EventSourceMessage): void;
  /** The stream is over. */
  framesEnded(): void;
  /** Neither 2xx nor a redirect. `body` is the start of what it said, at most 16 KB. */
  refused(body: Buffer, status: number): void;
  failed(outcome: UpstreamOutcome, code: string): void;
  crashed(error: unknown): void;
  /** The answer begins: what a session learns from headers. */
  head?(headers: AnswerHeaders): void;
};

/** Asks, and tells `listener` the answer. A listener that has heard enough drains or aborts the exchange. */
export function readAnswer(
  target: Target,
  post: SignedPost,
  maxBytes: number,
  listener: AnswerListener,
): Exchange {
  let status = 0;
  let answerHeaders: AnswerHeaders = {};
  let bytes = 0;
  const chunks: Buffer[] = [];
  let feedFrames: ((chunk: Buffer) => void) | undefined;
  let isOver = false;

  function fail(outcome: UpstreamOutcome, code = ''): void {
    isOver = true;
    listener.failed(outcome, code);
  }

  function tooLarge(): void {
    fail({ kind: 'output_invalid', detail: `the answer is larger than ${maxBytes} bytes` });
    exchange.abort();
  }

  function refuse(): void {
    isOver = true;
    listener.refused(Buffer.concat(chunks).subarray(0, REFUSAL_BYTES), status);
  }

  const exchange = startExchange(target, post, {
    head(answerStatus, received) {
      status = answerStatus;
      answerHeaders = received;
      if (status >= 300 && status < 400) {
        return fail({
          kind: 'agent_error',
          detail: `it answered with a redirect (${status}), and none is followed`,
        });
      }
      const isSuccess = status < 300;
      if (contentCodings(received['content-encoding']).length > 0) {
        // A compressed body is never read: `maxBytes` counts what is read, and a bomb is small until then.
        if (!isSuccess) return refuse();
        return fail({ kind: 'output_invalid', detail: 'the answer is compressed, and none was asked for' });
      }
      if (!isSuccess) return;
      if (Number(received['content-length'] ?? 0) > maxBytes) return tooLarge();
      listener.head?.(received);
      if (parseMediaType(received['content-type'] ?? '')?.type === 'text/event-stream') {
        feedFrames = frameParser((event) => {
          if (!isOver) listener.frame(event);
        });
      }
    },
    data(chunk) {
      if (isOver) return;
      bytes += chunk.length;
      if (status >= 300) {
        chunks.push(chunk);
        if (bytes > REFUSAL_BYTES) refuse();
      } else if (bytes > maxBytes) tooLarge();
      else if (feedFrames) feedFrames(chunk);
      else chunks.push(chunk);
    },
    end() {
      if (isOver) return;
      if (status >= 300) refuse();
      else if (feedFrames) listener.framesEnded();
      else listener.whole(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks), status, answerHeaders);
    },
    failed(failure: ExchangeFailure) {
      if (!isOver) fail({ kind: failure.kind, detail: failure.detail }, failure.code);
    },
    crashed: (error) => listener.crashed(error),
  });
  return exchange;
}

const REFUSAL_BYTES = 16 * 1_024;
/** A chunk may end inside a character, a line or a CRLF. */
function frameParser(onEvent: (event: EventSourceMessage) => void): (chunk: Buffer) => void {
  const decoder = new StringDecoder('utf8');
  const parser = createParser({ onEvent });
  return (chunk) => parser.feed(decoder.write(chunk));
}
