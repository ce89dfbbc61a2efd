import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Log } from '../base/log.ts';

/** A third party's MCP server, as a child process that never outlives this one. */
export type McpServer = { origin: string; pid: number | undefined; close(): Promise<void> };

const SCRIPT = fileURLToPath(new URL('./everything-server.ts', import.meta.url));
const START_TIMEOUT_MS = 30_000;

/** Starts the server and waits until it listens. `port` 0 takes a free one. */
export async function startMcpServer({ port, log }: { port: number; log: Log }): Promise<McpServer> {
  const child = fork(SCRIPT, {
    // One of its tools prints the environment, so it gets none of ours. No domain is allowed to its download
    // tool: it works on `data:` URLs alone.
    env: { PORT: String(port), GZIP_ALLOWED_DOMAINS: 'none.invalid', GZIP_MAX_FETCH_SIZE: '4000000' },
    execArgv: [],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let lastWords = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    lastWords = (lastWords + text).slice(-1000);
  });
  const exited = once(child, 'exit');

  const listening = await Promise.race([
    once(child, 'message', { signal: AbortSignal.timeout(START_TIMEOUT_MS) }).then(
      ([message]) => message as { port: number },
      () => undefined,
    ),
    exited.then(() => undefined),
  ]);
  if (!listening) {
    child.kill('SIGKILL');
    await exited;
    throw new Error(`the demo MCP server did not start on port ${port}: ${lastWords.trim()}`);
  }

  let closing = false;
  child.once('exit', (code, signal) => {
    if (!closing) log('error', 'the demo MCP server ended', { code, signal, lastWords });
  });
  return {
    origin: `http://127.0.0.1:${listening.port}`,
    pid: child.pid,
    async close() {
      closing = true;
      child.kill('SIGKILL');
      await exited;
    },
  };
}
