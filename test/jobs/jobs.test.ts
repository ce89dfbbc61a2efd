import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { systemClock } from '../../src/base/clock.ts';
import type { Log } from '../../src/base/log.ts';
import type { Job } from '../../src/jobs/job.ts';
import { startJobs, type JobEnd, type JobLimits, type Jobs } from '../../src/jobs/jobs.ts';
import type { JobStore } from '../../src/jobs/backend.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { createTestRedis, skipWithoutRedis, type TestRedis } from '../support/redis.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import type { WorkerOrder } from './worker-process.ts';

const WORKER = fileURLToPath(new URL('./worker-process.ts', import.meta.url));
const SHIFTED_CLOCK = new URL('../support/shifted-clock.ts', import.meta.url).href;
const PLANNED_TOO_FAR =
  'jobs were planned too far ahead, by a process with a wrong clock; they are planned anew';
const LONGEST_WAIT_MS = 30_000;
const HOUR_MS = 3_600_000;
const LIMITS = { lockMs: 1_000, stalledEveryMs: 300, retryMs: 20, lookOverEveryMs: 100 };

for (const kind of ['PostgreSQL', 'Redis'] as const) {
  describe(`jobs in ${kind}`, { skip: kind === 'Redis' && skipWithoutRedis }, () => {
    let database: TestDatabase;
    const databases: TestDatabase[] = [];
    let redis: TestRedis | undefined;
    let books: pg.Client;
    const started: Jobs[] = [];
    const children = new Set<ChildProcess>();

    before(async () => {
      database = await createTestDatabase();
      redis = kind === 'Redis' ? await createTestRedis() : undefined;
      books = new pg.Client({ connectionString: database.url });
      await books.connect();
      await books.query('CREATE TABLE runs (job text, id text, pid int); CREATE TABLE effects (id text)');
    });
    after(async () => {
      for (const child of children) child.kill('SIGKILL');
      for (const jobs of started) await jobs.stop(0);
      await books.end();
      for (const each of [database, ...databases]) await each.close();
      await redis?.close();
    });

    /** Jobs in this process. */
    function start(
      store: JobStore,
      schedule: Record<string, Partial<Job> & Pick<Job, 'run'>>,
      options: {
        limits?: Partial<JobLimits>;
        log?: Log;
        onEnded?: (end: JobEnd) => void;
        isRight?: () => boolean;
      } = {},
    ): Jobs {
      const jobs = startJobs({
        store,
        schedule: Object.fromEntries(
          Object.entries(schedule).map(([name, job]) => [
            name,
            { repeat: { everyMs: HOUR_MS }, retries: 0, ...job },
          ]),
        ),
        clock: { ...systemClock, isRight: () => Promise.resolve(options.isRight?.() ?? true) },
        log: options.log ?? (() => {}),
        onEnded: options.onEnded ?? (() => {}),
        limits: { ...LIMITS, ...options.limits },
      });
      started.push(jobs);
      return jobs;
    }

    /** One nobody has used. */
    async function newStore(): Promise<JobStore> {
      const own = await createTestDatabase();
      databases.push(own);
      return {
        databaseUrl: own.url,
        redisUrl: redis?.url,
        redisPrefix: `${redis?.prefix ?? ''}${databases.length}`,
      };
    }

    function startProcess(
      order: Omit<WorkerOrder, 'databaseUrl'>,
      clockAheadMs = 0,
    ): ChildProcess & { pid: number } {
      const child = spawn(
        process.execPath,
        [
          ...(clockAheadMs === 0 ? [] : ['--import', SHIFTED_CLOCK]),
          WORKER,
          JSON.stringify({ ...order, databaseUrl: database.url }),
        ],
        { stdio: 'inherit', env: { ...process.env, TEST_CLOCK_AHEAD_MS: String(clockAheadMs) } },
      );
      children.add(child);
      return child as ChildProcess & { pid: number };
    }

    async function runsOf(job: string): Promise<{ id: string; pid: number }[]> {
      return (
        await books.query<{ id: string; pid: number }>('SELECT id, pid FROM runs WHERE job = $1', [job])
      ).rows;
    }

    test('a job runs at once, and again at its interval', async () => {
      const runs = counter();
      const jobs = start(await newStore(), { often: { repeat: { everyMs: 50 }, run: runs.count } });
      await runs.reached(3);
      await jobs.stop(5_000);
    });

    test('a run of two processes is taken by one of them, and both take their share', async () => {
      const store = await newStore();
      const processes = [0, 1].map(() => startProcess({ store, hangs: false, tickEveryMs: 30 }));
      await until(async () => {
        const runs = await runsOf('tick');
        return processes.every(({ pid }) => runs.filter((run) => run.pid === pid).length >= 10);
      });
      for (const child of processes) child.kill('SIGTERM');
      const codes = await Promise.all(processes.map((child) => once(child, 'exit')));
      assert.deepEqual(codes, [
        [0, null],
        [0, null],
      ]);
      const ids = (await runsOf('tick')).map(({ id }) => id);
      assert.equal(new Set(ids).size, ids.length);
      await books.query('DELETE FROM runs; DELETE FROM effects');
    });

    test('the job of a process that was killed in it is taken over, and done once in effect', async () => {
      const store = await newStore();
      const killed = startProcess({ store, hangs: true, tickEveryMs: 30 });
      await until(async () => (await runsOf('slow')).length === 1);
      const next = startProcess({ store, hangs: false, tickEveryMs: 30 });
      await until(async () => (await runsOf('tick')).some(({ pid }) => pid === next.pid));
      killed.kill('SIGKILL');
      await until(async () => (await books.query('SELECT 1 FROM effects')).rowCount === 1);
      next.kill('SIGTERM');
      assert.deepEqual(await once(next, 'exit'), [0, null]);
      const runs = await runsOf('slow');
      assert.deepEqual(
        runs.map(({ pid }) => pid),
        [killed.pid, next.pid],
      );
      assert.equal(runs[0]?.id, runs[1]?.id);
      assert.equal((await books.query('SELECT 1 FROM effects')).rowCount, 1);
    });

    test('whoever stops waits for the job under way, and takes no other', async () => {
      const store = await newStore();
      const [long, others, othersElsewhere] = [counter(), counter(), counter()];
      const gate = Promise.withResolvers<void>();
      const ended: JobEnd[] = [];
      const run = async (): Promise<void> => {
        await long.count();
        await gate.promise;
      };
      const other = { repeat: { everyMs: 20 }, run: others.count };
      const stopping = start(store, { long: { run }, other }, { onEnded: (end) => ended.push(end) });
      await long.reached(1);
      await others.reached(1);
      let isStopped = false;
      const stopped = stopping.stop(LONGEST_WAIT_MS).then(() => (isStopped = true));
      const taken = others.total();
      const going = start(store, { long: { run }, other: { ...other, run: othersElsewhere.count } });
      await othersElsewhere.reached(10);
      assert.equal(isStopped, false);
      assert.ok(others.total() <= taken + 1, 'it takes jobs while it stops');
      gate.resolve();
      await stopped;
      await going.stop(5_000);
      assert.equal(long.total(), 1);
      assert.deepEqual(
        ended.filter(({ name }) => name === 'long'),
        [{ name: 'long', result: 'completed' }],
      );
    });

    test('a job that does not end in time is left to the next process', async () => {
      const runs = counter();
      const gate = Promise.withResolvers<void>();
      const lines: string[] = [];
      const store = await newStore();
      const first = start(
        store,
        {
          long: {
            run: async () => {
              await runs.count();
              await gate.promise;
            },
          },
        },
        { log: (level, message) => lines.push(`${level} ${message}`) },
      );
      await runs.reached(1);
      await first.stop(10);
      assert.deepEqual(lines, ['warn stopped with jobs under way; they will be taken over']);
      const second = start(store, { long: { run: runs.count } });
      await runs.reached(2);
      gate.resolve();
      await second.stop(5_000);
    });

    test('a run that failed is logged and tried again, later and later', async () => {
      const ends: string[] = [];
      const lines: string[] = [];
      const runs = counter();
      const jobs = start(
        await newStore(),
        {
          shaky: {
            retries: 2,
            run: async () => {
              await runs.count();
              if (runs.total() < 3) throw new Error(`failure ${runs.total()}`);
            },
          },
        },
        {
          onEnded: ({ name, result }) => ends.push(`${name} ${result}`),
          log: (level, message, fields) =>
            lines.push(
              `${level} ${message} ${String(fields?.['job'])} ${String(fields?.['error']).split('\n')[0]}`,
            ),
        },
      );
      await runs.reached(3);
      await jobs.stop(5_000);
      assert.deepEqual(ends, ['shaky failed', 'shaky failed', 'shaky completed']);
      assert.deepEqual(lines, [
        'error a job failed shaky Error: failure 1',
        'error a job failed shaky Error: failure 2',
      ]);
    });

    test('a run that takes longer than its interval is not joined by the next', async () => {
      const gate = Promise.withResolvers<void>();
      const slow = counter();
      const quick = counter();
      const jobs = start(
        await newStore(),
        {
          slow: {
            repeat: { everyMs: 20 },
            run: async () => {
              await slow.count();
              if (slow.total() === 1) await gate.promise;
            },
          },
          quick: { repeat: { everyMs: 20 }, run: quick.count },
        },
        { limits: { concurrency: 2 } },
      );
      await slow.reached(1);
      await quick.reached(10);
      assert.equal(slow.total(), 1);
      gate.resolve();
      await slow.reached(2);
      await jobs.stop(5_000);
    });

    test('a job whose next run was lost is planned again', async () => {
      const runs = counter();
      const lines: string[] = [];
      const jobs = start(
        await newStore(),
        { often: { repeat: { everyMs: 50 }, run: runs.count } },
        { log: (_, message) => lines.push(message) },
      );
      const queue = await jobs.ready;
      await runs.reached(1);
      await queue.removeJobScheduler('often');
      await runs.reached(runs.total() + 4);
      await jobs.stop(5_000);
      assert.ok(lines.includes('jobs had no next run; they have one again'), lines.join());
    });

    for (const { what, aheadMs } of [
      { what: '240 s ahead', aheadMs: 240_000 },
      { what: '8 days ahead', aheadMs: 8 * 24 * HOUR_MS },
      { what: 'an hour behind', aheadMs: -HOUR_MS },
    ]) {
      test(`what a process planned whose clock is ${what} holds nobody up, while it is there and after`, async () => {
        const store = await newStore();
        const [ticks, slow] = [counter(), counter()];
        const lines: string[] = [];
        const tickEveryMs = 200;
        const before = (await runsOf('tick')).length;
        const wrong = startProcess({ store, hangs: false, tickEveryMs, trustsItself: true }, aheadMs);
        await until(async () => (await runsOf('tick')).length > before + 1);
        const right = start(
          store,
          { tick: { repeat: { everyMs: tickEveryMs }, run: ticks.count }, slow: { run: slow.count } },
          { log: (_, message) => lines.push(message) },
        );
        await ticks.reached(3);
        wrong.kill('SIGKILL');
        await once(wrong, 'exit');
        await ticks.reached(ticks.total() + 3);
        await right.stop(5_000);
        assert.equal(lines.includes(PLANNED_TOO_FAR), aheadMs > 0, lines.join());
      });
    }

    test('a daily run further away than a day is planned anew', async () => {
      const store = await newStore();
      const cron = '0 0 * * *';
      const lines: string[] = [];
      const jobs = start(
        store,
        { daily: { repeat: { cron, apartMs: 24 * HOUR_MS }, run: () => Promise.resolve() } },
        { log: (_, message) => lines.push(message) },
      );
      const queue = await jobs.ready;
      await queue.upsertJobScheduler(
        'daily',
        { pattern: cron, tz: 'UTC', startDate: Date.now() + 8 * 24 * HOUR_MS },
        { name: 'daily', opts: { attempts: 1 } },
      );
      await until(() => Promise.resolve(lines.includes(PLANNED_TOO_FAR)));
      const [planned] = await queue.getJobSchedulers();
      assert.ok((planned?.next ?? 0) <= Date.now() + 24 * HOUR_MS);
      await jobs.stop(5_000);
    });

    test('a process whose clock is wrong runs nothing, and goes on when it is right again', async () => {
      const store = await newStore();
      let isRight = false;
      const [wrong, right] = [counter(), counter()];
      const limits = { openAgainMs: 20 };
      const one = start(
        store,
        { often: { repeat: { everyMs: 50 }, run: wrong.count } },
        { limits, isRight: () => isRight },
      );
      const other = start(store, { often: { repeat: { everyMs: 50 }, run: right.count } });
      await right.reached(5);
      assert.equal(wrong.total(), 0);
      await other.stop(5_000);
      isRight = true;
      await wrong.reached(3);
      isRight = false;
      const again = start(store, { often: { repeat: { everyMs: 50 }, run: right.count } });
      await right.reached(right.total() + 2);
      const total = wrong.total();
      await right.reached(right.total() + 5);
      assert.equal(wrong.total(), total);
      await again.stop(5_000);
      isRight = true;
      await wrong.reached(total + 3);
      await one.stop(5_000);
    });

    test('a run taken at the moment a clock goes wrong is handed back, and is run once, by another', async () => {
      const store = await newStore();
      const ends: string[] = [];
      const [wrong, right] = [counter(), counter()];
      let looks = 0;
      const one = start(
        store,
        { hourly: { run: wrong.count } },
        { isRight: () => (looks += 1) === 1, onEnded: ({ result }) => ends.push(result) },
      );
      await until(() => Promise.resolve(looks > 1));
      const other = start(
        store,
        { hourly: { run: right.count } },
        { onEnded: ({ result }) => ends.push(result), limits: { lookOverEveryMs: HOUR_MS } },
      );
      await right.reached(1);
      await other.stop(5_000);
      await one.stop(5_000);
      assert.equal(wrong.total(), 0);
      assert.equal(right.total(), 1);
      assert.deepEqual(ends, ['completed']);
    });

    test('a job that is no longer on the schedule is taken away', async () => {
      const store = await newStore();
      const first = start(store, {
        old: { run: () => Promise.resolve() },
        kept: { run: () => Promise.resolve() },
      });
      await first.ready;
      await first.stop(5_000);
      const second = start(store, { kept: { run: () => Promise.resolve() } });
      const queue = await second.ready;
      assert.deepEqual(
        (await queue.getJobSchedulers()).map(({ key }) => key),
        ['kept'],
      );
      await second.stop(5_000);
    });

    test('a job whose interval was changed runs at the new one from now on', async () => {
      const store = await newStore();
      const runs = counter();
      for (const everyMs of [HOUR_MS, 40, HOUR_MS]) {
        const before = runs.total();
        const jobs = start(store, { often: { repeat: { everyMs }, run: runs.count } });
        await runs.reached(before + (everyMs === HOUR_MS ? 1 : 5));
        await jobs.stop(5_000);
      }
    });

    test('a run that was due while no process was there is run by the next one', async () => {
      const store = await newStore();
      const runs = counter();
      const schedule = { often: { repeat: { everyMs: 300 }, run: runs.count } };
      const first = start(store, schedule);
      await runs.reached(1);
      const [planned] = await (await first.ready).getJobSchedulers();
      await first.stop(5_000);
      const before = runs.total();
      await until(() => Promise.resolve(Date.now() > (planned?.next ?? 0) + 300));
      const second = start(store, schedule, { limits: { lookOverEveryMs: HOUR_MS } });
      await runs.reached(before + 2);
      await second.stop(5_000);
    });

    test('whoever starts runs nothing that is not due', async () => {
      const store = await newStore();
      const [hourly, quick] = [counter(), counter()];
      const schedule = {
        hourly: { run: hourly.count },
        quick: { repeat: { everyMs: 20 }, run: quick.count },
      };
      const first = start(store, schedule);
      await hourly.reached(1);
      await first.stop(5_000);
      const second = start(store, schedule);
      await quick.reached(quick.total() + 5);
      await second.stop(5_000);
      assert.equal(hourly.total(), 1);
    });

    test('whoever stops while the store is away waits for it no longer than it was told to', async () => {
      const proxy = await startTcpProxy(portOf(redis?.url ?? database.url), () => 'pass');
      const runs = counter();
      const jobs = start(throughProxy(await newStore(), proxy), {
        often: { repeat: { everyMs: 50 }, run: runs.count },
      });
      await runs.reached(2);
      await proxy.close();
      await jobs.stop(200);
      const told = runs.total();
      const never = start(throughProxy(await newStore(), proxy), { often: { run: runs.count } });
      await never.stop(200);
      assert.equal(runs.total(), told);
    });

    test('a store that is cut off at each of the steps it is opened in is opened at last', async () => {
      let stepsUntilCut = 1;
      let steps = 0;
      const proxy = await startTcpProxy(portOf(redis?.url ?? database.url), () => {
        steps += 1;
        if (steps < stepsUntilCut) return 'pass';
        steps = 0;
        stepsUntilCut += 1;
        return 'cut request';
      });
      const runs = counter();
      const jobs = start(
        throughProxy(await newStore(), proxy),
        { often: { repeat: { everyMs: 50 }, run: runs.count } },
        { limits: { openAgainMs: 1 } },
      );
      try {
        await runs.reached(2);
        assert.ok(proxy.counts['cut request'] > 5);
      } finally {
        await jobs.stop(5_000);
        await proxy.close();
      }
    });

    test('a store that goes away and comes back is said once, and jobs go on', async () => {
      let isAway = true;
      const proxy = await startTcpProxy(portOf(redis?.url ?? database.url), () =>
        isAway ? 'cut request' : 'pass',
      );
      const runs = counter();
      const lines: string[] = [];
      const jobs = start(
        throughProxy(await newStore(), proxy),
        { often: { repeat: { everyMs: 50 }, run: runs.count } },
        {
          log: (level, message) => lines.push(`${level} ${message}`),
          limits: { openAgainMs: 20 },
        },
      );
      try {
        await until(() => Promise.resolve(proxy.counts['cut request'] >= 5));
        isAway = false;
        await runs.reached(2);
        isAway = true;
        await until(() => Promise.resolve(lines.length > 2));
        isAway = false;
        await runs.reached(runs.total() + 3);
        assert.deepEqual(lines.slice(0, 3), [
          'warn the job store fails; jobs wait',
          'info the job store is back',
          'warn the job store fails; jobs wait',
        ]);
      } finally {
        isAway = false;
        await jobs.stop(5_000);
        await proxy.close();
      }
    });
  });
}

/** Counts, and tells when it has come so far. */
function counter() {
  let total = 0;
  let waiting: { wanted: number; resolve(): void }[] = [];
  return {
    total: () => total,
    count: (): Promise<void> => {
      total += 1;
      for (const { wanted, resolve } of waiting) if (total >= wanted) resolve();
      waiting = waiting.filter(({ wanted }) => total < wanted);
      return Promise.resolve();
    },
    reached: (wanted: number): Promise<void> => {
      if (total >= wanted) return Promise.resolve();
      return new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`${total} of ${wanted}`)), LONGEST_WAIT_MS);
        waiting.push({ wanted, resolve: () => (clearTimeout(late), resolve()) });
      });
    },
  };
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + LONGEST_WAIT_MS; !(await isSo()); await delay(10)) {
    assert.ok(performance.now() < deadline, `never so: ${isSo.toString()}`);
  }
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}

/** The same store by another way. */
function throughProxy(store: JobStore, { port }: TcpProxy): JobStore {
  const through = (url: string): string => Object.assign(new URL(url), { port: String(port) }).href;
  return store.redisUrl === undefined
    ? { ...store, databaseUrl: through(store.databaseUrl) }
    : { ...store, redisUrl: through(store.redisUrl) };
}
