import type { Clock } from '../base/clock.ts';
import { NOTED_BALANCE_MS, type Gate } from './gate.ts';

const MS_PER_MINUTE = 60_000;

type KeyState = {
  /** Theoretical arrival time of the next call, the one number the rate limit needs (GCRA). */
  nextAt: number;
  running: number;
};

/** The gate of one process. */
export function createMemoryGate(clock: Clock): Gate {
  const keys = new Map<string, KeyState>();
  const balances = new Map<bigint, { availableMicros: bigint; until: number }>();

  function notedBalance(accountId: bigint, now: number): { availableMicros: bigint } | undefined {
    const noted = balances.get(accountId);
    if (noted && noted.until <= now) balances.delete(accountId);
    return noted && noted.until > now ? noted : undefined;
  }

  return {
    enter: ({ caller, amountMicros }) => {
      const now = clock.elapsed();
      const state = keys.get(caller.keyId) ?? { nextAt: now, running: 0 };
      // A whole minute's calls may come at once; then one more each time a call's share of it has passed.
      const share = MS_PER_MINUTE / caller.ratePerMinute;
      const nextAt = Math.max(state.nextAt, now) + share;
      // Half a share of tolerance: the sum of a minute's shares is seldom exactly a minute in floating point.
      if (nextAt - now > MS_PER_MINUTE + share / 2) {
        const retryAfterMs = nextAt - now - MS_PER_MINUTE;
        return Promise.resolve({ kind: 'rate_limited', ratePerMinute: caller.ratePerMinute, retryAfterMs });
      }
      if (state.running >= caller.maxConcurrent) {
        return Promise.resolve({ kind: 'too_many_at_once', maxConcurrent: caller.maxConcurrent });
      }
      const noted = notedBalance(caller.accountId, now);
      if (noted && noted.availableMicros < amountMicros) {
        return Promise.resolve({ kind: 'insufficient', availableMicros: noted.availableMicros });
      }
      state.nextAt = nextAt;
      state.running += 1;
      keys.set(caller.keyId, state);
      if (noted) noted.availableMicros -= amountMicros;
      let hasLeft = false;
      return Promise.resolve({
        kind: 'entered',
        leave: (givenBackMicros) => {
          if (hasLeft) return;
          hasLeft = true;
          state.running -= 1;
          const still = notedBalance(caller.accountId, clock.elapsed());
          if (still) still.availableMicros += givenBackMicros;
          if (state.running === 0 && state.nextAt <= clock.elapsed()) keys.delete(caller.keyId);
        },
      });
    },
    noteBalance: (accountId, availableMicros) => {
      balances.set(accountId, { availableMicros, until: clock.elapsed() + NOTED_BALANCE_MS });
    },
    forgetBalance: (accountId) => {
      balances.delete(accountId);
    },
    state: () => 'local',
    close: () => Promise.resolve(),
  };
}
