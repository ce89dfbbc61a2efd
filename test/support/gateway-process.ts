import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { silentLog } from '../../src/base/log.ts';
import { stopOrphan } from '../../src/db/postgres-orphan.ts';

const PROGRAM = fileURLToPath(new URL('../../src/cli/sentinel.ts', import.meta.url));
const SHIFTED_CLOCK = new URL('./shifted-clock.ts', import.meta.url).href;
const START_DEADLINE_MS = 60_000;
const END_DEADLINE_MS = 45_000;

/** How a process ended, and everything it said. */
export type Ended = {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
};

export type StartOptions = {
  env?: Record<string, string>;
  /** After `serve`. */
  args?: string[];
  dataDirectory: string;
  /** How far its clock is ahead of the right time; negative for one behind. */
  clockAheadMs?: number;
};

/** A real `sentinel serve` in a process of its own. */
export type GatewayProcess = {
  pid: number;
  url: string;
  operatorKey: string;
  /** What the terminal shows when it is up. */
  greeting: string;
  stderr(): string;
  kill(signal: NodeJS.Signals): void;
  /** Tells it to stop in order and waits until it has; one that does not is killed, which `Ended` shows. */
  stop(): Promise<Ended>;
  isRunning(): boolean;
  /** Resolves when the process has ended and its output is complete. */
  ended: Promise<Ended>;
};

/** Data directories that are removed again, and whatever still runs in them ended. */
export type DataDirectories = { make(): Promise<string>; remove(): Promise<void> };

const running = new Set<ChildProcess>();
// A test that failed, or a run that was interrupted, leaves no gateway behind.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Starts a gateway and waits until it takes requests, on a free port unless `env` names one. */
export async function startGatewayProcess(options: StartOptions): Promise<GatewayProcess> {
  const { child, output, ended } = launch(options);
  await greeted(child, output, ended);
  const url = /^ +MCP endpoint +(\S+)\/mcp$/m.exec(output.stdout)?.[1];
  if (url === undefined) throw new Error(`No URL is on the terminal:\n${output.stdout}`);
  return {
    pid: child.pid as number,
    url,
    operatorKey: (await readFile(join(options.dataDirectory, 'operator-key'), 'utf8')).trim(),
    greeting: output.stdout,
    stderr: () => output.stderr,
    kill: (signal) => void child.kill(signal),
    stop: () => {
      child.kill('SIGTERM');
      return endedInTime(child, ended);
    },
    isRunning: () => child.exitCode === null && child.signalCode === null,
    ended,
  };
}

/** Runs a gateway that is expected to end by itself. */
export async function runGatewayProcess(options: StartOptions): Promise<Ended> {
  const { child, ended } = launch(options);
  return endedInTime(child, ended);
}

async function endedInTime(child: ChildProcess, ended: Promise<Ended>): Promise<Ended> {
  const tooLong = setTimeout(() => child.kill('SIGKILL'), END_DEADLINE_MS);
  try {
    return await ended;
  } finally {
    clearTimeout(tooLong);
  }
}

/** Directories under the system's own for temporary files. */
export async function createDataDirectories(): Promise<DataDirectories> {
  const parent = await realpath(await mkdtemp(join(tmpdir(), 'sentinel-process-')));
  // The user the embedded PostgreSQL runs as walks through it.
  await chmod(parent, 0o755);
  const made: string[] = [];
  return {
    make: () => {
      const directory = join(parent, String(made.length));
      made.push(directory);
      return Promise.resolve(directory);
    },
    remove: async () => {
      for (const child of running) {
        if (!child.kill('SIGKILL')) continue;
        await once(child, 'exit');
      }
      for (const directory of made) await stopOrphan(join(directory, 'postgres'), silentLog);
      await rm(parent, { recursive: true, force: true });
    },
  };
}

function launch({ env = {}, args = [], dataDirectory, clockAheadMs = 0 }: StartOptions) {
  const clock = clockAheadMs === 0 ? [] : ['--import', SHIFTED_CLOCK];
  const child = spawn(process.execPath, [...clock, PROGRAM, 'serve', ...args], {
    // Nothing of what configures the tests configures the gateway.
    env: {
      PATH: process.env['PATH'] ?? '',
      PORT: '0',
      SENTINEL_DATA: dataDirectory,
      TEST_CLOCK_AHEAD_MS: String(clockAheadMs),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  const ended = once(child, 'close').then(([code, signal]): Ended => {
    running.delete(child);
    return { code: code as number | null, signal: signal as NodeJS.Signals | null, ...output };
  });
  return { child, output, ended };
}

/** The greeting ends with an empty line; it may arrive in parts. */
async function greeted(
  child: ChildProcess,
  output: { stdout: string; stderr: string },
  ended: Promise<Ended>,
) {
  const up = new Promise<'up'>((resolve) => {
    child.stdout?.on('data', () => {
      if (output.stdout.includes('MCP endpoint') && output.stdout.endsWith('\n\n')) resolve('up');
    });
  });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(resolve, START_DEADLINE_MS, 'late');
  });
  const first = await Promise.race([up, late, ended]);
  clearTimeout(timer);
  if (first === 'up') return;
  child.kill('SIGKILL');
  throw new Error(`The gateway did not start.\n${output.stdout}\n${output.stderr}`);
}
