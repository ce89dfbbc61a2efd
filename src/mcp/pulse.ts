import type { Clock } from '../base/clock.ts';
import { createCrowd } from '../base/crowd.ts';

/** How long silence may last. Milliseconds. */
export type Timing = {
  /** After this long without a word a call with a progress token says that it still works. */
  heartbeatMs: number;
  /** After this long without a byte a stream sends a comment: proxies cut silent ones after a minute or two. */
  commentMs: number;
  /** After this long without a message a session of the old transport is closed. */
  sessionIdleMs: number;
  /** How often silence is looked for. */
  tickMs: number;
};

const DEFAULT_TIMING: Timing = {
  heartbeatMs: 10_000,
  commentMs: 15_000,
  sessionIdleMs: 30 * 60_000,
  tickMs: 1_000,
};

/** One timer for everything that waits, so that an open stream costs a place in a list and no timer of its own. */
export type Pulse = {
  readonly timing: Timing;
  /** Monotonic milliseconds. */
  now(): number;
  /** Calls back at every tick until the answer is called. */
  add(onTick: (now: number) => void): () => void;
};

export function createPulse(clock: Clock, changes: Partial<Timing> = {}): Pulse {
  const timing = { ...DEFAULT_TIMING, ...changes };
  const listeners = createCrowd<(now: number) => void>();
  let timer: NodeJS.Timeout | undefined;

  function tick(): void {
    if (listeners.size() === 0) {
      clearInterval(timer);
      timer = undefined;
      return;
    }
    const now = clock.elapsed();
    for (const listener of listeners.members()) listener(now);
  }

  return {
    timing,
    now: () => clock.elapsed(),
    add(onTick) {
      const leave = listeners.add(onTick);
      if (timer === undefined) {
        timer = setInterval(tick, timing.tickMs);
        timer.unref();
      }
      return leave;
    },
  };
}
