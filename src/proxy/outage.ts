import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { parseRetryAfterMs } from '../base/http-fields.ts';

/** What ended one try without an answer. `heard`: the gateway said something before it went away. */
export type Loss = {
  cause: string;
  retryable: boolean;
  stale?: boolean;
  heard?: boolean;
  retryAfterMs?: number;
};

/** How long to keep trying one message while the gateway is away. */
export type Outage = {
  /** Waits and says `again`, or says how long was tried when there is no point in going on. */
  wait(loss: Loss, signal: AbortSignal): Promise<{ kind: 'again' } | { kind: 'over'; triedMs: number }>;
};

const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 4_000;
/** A gateway that says a word and falls over each time would otherwise be asked for ever. */
const MAX_TRIES = 20;

/** One outage clock per message: it starts with the first loss and starts over when the gateway was heard. */
export function startOutage(windowMs: number, clock: Clock): Outage {
  let startedAt: number | undefined;
  let losses = 0;
  let waits = 0;
  return {
    async wait(loss, signal) {
      losses += 1;
      if (loss.heard === true) {
        startedAt = undefined;
        waits = 0;
      }
      const now = clock.elapsed();
      startedAt ??= now;
      // An idle connection that was closed under us says nothing about the gateway: ask again at once.
      const backoffMs = loss.stale === true ? 0 : Math.min(FIRST_WAIT_MS * 2 ** waits++, LONGEST_WAIT_MS);
      // Spread by up to a quarter, so that a thousand proxies do not come back in the same instant.
      const waitMs = Math.max(backoffMs * (1 + Math.random() / 4), loss.retryAfterMs ?? 0);
      const triedMs = now - startedAt;
      if (!loss.retryable || losses >= MAX_TRIES || triedMs + waitMs > windowMs)
        return { kind: 'over', triedMs };
      await pause(waitMs, signal);
      return { kind: 'again' };
    },
  };
}

/** Resolves after the time, or at once when the signal says that nobody waits any more. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms > 0 && !signal.aborted) await sleep(ms, undefined, { signal }).catch(() => {});
}

/** What `Retry-After` asks for, in seconds or as a date; nothing where it says neither. */
export function retryAfterMs(header: string | undefined, clock: Clock): number {
  return parseRetryAfterMs(header ?? '', clock.now()) ?? 0;
}

/** The statuses a load balancer or a restarting gateway answers with: the request did not reach its end. */
export function isAway(status: number): boolean {
  return status === 502 || status === 503 || status === 504;
}
