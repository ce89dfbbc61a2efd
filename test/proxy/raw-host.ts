import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { join } from 'node:path';

export const KEY = 'sk_test_0123456789abcdefghijklmnopqrstuv';

export const PROXY = join(import.meta.dirname, '../../src/proxy/mcp-proxy.ts');

/** A host that says exactly what a test wants, also what no SDK would. */
export type RawHost = {
  child: ChildProcess;
  /** Everything the proxy wrote so far, on both streams. */
  output(): string;
  stderr(): string;
  send(message: unknown): void;
  /** The next message with this id; every other one waits for whoever asks for it. */
  answer(id: unknown): Promise<RawMessage>;
  next: (matches: (message: RawMessage) => boolean) => Promise<RawMessage>;
  /** Closes stdin and gives the exit code. */
  end(): Promise<number | null>;
  exit: Promise<number | null>;
};

export type RawMessage = {
  id?: unknown;
  method?: string;
  params?: Record<string, unknown>;
  result?: Record<string, unknown>;
  error?: { code: number; message: string; data?: Record<string, unknown> };
};

/** The environment of the proxy: nothing of ours leaks in but what a process needs to run. */
export function proxyEnv(env: Record<string, string>): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', SENTINEL_API_KEY: KEY, ...env };
}

export function startRawHost(env: Record<string, string>, args: string[] = []): RawHost {
  const child = spawn(process.execPath, [PROXY, ...args], {
    env: proxyEnv(env),
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const waiting: { matches: (message: RawMessage) => boolean; resolve: (message: RawMessage) => void }[] = [];
  const unclaimed: RawMessage[] = [];
  let stdout = '';
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdin.on('error', () => {});
  createInterface({ input: child.stdout }).on('line', (line) => {
    stdout += `${line}\n`;
    // Nothing but JSON-RPC may appear here: anything else throws and fails the test.
    const message = JSON.parse(line) as RawMessage;
    const index = waiting.findIndex(({ matches }) => matches(message));
    if (index === -1) unclaimed.push(message);
    else waiting.splice(index, 1)[0]?.resolve(message);
  });
  const exit = once(child, 'close').then(([code]) => code as number | null);

  const next: RawHost['next'] = (matches) => {
    const index = unclaimed.findIndex(matches);
    const [message] = index === -1 ? [] : unclaimed.splice(index, 1);
    return message ? Promise.resolve(message) : new Promise((resolve) => waiting.push({ matches, resolve }));
  };
  return {
    child,
    output: () => stdout + stderr,
    stderr: () => stderr,
    send: (message) =>
      void child.stdin.write(`${typeof message === 'string' ? message : JSON.stringify(message)}\n`),
    next,
    answer: (id) => next((message) => message.id === id && message.method === undefined),
    end: () => {
      child.stdin.end();
      return exit;
    },
    exit,
  };
}

export function initialize(id: number, protocolVersion = '2025-06-18'): unknown {
  const params = { protocolVersion, capabilities: {}, clientInfo: { name: 'raw-host', version: '1.0.0' } };
  return { jsonrpc: '2.0', id, method: 'initialize', params };
}

export const initialized = { jsonrpc: '2.0', method: 'notifications/initialized' };

export function call(id: number, name: string, args: unknown = {}, meta?: unknown): unknown {
  const params = { name, arguments: args, ...(meta !== undefined && { _meta: meta }) };
  return { jsonrpc: '2.0', id, method: 'tools/call', params };
}

/** What a host of 2026-07-28 puts into each request. */
export function statelessMeta(extra: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientInfo': { name: 'raw-host', version: '1.0.0' },
    'io.modelcontextprotocol/clientCapabilities': {},
    ...extra,
  };
}

/** Runs the proxy as a person in a terminal would, to its end. */
export function runProxy(
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [PROXY, ...args],
      { env: proxyEnv(env) },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}
