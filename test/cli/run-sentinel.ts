import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const SENTINEL = fileURLToPath(new URL('../../src/cli/sentinel.ts', import.meta.url));

export type Ran = {
  code: number | null;
  stdout: string;
  stderr: string;
  /** Standard output, parsed. */
  // oxlint-disable-next-line typescript/no-explicit-any -- a test looks into whatever was printed
  json(): any;
};

/** Runs the real command in a process of its own, with nothing of our environment but what is given. */
export async function runSentinel(
  args: readonly string[],
  environment: Record<string, string>,
  cwd?: string,
): Promise<Ran> {
  const child = spawn(process.execPath, [SENTINEL, ...args], {
    env: { PATH: process.env['PATH'] ?? '', NO_COLOR: '1', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(cwd === undefined ? {} : { cwd }),
  });
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  return { code, stdout, stderr, json: () => JSON.parse(stdout) as unknown };
}
