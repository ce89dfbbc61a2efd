import type { Log } from '../base/log.ts';
import type { Exchange } from './exchange.ts';
import type { UpstreamOutcome, UpstreamRequest } from './upstream.ts';

/**
 * One call that is sent, from its start to its single outcome. The first outcome wins; after it no timer, listener or
 * unwanted request is left, and whatever an agent still says is heard by nobody.
 */
export type Attempt = {
  request: UpstreamRequest;
  outcome: Promise<UpstreamOutcome>;
  isOver(): boolean;
  end(outcome: UpstreamOutcome): void;
  /** Ends with what went wrong on the wire; `code` is for the log, and empty when the outcome says it all. */
  fail(outcome: UpstreamOutcome, code: string): void;
  /** Our own bug: `send()` rejects. */
  crash(error: unknown): void;
  /** The exchange that ends with this attempt. */
  runs(exchange: Exchange): void;
  /** Called when the outcome is a time-out or a cancellation, so that the agent can be told. */
  onAbandoned: (() => void) | undefined;
};

/** Starts the clock. The caller has seen that `signal` is not aborted yet. */
export function openAttempt(request: UpstreamRequest, log: Log): Attempt {
  const { promise, resolve, reject } = Promise.withResolvers<UpstreamOutcome>();
  let isOver = false;
  let exchange: Exchange | undefined;
  let wantsRest = false;

  const cancel = () => attempt.end({ kind: 'cancelled' });
  const timer = setTimeout(() => attempt.end({ kind: 'timeout' }), request.timeoutMs);
  request.signal.addEventListener('abort', cancel);

  function close(kind: UpstreamOutcome['kind'] | 'crash'): boolean {
    if (isOver) return false;
    isOver = true;
    clearTimeout(timer);
    request.signal.removeEventListener('abort', cancel);
    wantsRest = kind === 'answer' || kind === 'agent_error';
    stop();
    if (kind === 'timeout' || kind === 'cancelled') attempt.onAbandoned?.();
    return true;
  }

  function stop(): void {
    if (wantsRest) exchange?.drain();
    else exchange?.abort();
  }

  const attempt: Attempt = {
    request,
    outcome: promise,
    isOver: () => isOver,
    end(outcome) {
      if (close(outcome.kind)) resolve(outcome);
    },
    fail(outcome, code) {
      if (code !== '') {
        // The origin only: a path or query may hold a secret of the seller's.
        const { origin } = new URL(request.endpoint.url);
        log('warn', 'an agent could not be reached', { callId: request.callId, origin, code });
      }
      attempt.end(outcome);
    },
    crash(error) {
      if (close('crash')) reject(error);
    },
    runs(started) {
      exchange = started;
      // An exchange can fail, and so end the attempt, while it is being started.
      if (isOver) stop();
    },
    onAbandoned: undefined,
  };
  return attempt;
}
