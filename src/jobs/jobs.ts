import { setTimeout as wait } from 'node:timers/promises';
import { traceOf, withoutParameters, type Log } from '../base/log.ts';
import type { WatchedClock } from '../db/watch-database-clock.ts';
import {
  openBackend,
  type JobBackend,
  type JobQueue,
  type JobRun,
  type JobStore,
  type JobWorker,
} from './backend.ts';
import type { Schedule } from './job.ts';
import { planJobs, repairPlan } from './plan.ts';

export type JobEnd = { name: string; result: 'completed' | 'failed' };

export type JobOptions = {
  store: JobStore;
  schedule: Schedule;
  /** While it is not right, this process takes no jobs, and plans none. */
  clock: JobClock;
  log: Log;
  onEnded(end: JobEnd): void;
  limits?: Partial<JobLimits>;
};

export type JobClock = Pick<WatchedClock, 'now' | 'elapsed' | 'isRight'>;

export type JobLimits = {
  /** Jobs of this process at a time. */
  concurrency: number;
  /** How long a job may show no sign of life before another process takes it over. */
  lockMs: number;
  /** How often jobs without a sign of life are looked for. */
  stalledEveryMs: number;
  /** The first wait before a failed run is tried again; each next one is twice as long. */
  retryMs: number;
  /** How often it is made sure that every job still has a next run, and none too far away. */
  lookOverEveryMs: number;
  /** How long to wait before a store that did not answer at the start, or a clock that was wrong, is asked again. */
  openAgainMs: number;
};

/** The jobs of this process. */
export type Jobs = {
  /** Resolves when this process takes jobs; never, when it is stopped before. */
  ready: Promise<JobQueue>;
  /**
   * Takes no more, and waits for those under way. One that has not ended after `graceMs` is left as it is:
   * its lock runs out, and another process, or the next one here, takes it over.
   */
  stop(graceMs: number): Promise<void>;
};

const LIMITS: JobLimits = {
  concurrency: 4,
  lockMs: 30_000,
  stalledEveryMs: 30_000,
  retryMs: 5_000,
  lookOverEveryMs: 10_000,
  openAgainMs: 5_000,
};
// A job whose process died that often is likely to be why.
const MOST_TAKEOVERS = 3;

/**
 * Runs the schedule. Any number of processes may: each run of a job is taken by one of them. Starting goes on
 * in the background and does not give up, so a gateway serves calls whether its job store answers or not.
 */
export function startJobs(options: JobOptions): Jobs {
  const { schedule, log, clock } = options;
  const limits = { ...LIMITS, ...options.limits };
  const stopping = new AbortController();
  const ready = Promise.withResolvers<JobQueue>();
  const underWay = new Set<string>();
  let isAway = false;
  let isResting = false;
  let backend: JobBackend | undefined;
  let worker: JobWorker | undefined;

  async function start(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        if (await clock.isRight()) {
          await open();
          return;
        }
      } catch (error) {
        tellAway(error);
        await close();
      }
      await pause(limits.openAgainMs);
    }
  }

  async function open(): Promise<void> {
    backend = await openBackend(options.store, tellAway);
    const { queue } = backend;
    const far = await planJobs(queue, schedule, limits.retryMs, clock.now());
    tellFar(far);
    if (stopping.signal.aborted) return close();
    worker = backend.startWorker(run, {
      concurrency: limits.concurrency,
      lockDuration: limits.lockMs,
      stalledInterval: limits.stalledEveryMs,
      maxStalledCount: MOST_TAKEOVERS,
    });
    await worker.waitUntilReady();
    ready.resolve(queue);
  }

  async function run({ name, id, handBack }: JobRun): Promise<void> {
    if (!(await clock.isRight())) {
      // By now BullMQ has planned the next run by the same wrong clock; the others put that right.
      isResting = true;
      await worker?.takeNoMore();
      return handBack();
    }
    const job = schedule[name];
    if (!job) throw new Error(`this version of the gateway knows no job ${name}`);
    if (isAway) log('info', 'the job store is back');
    isAway = false;
    // A run that takes longer than its interval is followed by the next one, not joined by it.
    if (underWay.has(name)) return;
    underWay.add(name);
    const before = clock.elapsed();
    try {
      await job.run(id);
      options.onEnded({ name, result: 'completed' });
    } catch (error) {
      options.onEnded({ name, result: 'failed' });
      log('error', 'a job failed', {
        job: name,
        ms: Math.round(clock.elapsed() - before),
        error: traceOf(error),
      });
      // The job store keeps the message.
      throw withoutParameters(error);
    } finally {
      underWay.delete(name);
    }
  }

  /**
   * A run plans the next one, so a job whose store lost what it held, or failed at that very moment, would never
   * run again, and one whose run was taken by a process with a clock that is ahead, not for as long as that.
   */
  async function lookOver(): Promise<void> {
    for (await pause(limits.lookOverEveryMs); !stopping.signal.aborted; await pause(limits.lookOverEveryMs)) {
      try {
        if (isResting || !(await clock.isRight())) await rest();
        if (!backend) continue;
        const now = clock.now();
        const times = { now, late: now - limits.lookOverEveryMs };
        const { lost, far } = await repairPlan(backend.queue, schedule, limits.retryMs, times);
        if (lost.length > 0) log('warn', 'jobs had no next run; they have one again', { jobs: lost });
        tellFar(far);
      } catch (error) {
        tellAway(error);
      }
    }
  }

  /** Takes no jobs until the clock is right again. */
  async function rest(): Promise<void> {
    await close();
    isResting = false;
    starting = start();
    await starting;
  }

  function tellFar(jobs: string[]): void {
    if (jobs.length > 0) {
      log('warn', 'jobs were planned too far ahead, by a process with a wrong clock; they are planned anew', {
        jobs,
      });
    }
  }

  /** A store that is away says so at every attempt to reach it; once is enough. */
  function tellAway(error: unknown): void {
    if (isAway || stopping.signal.aborted) return;
    isAway = true;
    log('warn', 'the job store fails; jobs wait', {
      error: error instanceof Error ? error.message : String(error),
    });
  }

  async function pause(ms: number): Promise<void> {
    await wait(ms, undefined, { signal: stopping.signal, ref: false }).catch(() => {});
  }

  async function close(): Promise<void> {
    await Promise.allSettled([worker?.close(), backend?.queue.close()]);
    backend?.disconnect();
    worker = undefined;
    backend = undefined;
  }

  let starting = start();
  void starting.then(lookOver);

  return {
    ready: ready.promise,
    stop: async (graceMs) => {
      stopping.abort();
      // Not after what is being looked over: where the store is away, that has no end.
      const closed = Promise.all([starting, close()]).then(() => true);
      if (await Promise.race([closed, wait(graceMs, false, { ref: false })])) return;
      if (underWay.size > 0) {
        log('warn', 'stopped with jobs under way; they will be taken over', { jobs: [...underWay] });
      }
      worker?.abandon();
      backend?.disconnect();
    },
  };
}
