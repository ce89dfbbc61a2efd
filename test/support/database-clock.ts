import type { Database } from '../../src/db/db.ts';

/** What time it is for the work of one test database, which a test turns. */
export type DatabaseClock = {
  /** Milliseconds since 1970, as the database would say. */
  now(): number;
  later(ms: number): Promise<void>;
  /** From here on time stands still at this moment. */
  set(ms: number): Promise<void>;
  /** Does something at a moment at which time stands still, and goes back to where time was. */
  at<Value>(ms: number, work: () => Promise<Value>): Promise<Value>;
  /** Goes with the database's own clock again. */
  reset(): Promise<void>;
};

/** Either as far ahead of the database's own clock, or at a moment. */
type Time = { aheadMs: number } | { atMs: number };

/** Nothing in a gateway's database can be set to shift its clock, so a test puts another function in its place. */
export function openDatabaseClock({ pool }: Pick<Database, 'pool'>): DatabaseClock {
  let time: Time = { aheadMs: 0 };
  let underWay: Promise<unknown> = Promise.resolve();

  /** Whoever turns the clock waits for those before. */
  function next<Value>(work: () => Promise<Value>): Promise<Value> {
    const turned = underWay.then(work);
    underWay = turned.catch(() => {});
    return turned;
  }

  async function turn(to: Time): Promise<void> {
    const body =
      'atMs' in to
        ? `SELECT '${new Date(to.atMs).toISOString()}'::timestamptz`
        : `SELECT now() + interval '${to.aheadMs} milliseconds'`;
    await pool.query(
      `CREATE OR REPLACE FUNCTION database_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$${body}$$`,
    );
    time = to;
  }

  return {
    now: () => ('atMs' in time ? time.atMs : Date.now() + time.aheadMs),
    later: (ms) =>
      next(() => turn('atMs' in time ? { atMs: time.atMs + ms } : { aheadMs: time.aheadMs + ms })),
    set: (ms) => next(() => turn({ atMs: ms })),
    at: (ms, work) =>
      next(async () => {
        const before = time;
        await turn({ atMs: ms });
        try {
          return await work();
        } finally {
          await turn(before);
        }
      }),
    reset: () => next(() => turn({ aheadMs: 0 })),
  };
}
