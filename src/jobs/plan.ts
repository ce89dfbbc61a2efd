import type { JobQueue, PlannedJob } from './backend.ts';
import type { Job, Schedule } from './jobs.ts';

const KEPT_FAILURES = 100;

/**
 * Plans what is not planned yet, or otherwise, and takes away what an earlier version had planned. A run that
 * was due while no process was there stays due.
 */
export async function planJobs(queue: JobQueue, schedule: Schedule, retryMs: number): Promise<void> {
  const planned = new Map((await queue.getJobSchedulers()).map((known) => [known.key, known]));
  for (const [name, job] of Object.entries(schedule)) {
    const known = planned.get(name);
    if (!known || !isPlannedAs(known, job)) await planAnew(queue, name, job, retryMs);
  }
  for (const key of planned.keys()) {
    if (!Object.hasOwn(schedule, key)) await queue.removeJobScheduler(key);
  }
}

/** Plans those again that had a next run before `late` and have none now; answers which. */
export async function planLostJobs(
  queue: JobQueue,
  schedule: Schedule,
  retryMs: number,
  late: number,
): Promise<string[]> {
  const planned = new Map((await queue.getJobSchedulers()).map((known) => [known.key, known]));
  const lost: string[] = [];
  for (const [name, job] of Object.entries(schedule)) {
    const known = planned.get(name);
    if (known && !(await isLost(queue, known, late))) continue;
    await planAnew(queue, name, job, retryMs);
    lost.push(name);
  }
  return lost;
}

function isPlannedAs(known: PlannedJob, { repeat, retries }: Job): boolean {
  const isSameTime = 'cron' in repeat ? known.pattern === repeat.cron : known.every === repeat.everyMs;
  return isSameTime && known.template?.opts?.attempts === 1 + retries;
}

/** The next run of a scheduler is a job of this name, which waits until a worker has it. */
async function isLost(queue: JobQueue, { key, next = 0 }: PlannedJob, late: number): Promise<boolean> {
  if (next >= late) return false;
  const run = await queue.getJob(`repeat:${key}:${next}`);
  return run === undefined || (await run.isFailed());
}

async function planAnew(queue: JobQueue, name: string, job: Job, retryMs: number): Promise<void> {
  const { repeat, retries } = job;
  // BullMQ (6.7) keeps the offset of the old interval when it is given a new one, and then waits that long.
  await queue.removeJobScheduler(name);
  await queue.upsertJobScheduler(
    name,
    'cron' in repeat ? { pattern: repeat.cron, tz: 'UTC' } : { every: repeat.everyMs },
    {
      name,
      opts: {
        attempts: 1 + retries,
        backoff: { type: 'exponential', delay: retryMs },
        removeOnComplete: true,
        removeOnFail: { count: KEPT_FAILURES },
      },
    },
  );
}
