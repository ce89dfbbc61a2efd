import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { glob } from 'node:fs/promises';
import { relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { provideServers } from './support/servers.ts';

const USAGE = `npm test                        every test
npm test -- test/ledger          the files whose path contains this
npm test -- --grep "two calls"   the tests whose title matches
npm test -- --concurrency 1      test files at a time (2)
npm test -- --timeout 60000      milliseconds one test may take (120000)`;

// A file that leaves something open never ends, and the runner has no limit for files. On SIGTERM it names what ran.
const LONGEST_RUN_MS = 20 * 60_000;
const ROOT = fileURLToPath(new URL('..', import.meta.url));

process.exitCode = await main();

async function main(): Promise<number> {
  const { values, positionals } = parseArguments();
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const files = await findTestFiles(positionals);
  if (files.length === 0) {
    console.error(`No test file under test/ matches ${positionals.join(' ')}.`);
    return 1;
  }

  // Whatever ends the run, the servers started for it end with it.
  let interrupted = false;
  let stopRunner = () => {};
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      interrupted = true;
      stopRunner();
    });
  }
  const servers = await provideServers();
  try {
    if (interrupted) return 1;
    console.log(servers.summary);
    const runner = spawn(
      process.execPath,
      [
        '--test',
        '--test-reporter=spec',
        `--test-concurrency=${values.concurrency}`,
        `--test-timeout=${values.timeout}`,
        ...(values.grep ?? []).map((pattern) => `--test-name-pattern=${pattern}`),
        ...files,
      ],
      { cwd: ROOT, stdio: 'inherit', env: { ...process.env, ...servers.env }, timeout: LONGEST_RUN_MS },
    );
    stopRunner = () => void runner.kill('SIGTERM');
    const [code] = (await once(runner, 'exit')) as [number | null];
    return code ?? 1;
  } finally {
    await servers.stop();
  }
}

function parseArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        help: { type: 'boolean' },
        grep: { type: 'string', multiple: true },
        concurrency: { type: 'string', default: '2' },
        timeout: { type: 'string', default: '120000' },
      },
    });
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    return process.exit(2);
  }
}

async function findTestFiles(wanted: string[]): Promise<string[]> {
  const all: string[] = [];
  for await (const file of glob('test/**/*.test.ts', { cwd: ROOT })) {
    if (!file.startsWith(`test${sep}bench${sep}`)) all.push(file);
  }
  const parts = wanted.map((path) =>
    path.startsWith('/') ? relative(ROOT, resolve(path)) : path.replace(/^\.\//, ''),
  );
  return all.filter((file) => parts.length === 0 || parts.some((part) => file.includes(part))).sort();
}
