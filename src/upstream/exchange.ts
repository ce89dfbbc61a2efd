import type { Dispatcher } from 'undici';
import { trimBlanks } from '../base/http-fields.ts';
import { failureOf, type ExchangeFailure } from './exchange-failure.ts';
import type { Target } from './pools.ts';
import type { SignedDelete, SignedPost } from './signed-post.ts';

/** By their names in small letters, without the blanks around; one that came twice is joined by a comma. */
export type AnswerHeaders = Readonly<Record<string, string>>;

/** What one request to an agent hears, in this order: `head`, `data`*, then `end` or `failed`. */
export type ExchangeListener = {
  head(status: number, headers: AnswerHeaders): void;
  data(chunk: Buffer): void;
  end(): void;
  failed(failure: ExchangeFailure): void;
  /** The listener itself threw: our bug. */
  crashed(error: unknown): void;
};

/** A request under way. After either call the listener hears nothing more. */
export type Exchange = {
  /** Nobody wants the answer: closes the socket. */
  abort(): void;
  /** The answer is known: lets a short rest pass so that the connection can be used again. */
  drain(): void;
};

/** Sends the request as soon as its headers are made. Follows no redirects. */
export function startExchange(
  target: Target,
  { method = 'POST', headers, body }: SignedPost | SignedDelete,
  listener: ExchangeListener,
): Exchange {
  let controller: Dispatcher.DispatchController | undefined;
  let state: 'open' | 'draining' | 'over' = 'open';
  let drainTimer: NodeJS.Timeout | undefined;
  let drainedBytes = 0;

  function abort(): void {
    if (state === 'over') return;
    state = 'over';
    clearTimeout(drainTimer);
    controller?.abort(new Error('the answer is no longer wanted'));
  }

  function drain(): void {
    if (state !== 'open') return;
    state = 'draining';
    drainTimer = setTimeout(abort, DRAIN_MS).unref();
  }

  function tell(hear: () => void): void {
    try {
      hear();
    } catch (error) {
      abort();
      listener.crashed(error);
    }
  }

  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(started) {
      // A request that waited for a connection may have been given up by now.
      if (state === 'over') started.abort(new Error('the answer is no longer wanted'));
      else controller = started;
    },
    onResponseStart(_controller, status, headers) {
      // 1xx are interim (RFC 9110 section 15.2); the answer is still to come.
      if (state === 'open' && status >= 200) tell(() => listener.head(status, readHeaders(headers)));
    },
    onResponseData(_controller, chunk) {
      if (state === 'open') return tell(() => listener.data(chunk));
      drainedBytes += chunk.length;
      if (drainedBytes > DRAIN_BYTES) abort();
    },
    onResponseEnd() {
      const wasOpen = state === 'open';
      clearTimeout(drainTimer);
      state = 'over';
      if (wasOpen) tell(() => listener.end());
    },
    onResponseError(_controller, error) {
      const wasOpen = state === 'open';
      clearTimeout(drainTimer);
      state = 'over';
      if (wasOpen) tell(() => listener.failed(failureOf(error)));
    },
  };
  headers.then(
    (signed) => {
      if (state === 'over') return;
      tell(() => {
        target.pool.dispatch({ path: target.path, method, headers: signed, body }, handler);
      });
    },
    (error: unknown) => {
      if (state === 'over') return;
      state = 'over';
      listener.crashed(error);
    },
  );
  return { abort, drain };
}

/** undici leaves the blanks after a value in it. */
function readHeaders(received: Record<string, string | string[] | undefined>): AnswerHeaders {
  // No header is called like a member of every object.
  const headers: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const name in received) {
    const value = received[name];
    if (value !== undefined) headers[name] = typeof value === 'string' ? trimBlanks(value) : joined(value);
  }
  return headers;
}

function joined(values: string[]): string {
  return values.map(trimBlanks).join(', ');
}

// A server that ends its stream right after the last frame does so within a round trip.
const DRAIN_MS = 1_000;
const DRAIN_BYTES = 64 * 1_024;
