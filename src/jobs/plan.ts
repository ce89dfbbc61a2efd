import { MAX_SKEW_MS } from '../db/watch-database-clock.ts';
import type { JobQueue, PlannedJob } from './backend.ts';
import type { Job, Schedule } from './job.ts';

const KEPT_FAILURES = 100;
/** The states, in BullMQ's words, of a run that is still to be taken. */
const WAITS = ['waiting', 'delayed', 'prioritized'];

/**
 * Plans what is not planned yet, or otherwise, and takes away what an earlier version had planned. A run that
 * was due while no process was there stays due; one further away than it can be is planned anew, as a process left it
 * whose clock was ahead. Answers which.
 */
export async function planJobs(
  queue: JobQueue,
  schedule: Schedule,
  retryMs: number,
  now: number,
): Promise<string[]> {
  const planned = new Map((await queue.getJobSchedulers()).map((known) => [known.key, known]));
  const far: string[] = [];
  for (const [name, job] of Object.entries(schedule)) {
    const known = planned.get(name);
    const isFar = known !== undefined && isTooFar(known, job, now);
    if (!known || isFar || !isPlannedAs(known, job)) await planAnew(queue, name, job, retryMs);
    if (isFar) far.push(name);
  }
  for (const key of planned.keys()) {
    if (!Object.hasOwn(schedule, key)) await queue.removeJobScheduler(key);
  }
  return far;
}

/**
 * Plans those again that had a next run before `late` and have none now, and those whose next run is further away
 * than it can be; answers which.
 */
export async function repairPlan(
  queue: JobQueue,
  schedule: Schedule,
  retryMs: number,
  { now, late }: { now: number; late: number },
): Promise<{ lost: string[]; far: string[] }> {
  const planned = new Map((await queue.getJobSchedulers()).map((known) => [known.key, known]));
  const repaired = { lost: [] as string[], far: [] as string[] };
  for (const [name, job] of Object.entries(schedule)) {
    const known = planned.get(name);
    const isFar = known !== undefined && isTooFar(known, job, now);
    if (known && !isFar && !(await isLost(queue, known, late))) continue;
    await planAnew(queue, name, job, retryMs);
    repaired[isFar ? 'far' : 'lost'].push(name);
  }
  return repaired;
}

function isPlannedAs(known: PlannedJob, { repeat, retries }: Job): boolean {
  const isSameTime = 'cron' in repeat ? known.pattern === repeat.cron : known.every === repeat.everyMs;
  return isSameTime && known.template?.opts?.attempts === 1 + retries;
}

/** BullMQ plans by the clock of the process that took the run before, which may be ahead by as much as is let pass. */
function isTooFar({ next = 0 }: PlannedJob, { repeat }: Job, now: number): boolean {
  const apartMs = 'cron' in repeat ? repeat.apartMs : repeat.everyMs;
  return next > now + apartMs + MAX_SKEW_MS;
}

/** The next run of a scheduler is a job of this name, which waits until a worker has it. */
async function isLost(queue: JobQueue, { key, next = 0 }: PlannedJob, late: number): Promise<boolean> {
  if (next >= late) return false;
  const run = await queue.getJob(`repeat:${key}:${next}`);
  // Whoever takes it plans the next one before it does anything else. Where it died in between, the run may be its own
  // until a time by its clock, which may be days ahead.
  return run === undefined || !WAITS.includes(await run.getState());
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
