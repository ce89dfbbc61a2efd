import { once } from 'node:events';
import type { Log } from '../base/log.ts';
import { readConfig, type Config } from './config.ts';
import { createLog } from './log.ts';
import { migrateOnce } from './migrate.ts';
import { serve } from './serve.ts';

/** What a command line may set besides the environment. */
export type ServeFlags = { demo: boolean; port?: string; host?: string };

/**
 * `sentinel serve`: runs until it is told to stop, then stops in order. Rejects with one clear message when
 * it cannot start.
 */
export async function runServe(flags: ServeFlags): Promise<void> {
  const config = configure({ PORT: flags.port, HOST: flags.host });
  const log = createLog();
  const stopAsked = stopSignal(log);
  const running = await serve(config, { demo: flags.demo, log });
  process.stdout.write(`${running.greeting}\n`);
  await stopAsked;
  await running.stop();
}

/** `sentinel migrate`. */
export async function runMigrate(): Promise<{ applied: number }> {
  return migrateOnce(configure({}), createLog());
}

function configure(overrides: Record<string, string | undefined>): Config {
  const set = Object.entries(overrides).filter(([, value]) => value !== undefined);
  return readConfig({ ...process.env, ...Object.fromEntries(set) });
}

/** Resolves at the first request to stop; a second one ends the process at once. */
async function stopSignal(log: Log): Promise<void> {
  const signals = ['SIGINT', 'SIGTERM'] as const;
  await Promise.race(signals.map((signal) => once(process, signal)));
  log('info', 'stopping: running calls may end; press Ctrl-C again to stop now');
  for (const signal of signals) process.once(signal, () => process.exit(130));
}
