import pg from 'pg';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { watchDatabaseClock } from '../../src/db/watch-database-clock.ts';
import { startJobs } from '../../src/jobs/jobs.ts';
import type { JobStore } from '../../src/jobs/backend.ts';

/** What a process is told to do, as JSON in its one argument. */
export type WorkerOrder = {
  store: JobStore;
  /** Where it writes down what it does. */
  databaseUrl: string;
  /** Begins the job `slow` and never ends it. */
  hangs: boolean;
  tickEveryMs: number;
  /** Goes by its own clock without asking the database, as a gateway of an earlier version does. */
  trustsItself?: boolean;
};

const LIMITS = { lockMs: 1_000, stalledEveryMs: 300, retryMs: 50 };

// A process of jobs that writes down what it runs, for a test to read and to kill.
const order = JSON.parse(process.argv[2] ?? '') as WorkerOrder;
const pool = new pg.Pool({ connectionString: order.databaseUrl, max: 2 });

const clock = order.trustsItself
  ? { ...systemClock, isRight: () => Promise.resolve(true) }
  : await watchDatabaseClock({ pool }, { log: silentLog });

const jobs = startJobs({
  store: order.store,
  clock,
  log: silentLog,
  onEnded: () => {},
  limits: LIMITS,
  schedule: {
    tick: {
      repeat: { everyMs: order.tickEveryMs },
      retries: 0,
      run: (id) => pool.query(`INSERT INTO runs (job, id, pid) VALUES ('tick', $1, $2)`, [id, process.pid]),
    },
    slow: {
      repeat: { everyMs: 3_600_000 },
      retries: 0,
      run: async (id) => {
        await pool.query(`INSERT INTO runs (job, id, pid) VALUES ('slow', $1, $2)`, [id, process.pid]);
        if (order.hangs) await new Promise(() => {});
        await pool.query('INSERT INTO effects (id) VALUES ($1)', [id]);
      },
    },
  },
});
process.once('SIGTERM', () => {
  void jobs.stop(10_000).then(() => pool.end());
});
