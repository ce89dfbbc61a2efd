import type { EventEmitter } from 'node:events';
import { Redis } from 'ioredis';
import type { Job, JobSchedulerTemplateOptions, RepeatOptions, WorkerOptions } from 'bullmq';

/** Where jobs wait, and whose locks keep two processes from running the same one. */
export type JobStore = {
  databaseUrl: string;
  /** Undefined: the jobs are in PostgreSQL, in a schema of their own. */
  redisUrl: string | undefined;
  /** What the keys in Redis begin with. */
  redisPrefix: string;
};

/** A job as it is planned. */
export type PlannedJob = {
  key: string;
  /** Milliseconds since 1970; when it runs next. */
  next?: number | undefined;
  every?: number | undefined;
  pattern?: string | undefined;
  template?: { opts?: { attempts?: number | undefined } | undefined } | undefined;
};

/** What we need of a BullMQ queue, whichever store is behind it. */
export type JobQueue = {
  upsertJobScheduler(
    id: string,
    repeat: Omit<RepeatOptions, 'key'>,
    template: { name: string; opts: JobSchedulerTemplateOptions },
  ): Promise<unknown>;
  getJobSchedulers(): Promise<PlannedJob[]>;
  getJob(id: string): Promise<{ getState(): Promise<string> } | undefined>;
  removeJobScheduler(id: string): Promise<boolean>;
  close(): Promise<void>;
};

/** One run of a job, as a worker got it. */
export type JobRun = {
  name: string;
  id: string;
  /** Puts it back for whoever takes the next one. The worker is to have stopped taking them. */
  handBack(): Promise<never>;
};

/** What we need of a BullMQ worker. */
export type JobWorker = {
  waitUntilReady(): Promise<unknown>;
  /** Takes no more jobs from now on; those under way go on. */
  takeNoMore(): Promise<void>;
  /** Takes no more jobs, and waits for those under way. */
  close(): Promise<void>;
  /** Waits for nothing any more: neither a job nor a store that is away. */
  abandon(): void;
};

export type JobBackend = {
  queue: JobQueue;
  /** Starts to take jobs. */
  startWorker(
    run: (run: JobRun) => Promise<void>,
    options: Omit<WorkerOptions, 'connection' | 'prefix'>,
  ): JobWorker;
  /** Lets go of connections the queue and the worker do not close themselves. */
  disconnect(): void;
};

const QUEUE = 'sentinel';
const SCHEMA = 'bull';
// The worker asks one thing at a time for each job under way; the rest of the process has a pool of its own.
const CONNECTIONS = 2;

/**
 * Opens the queue. BullMQ and what it brings take a fifth of a second to load, so that is done only where
 * jobs are run, and after everything else has started.
 */
export async function openBackend(store: JobStore, onError: (error: Error) => void): Promise<JobBackend> {
  return store.redisUrl === undefined
    ? openPostgres(store.databaseUrl, onError)
    : openRedis(store.redisUrl, store.redisPrefix, onError);
}

async function openPostgres(databaseUrl: string, onError: (error: Error) => void): Promise<JobBackend> {
  const { createPostgresBackend, withBackend } = await import('bullmq');
  const { Queue, Worker } = withBackend(createPostgresBackend);
  const connection = {
    connectionString: databaseUrl,
    schema: SCHEMA,
    migrate: true,
    max: CONNECTIONS,
    connectionTimeoutMillis: 5_000,
    application_name: 'sentinel jobs',
    // A connection in use that breaks between two statements tells nobody but this listener, without which that
    // ends the process.
    onConnect: (client: EventEmitter) => {
      client.on('error', () => {});
    },
  };
  const queue = new Queue(QUEUE, { connection });
  queue.on('error', onError);
  return {
    queue,
    startWorker: (run, options) => {
      const worker = new Worker(QUEUE, (job, token) => run(runOf(job, token)), { ...options, connection });
      worker.on('error', onError);
      return stoppable(worker);
    },
    disconnect: () => {},
  };
}

async function openRedis(
  redisUrl: string,
  prefix: string,
  onError: (error: Error) => void,
): Promise<JobBackend> {
  const { Queue, Worker } = await import('bullmq');
  let isOver = false;
  const connection = new Redis(redisUrl, {
    // A job waits for Redis to come back; it is not given up for a connection.
    maxRetriesPerRequest: null,
    connectTimeout: 2_000,
    // Also of the connection the worker makes after this one, which it does not let go of while Redis is away.
    retryStrategy: (attempt) => (isOver ? null : Math.min(attempt * 50, 1_000)),
  });
  connection.on('error', onError);
  // One that is cut while it is being set up is an end, and no error.
  connection.on('close', () => onError(new Error('the connection to Redis is closed')));
  const queue = new Queue(QUEUE, { connection, prefix });
  queue.on('error', onError);
  return {
    queue,
    startWorker: (run, options) => {
      const worker = new Worker(QUEUE, (job, token) => run(runOf(job, token)), {
        ...options,
        connection,
        prefix,
      });
      worker.on('error', onError);
      return stoppable(worker);
    },
    // BullMQ leaves a connection it was given open, and an open one keeps the process alive.
    disconnect: () => {
      isOver = true;
      connection.disconnect();
    },
  };
}

function runOf(job: Job, token: string | undefined): JobRun {
  return {
    name: job.name,
    id: job.id ?? '',
    handBack: async () => {
      await job.moveToWait(token);
      // How BullMQ is told that the run neither ended nor failed; it goes by the name.
      throw Object.assign(new Error('handed back'), { name: 'WaitingError' });
    },
  };
}

type BullWorker = {
  waitUntilReady(): Promise<unknown>;
  pause(doNotWaitActive: boolean): Promise<void>;
  close(): Promise<void>;
  disconnect(): Promise<void>;
};

/**
 * BullMQ's `close` first waits for its connections, for ever where the store is away, and only then stops the
 * timers that keep the process alive. So they are stopped before, and where that is not enough, by hand.
 */
function stoppable(worker: BullWorker): JobWorker {
  return {
    waitUntilReady: () => worker.waitUntilReady(),
    takeNoMore: () => worker.pause(true),
    close: async () => {
      await worker.pause(true);
      await worker.close();
    },
    abandon: () => {
      const { lockManager } = worker as unknown as { lockManager: { close(): Promise<void> } };
      for (const ended of [lockManager.close(), worker.disconnect()]) ended.catch(() => {});
    },
  };
}
