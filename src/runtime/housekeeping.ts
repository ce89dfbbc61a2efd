import type { CallDeps } from '../calls/deps.ts';
import { removeExpired, sweep } from '../calls/sweeper.ts';
import type { Log } from '../base/log.ts';
import { LIMITS } from './config.ts';

export type Housekeeping = { stop(): Promise<void> };

/**
 * What every gateway process does besides answering: refund holds past their expiry, write missing records,
 * forget what is kept for a time. A round that fails is logged and the next one tries again.
 */
export function startHousekeeping(deps: CallDeps, log: Log): Housekeeping {
  const sweeping = repeat(LIMITS.sweepEveryMs, () => sweep(deps), log);
  const forgetting = repeat(LIMITS.forgetEveryMs, () => removeExpired(deps), log);
  return {
    stop: async () => {
      await Promise.all([sweeping.stop(), forgetting.stop()]);
    },
  };
}

function repeat(everyMs: number, work: () => Promise<unknown>, log: Log): Housekeeping {
  let timer: NodeJS.Timeout | undefined;
  let underWay: Promise<unknown> = Promise.resolve();
  let isStopped = false;

  function round(): void {
    underWay = work()
      .catch((error: unknown) =>
        log('warn', 'housekeeping failed; it will be tried again', { error: String(error) }),
      )
      .finally(() => {
        if (isStopped) return;
        timer = setTimeout(round, everyMs);
        timer.unref();
      });
  }

  round();
  return {
    stop: async () => {
      isStopped = true;
      clearTimeout(timer);
      await underWay;
    },
  };
}
