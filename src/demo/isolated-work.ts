import { Worker } from 'node:worker_threads';
import { Refusal } from './refusal.ts';
import type { WorkerReply } from './worker-reply.ts';

/** Runs heavy parsing of strangers' documents away from the thread that answers everyone else. */
export type IsolatedWork = {
  /** `script` posts one {@link WorkerReply}. A thread that is too slow or too large is ended and refused. */
  run<T>(script: URL, input: unknown, limits: { timeoutMs: number; signal: AbortSignal }): Promise<T>;
  close(): Promise<void>;
};

const MAX_HEAP_MB = 512;
/** One thread for each running document; further ones wait their turn, up to a queue's length. */
const MAX_THREADS = 2;
const MAX_WAITING = 50;

/** A thread per document rather than a pool: whatever a hostile one leaves behind is gone with its thread. */
export function createIsolatedWork(): IsolatedWork {
  const threads = new Set<Worker>();
  const waiting: (() => void)[] = [];
  let running = 0;
  let closed = false;

  async function enter(signal: AbortSignal): Promise<void> {
    if (running < MAX_THREADS) {
      running += 1;
      return;
    }
    if (waiting.length >= MAX_WAITING)
      throw new Refusal(503, 'Too many documents at once; try again shortly.');
    // The one that leaves hands its place over, so `running` does not change here.
    await new Promise<void>((proceed, fail) => {
      const giveUp = () => {
        waiting.splice(waiting.indexOf(proceedOnce), 1);
        fail(new Refusal(504, 'The document was not read in time.'));
      };
      const proceedOnce = () => {
        signal.removeEventListener('abort', giveUp);
        proceed();
      };
      signal.addEventListener('abort', giveUp, { once: true });
      waiting.push(proceedOnce);
    });
  }

  function leave(): void {
    const next = waiting.shift();
    if (next) next();
    else running -= 1;
  }

  return {
    async run<T>(
      script: URL,
      input: unknown,
      { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
    ) {
      await enter(signal);
      try {
        if (closed || signal.aborted) throw new Refusal(503, 'The agent is not available.');
        const worker = new Worker(script, {
          workerData: input,
          resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
        });
        threads.add(worker);
        try {
          return (await firstReply(worker, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]))) as T;
        } finally {
          threads.delete(worker);
          await worker.terminate();
        }
      } finally {
        leave();
      }
    },
    async close() {
      closed = true;
      await Promise.all([...threads].map((thread) => thread.terminate()));
    },
  };
}

function firstReply(worker: Worker, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once('message', (reply: WorkerReply) => {
      if (reply.kind === 'answer') resolve(reply.value);
      else reject(new Refusal(reply.status, reply.message));
    });
    worker.once('error', (error) => {
      reject(new Refusal(422, 'The document is too complex or too damaged to be read.', { cause: error }));
    });
    worker.once('exit', () => reject(new Refusal(503, 'The document could not be read to its end.')));
    signal.addEventListener('abort', () => reject(new Refusal(422, 'The document took too long to read.')), {
      once: true,
    });
  });
}
