import { parentPort, workerData } from 'node:worker_threads';
import { invariant } from '../base/invariant.ts';
import { Refusal, type RefusalStatus } from './refusal.ts';

/** What a worker thread tells the one that started it. */
export type WorkerReply =
  { kind: 'answer'; value: unknown } | { kind: 'refusal'; status: RefusalStatus; message: string };

/** The body of a worker script: works on the thread's input, posts one reply, and lets bugs end the thread. */
export async function replyWith(work: (input: never) => unknown): Promise<void> {
  invariant(parentPort, 'runs in a worker thread');
  const reply = (message: WorkerReply) => {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
    parentPort?.postMessage(message);
  };
  try {
    reply({ kind: 'answer', value: await work(workerData as never) });
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const { status, message } = error;
    reply({ kind: 'refusal', status, message });
  }
}
