import { systemClock, type Clock } from '../base/clock.ts';
import { invariant } from '../base/invariant.ts';
import type { Log } from '../base/log.ts';
import type { Database } from './db.ts';

/** How far a process's own clock may be from the database's before it keeps its hands off jobs. */
export const MAX_SKEW_MS = 5_000;
const MEASURED_EVERY_MS = 5_000;

/**
 * The database's clock as one process knows it between two looks at it: what was read, and the time that has passed
 * since by a clock nobody sets. So a process whose own clock is wrong still writes and reckons with the right time, at
 * no cost to a call.
 */
export type WatchedClock = Clock & {
  /** How far this process's own clock is ahead of the database's; negative where it is behind. */
  aheadMs(): number;
  /** Looks at the database's clock; false when ours differs from it by more than five seconds. Never rejects. */
  isRight(): Promise<boolean>;
  /** The same as it was found last. */
  wasRight(): boolean;
  close(): void;
};

/** What one look at the database's clock found. */
export type Measured = {
  /** What the database said, and what our clock that nobody sets said in the middle of asking. */
  databaseMs: number;
  atElapsed: number;
  aheadMs: number;
  /** Half of the round trip: by so much the rest may be wrong. */
  slackMs: number;
};

/** Looks at the database's clock now, and then every five seconds. Throws when the database does not answer now. */
export async function watchDatabaseClock(
  { pool }: Pick<Database, 'pool'>,
  options: { log: Log; own?: Clock },
): Promise<WatchedClock> {
  const { log, own = systemClock } = options;
  let last = await measure();
  let known = last;
  let underWay: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;

  async function measure(): Promise<Measured> {
    const [wallBefore, before] = [own.now(), own.elapsed()];
    const { rows } = await pool.query<{ now: number }>(
      'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now',
    );
    const [wallAfter, after] = [own.now(), own.elapsed()];
    invariant(rows[0], 'a SELECT without FROM has one row');
    const databaseMs = rows[0].now;
    return {
      databaseMs,
      atElapsed: (before + after) / 2,
      aheadMs: Math.round((wallBefore + wallAfter) / 2 - databaseMs),
      slackMs: (after - before) / 2,
    };
  }

  async function look(): Promise<void> {
    try {
      const found = await measure();
      tell(found);
      last = found;
      if (isNews(known, found)) known = found;
    } catch {
      // Whoever needs the database for more than its clock says that it is away.
    }
  }

  function tell(found: Measured): void {
    if (isOff(found) === isOff(last)) return;
    if (isOff(found)) tellOff(found);
    else log('info', 'this process and the database agree what time it is again');
  }

  function tellOff({ aheadMs }: Measured): void {
    log(
      'error',
      'this process and the database do not agree what time it is; it runs no jobs until they do',
      {
        ahead_s: Math.round(aheadMs / 1_000),
      },
    );
  }

  function lookAgain(): void {
    if (isClosed) return;
    timer = setTimeout(() => void lookOnce().then(lookAgain), MEASURED_EVERY_MS);
    timer.unref();
  }

  /** Several who want to know at once ask once. */
  function lookOnce(): Promise<void> {
    underWay ??= look().finally(() => {
      underWay = undefined;
    });
    return underWay;
  }

  if (isOff(last)) tellOff(last);
  lookAgain();
  return {
    now: () => Math.trunc(known.databaseMs + own.elapsed() - known.atElapsed),
    elapsed: () => own.elapsed(),
    aheadMs: () => last.aheadMs,
    wasRight: () => !isOff(last),
    isRight: async () => {
      await lookOnce();
      return !isOff(last);
    },
    close: () => {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}

/** A slow answer proves nothing: only what the round trip cannot explain counts. */
export function isOff({ aheadMs, slackMs }: Measured): boolean {
  return Math.abs(aheadMs) - slackMs > MAX_SKEW_MS;
}

/** What a look could have found by chance leaves the time as it is, so that it does not go to and fro. */
export function isNews(known: Measured, found: Measured): boolean {
  const expectedMs = known.databaseMs + found.atElapsed - known.atElapsed;
  return Math.abs(found.databaseMs - expectedMs) > found.slackMs;
}
