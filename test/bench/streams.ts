import { Agent, request } from 'undici';
import { createBenchDatabase } from './bench-database.ts';
import { startChild } from './child.ts';
import { median, type Figure } from './report.ts';

const OPEN_STREAMS = 1_000;
const FIRST_CHUNKS = 2_000;
// Until the compiler has seen all of it.
const WARM_UP_CHUNKS = 1_000;

type Target = { url: string; headers: Record<string, string>; body(text: string): string; mark: string };

/** What the gateway adds to the time of a first chunk, and what an open stream costs in memory. */
export async function measureStreams(): Promise<Figure[]> {
  const database = await createBenchDatabase();
  const agent = await startChild('streaming-agent');
  const gateway = await startChild('gateway', {
    UPSTREAM: agent.url,
    BENCH_DATABASE: database.url,
    BENCH_PROTOCOL: 'http',
    BENCH_STREAMING: 'true',
  });
  const dispatcher = new Agent({ connections: OPEN_STREAMS + 10 });
  const direct: Target = {
    url: agent.url,
    headers: { 'content-type': 'application/json' },
    body: (text) => JSON.stringify({ text }),
    mark: 'first',
  };
  const through: Target = {
    url: gateway.url,
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2025-11-25',
      authorization: `Bearer ${gateway.facts['key']}`,
    },
    body: (text) =>
      JSON.stringify({
        jsonrpc: '2.0',
        id: 1,
        method: 'tools/call',
        params: { name: gateway.facts['tool'], arguments: { text }, _meta: { progressToken: 1 } },
      }),
    mark: 'notifications/progress',
  };
  const open: { destroy(): void }[] = [];
  try {
    const times = { direct: [] as number[], through: [] as number[] };
    for (let n = 0; n < FIRST_CHUNKS; n += 1) {
      times.direct.push(await firstChunkMs(direct, dispatcher));
      times.through.push(await firstChunkMs(through, dispatcher));
    }
    const before = await gateway.memoryBytes();
    while (open.length < OPEN_STREAMS) {
      const some = Array.from({ length: 50 }, () => openStream(through, dispatcher));
      open.push(...(await Promise.all(some)));
    }
    const perStream = ((await gateway.memoryBytes()) - before) / OPEN_STREAMS / 1_024;
    return [
      {
        name: 'first chunk through the gateway − first chunk direct, p50',
        value: median(times.through.slice(WARM_UP_CHUNKS)) - median(times.direct.slice(WARM_UP_CHUNKS)),
        goal: { most: 3 },
        unit: 'ms',
      },
      { name: 'memory per open stream, of 1,000', value: perStream, goal: { most: 50 }, unit: 'KB' },
    ];
  } finally {
    for (const stream of open) stream.destroy();
    await dispatcher.destroy();
    await gateway.stop();
    await agent.stop();
    await database.drop();
  }
}

async function firstChunkMs(target: Target, dispatcher: Agent): Promise<number> {
  const before = performance.now();
  const { body } = await send(target, 'go', dispatcher);
  let first = Number.NaN;
  for await (const part of body) {
    if (Number.isNaN(first) && String(part).includes(target.mark)) first = performance.now() - before;
  }
  if (Number.isNaN(first)) throw new Error(`${target.url} sent no chunk`);
  return first;
}

async function openStream(target: Target, dispatcher: Agent): Promise<{ destroy(): void }> {
  const { body } = await send(target, 'hold', dispatcher);
  body.on('error', () => {});
  await new Promise<void>((resolve, reject) => {
    body.once('data', () => resolve());
    body.once('end', () => reject(new Error('a stream ended early')));
  });
  return body;
}

function send(target: Target, text: string, dispatcher: Agent) {
  return request(target.url, {
    method: 'POST',
    headers: target.headers,
    body: target.body(text),
    dispatcher,
  });
}
