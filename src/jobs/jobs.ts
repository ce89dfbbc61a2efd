import { setTimeout as wait } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { traceOf, withoutParameters, type Log } from '../base/log.ts';
import { openBackend, type JobBackend, type JobQueue, type JobStore, type JobWorker } from './backend.ts';
import { planJobs, planLostJobs } from './plan.ts';

/** Something that is done again and again, each time by one process. */
export type Job = {
  /** How often, or when: cron fields, in UTC. */
  repeat: { everyMs: number } | { cron: string };
  /** How often a failed run is tried again. A job that runs every minute anyway needs none. */
  retries: number;
  /** Safe to be run twice: a process that was killed may have done all of it but say so. */
  run(id: string): Promise<unknown>;
};

/** Every job there is, by name. */
export type Schedule = Readonly<Record<string, Job>>;

export type JobEnd = { name: string; result: 'completed' | 'failed' };

export type JobOptions = {
  store: JobStore;
  schedule: Schedule;
  clock: Clock;
  log: Log;
  onEnded(end: JobEnd): void;
  limits?: Partial<JobLimits>;
};

export type JobLimits = {
  /** Jobs of this process at a time. */
  concurrency: number;
  /** How long a job may show no sign of life before another process takes it over. */
  lockMs: number;
  /** How often jobs without a sign of life are looked for. */
  stalledEveryMs: number;
  /** The first wait before a failed run is tried again; each next one is twice as long. */
  retryMs: number;
  /** How often it is made sure that every job still has a next run. */
  lookOverEveryMs: number;
  /** How long to wait before a store that did not answer at the start is asked again. */
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
  lookOverEveryMs: 60_000,
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
  let backend: JobBackend | undefined;
  let worker: JobWorker | undefined;

  async function start(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        await open();
        return;
      } catch (error) {
        tellAway(error);
        await close();
        await pause(limits.openAgainMs);
      }
    }
  }

  async function open(): Promise<void> {
    backend = await openBackend(options.store, tellAway);
    const { queue } = backend;
    await planJobs(queue, schedule, limits.retryMs);
    if (stopping.signal.aborted) return close();
    worker = backend.startWorker((job) => run(job.name, job.id ?? ''), {
      concurrency: limits.concurrency,
      lockDuration: limits.lockMs,
      stalledInterval: limits.stalledEveryMs,
      maxStalledCount: MOST_TAKEOVERS,
    });
    await worker.waitUntilReady();
    ready.resolve(queue);
  }

  async function run(name: string, id: string): Promise<void> {
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
   * run again.
   */
  async function lookOver(): Promise<void> {
    for (await pause(limits.lookOverEveryMs); !stopping.signal.aborted; await pause(limits.lookOverEveryMs)) {
      try {
        if (!backend) continue;
        const late = clock.now() - limits.lookOverEveryMs;
        const planned = await planLostJobs(backend.queue, schedule, limits.retryMs, late);
        if (planned.length > 0) log('warn', 'jobs had no next run; they have one again', { jobs: planned });
      } catch (error) {
        tellAway(error);
      }
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

  const starting = start();
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
