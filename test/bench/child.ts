import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** A server under measurement: a process of its own, so that its CPU is its own. */
export type Child = {
  url: string;
  /** What the server told about itself when it was ready. */
  facts: Record<string, string>;
  /** CPU microseconds it has used so far, user and system. */
  cpuMicros(): Promise<number>;
  /** Resident memory in bytes, after a garbage collection. */
  memoryBytes(): Promise<number>;
  stop(): Promise<void>;
};

/** Starts `peers/<name>.ts`, which calls `serveAsChild`. */
export async function startChild(name: string, settings: Record<string, string> = {}): Promise<Child> {
  const child = fork(fileURLToPath(new URL(`peers/${name}.ts`, import.meta.url)), [], {
    env: { ...process.env, ...settings },
    // Every server gets the young generation `npm start` gives the gateway.
    execArgv: ['--expose-gc', '--max-semi-space-size=64', '--disable-warning=ExperimentalWarning'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const facts = await ask<Record<string, string>>(child);
  return {
    url: facts['url'] ?? '',
    facts,
    cpuMicros: () => ask<number>(child, 'cpu'),
    memoryBytes: () => ask<number>(child, 'memory'),
    stop: async () => {
      if (child.exitCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}

async function ask<Answer>(child: ChildProcess, question?: string): Promise<Answer> {
  const done = new AbortController();
  const answer = once(child, 'message', { signal: done.signal });
  const failed = once(child, 'exit', { signal: done.signal }).then(() => {
    throw new Error('a benchmark server ended');
  });
  if (question !== undefined) child.send(question);
  try {
    const [message] = (await Promise.race([answer, failed])) as [Answer];
    return message;
  } finally {
    // Neither listener outlives the question; the one that lost ends quietly.
    failed.catch(() => {});
    done.abort();
  }
}

/** The other end: says that the server is ready and answers questions about its process. */
export function serveAsChild(facts: Record<string, string>): void {
  process.on('message', (question) => {
    if (question === 'cpu') {
      const { user, system } = process.cpuUsage();
      process.send?.(user + system);
    } else if (question === 'memory') {
      globalThis.gc?.();
      process.send?.(process.memoryUsage().rss);
    }
  });
  process.on('disconnect', () => process.exit());
  process.send?.(facts);
}
