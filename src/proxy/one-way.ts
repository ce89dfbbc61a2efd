import { systemClock } from '../base/clock.ts';
import type { Gateway } from './gateway.ts';
import { isAway, startOutage } from './outage.ts';

/** A notification of the host, or its answer to a question of the server. */
export type OneWay = {
  text: string;
  /** What the log calls it. */
  name: string;
  /** Asked again for each try: a session may have been renewed meanwhile. */
  headers: () => Record<string, string>;
};

export type OneWayDeps = {
  gateway: Gateway;
  retryWindowMs: number;
  /** Aborts when the host is gone. */
  closed: AbortSignal;
  log: (line: string) => void;
};

const TIMEOUT_MS = 30_000;

/** Delivers a message that has no answer. Nobody waits for one, so a failure is only worth a line in the log. */
export async function sendOneWay({ text, name, headers }: OneWay, deps: OneWayDeps): Promise<void> {
  const outage = startOutage(deps.retryWindowMs, systemClock);
  while (!deps.closed.aborted) {
    const giveUp = new AbortController();
    const timer = setTimeout(() => giveUp.abort(), TIMEOUT_MS);
    const reply = await deps.gateway.post(text, headers(), giveUp.signal);
    clearTimeout(timer);
    if (reply.kind === 'stream') {
      // Whatever a server streams in return to a notification is not meant for anyone.
      giveUp.abort();
      return;
    }
    if (reply.kind === 'text' && !isAway(reply.status)) {
      if (reply.status >= 400) deps.log(`The gateway refused ${name} (HTTP ${reply.status}).`);
      return;
    }
    const loss =
      reply.kind === 'lost' ? reply : { cause: `it answered HTTP ${reply.status}`, retryable: true };
    const verdict = await outage.wait(loss, deps.closed);
    if (verdict.kind === 'over') return deps.log(`${name} did not reach the gateway: ${loss.cause}.`);
  }
}
