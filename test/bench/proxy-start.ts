import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { startChild } from './child.ts';
import { median, type Figure } from './report.ts';

const PROXY = fileURLToPath(new URL('../../src/proxy/', import.meta.url));
const STARTS = 15;

/** From starting the bundled stdio proxy to its first answer, beside a bare Node process that answers. */
export async function measureProxyStart(): Promise<Figure[]> {
  execFileSync(process.execPath, ['build.ts'], { cwd: PROXY });
  const upstream = await startChild('upstream');
  try {
    const proxy: number[] = [];
    const bare: number[] = [];
    for (let n = 0; n < STARTS; n += 1) {
      proxy.push(await startMs([`${PROXY}dist/mcp-proxy.js`], upstream.url));
      bare.push(await startMs(['-e', 'process.stdin.once("data", () => console.log("{}"))'], upstream.url));
    }
    return [
      {
        name: 'stdio proxy: process start to first answer, bundled',
        value: median(proxy),
        goal: { most: 250 },
        unit: 'ms',
      },
      { name: 'a bare Node process: start to first answer', value: median(bare), unit: 'ms' },
    ];
  } finally {
    await upstream.stop();
  }
}

async function startMs(args: string[], url: string): Promise<number> {
  const before = performance.now();
  const child = spawn(process.execPath, args, {
    env: { ...process.env, SENTINEL_URL: url, SENTINEL_API_KEY: `sk_test_${'0'.repeat(40)}` },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdin.write(`${JSON.stringify(INITIALIZE)}\n`);
  await once(child.stdout, 'data');
  const elapsed = performance.now() - before;
  child.kill('SIGKILL');
  await once(child, 'exit');
  return elapsed;
}

const INITIALIZE = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'bench', version: '1.0.0' },
  },
};
