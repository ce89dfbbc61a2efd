import { createBenchDatabase } from './bench-database.ts';
import { startChild } from './child.ts';
import { load } from './load.ts';
import { median, type Figure } from './report.ts';

const LISTS_PER_ROUND = 400;

/** What a large catalogue costs a call, and the first page of a list. */
export async function measureCatalogue(options: { rounds: number; seconds: number }): Promise<Figure[]> {
  const upstream = await startChild('upstream');
  const sizes = [10, 100, 10_000];
  const gateways = [];
  for (const size of sizes) {
    const database = await createBenchDatabase();
    const child = await startChild('gateway', {
      UPSTREAM: upstream.url,
      BENCH_DATABASE: database.url,
      BENCH_AGENTS: String(size),
    });
    const headers = { authorization: `Bearer ${child.facts['key']}` };
    gateways.push({ size, database, child, headers, callCpu: [] as number[], listMs: [] as number[] });
  }
  try {
    for (const gateway of gateways) await listOften(gateway.child.url, gateway.headers);
    for (let round = 0; round < options.rounds; round += 1) {
      for (const gateway of gateways) {
        if (gateway.size !== 100) {
          const before = await gateway.child.cpuMicros();
          const tool = gateway.child.facts['tool'] ?? '';
          const { total } = await load(gateway.child.url, tool, {
            seconds: options.seconds,
            headers: gateway.headers,
          });
          gateway.callCpu.push(((await gateway.child.cpuMicros()) - before) / total);
        }
        if (gateway.size !== 10) gateway.listMs.push(await listOften(gateway.child.url, gateway.headers));
      }
    }
  } finally {
    await upstream.stop();
    for (const { child, database } of gateways) {
      await child.stop();
      await database.drop();
    }
  }
  const [few, hundred, many] = gateways;
  return [
    {
      name: 'CPU per tools/call with 10,000 agents ÷ with 10',
      value: median((many?.callCpu ?? []).map((cpu, index) => cpu / (few?.callCpu[index] ?? Number.NaN))),
      goal: { most: 1.15 },
      unit: '×',
    },
    {
      name: 'first page of tools/list with 10,000 agents ÷ with 100',
      value: median((many?.listMs ?? []).map((ms, index) => ms / (hundred?.listMs[index] ?? Number.NaN))),
      goal: { most: 1.5 },
      unit: '×',
    },
  ];
}

/** Milliseconds one list takes, the middle of many. */
async function listOften(url: string, headers: Record<string, string>): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < LISTS_PER_ROUND; n += 1) {
    const before = performance.now();
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        'mcp-protocol-version': '2025-11-25',
        ...headers,
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: n, method: 'tools/list', params: {} }),
    });
    const text = await response.text();
    if (response.status !== 200 || !text.includes('"tools"'))
      throw new Error(`tools/list answered ${text.slice(0, 200)}`);
    times.push(performance.now() - before);
  }
  return median(times);
}
