import type { CallDeps } from '../calls/deps.ts';
import { createSweeper } from '../calls/sweeper.ts';
import type { Log } from '../base/log.ts';
import { LIMITS } from './config.ts';

export type Housekeeping = { stop(): Promise<void> };

/**
 * What every gateway process does besides answering: refund holds past their expiry and write missing records.
 * Buyers' credits hang on it, so it waits for no queue of jobs. A round that fails is logged and the next one
 * tries again.
 */
export function startHousekeeping(deps: CallDeps, log: Log): Housekeeping {
  const sweeper = createSweeper(deps);
  return repeat(LIMITS.sweepEveryMs, sweeper.sweep, log);
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
