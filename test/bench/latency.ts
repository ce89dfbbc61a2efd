import { Pool } from 'undici';
import { median, type Figure } from './report.ts';

/** How long single calls took, by the clock of whoever made them; autocannon counts whole milliseconds. */
export type Latency = { p50Ms: number; p99Ms: number };

/** Where calls go, and what each of them is. */
export type Called = { url: string; tool: string; headers?: Record<string, string> };

/** One after the other; and as many at once as everything else here is measured with. */
export const CALLERS = [1, 100] as const;

/** The same round of both: what a call costs without the gateway, and through it. */
export type LatencyRound = Record<(typeof CALLERS)[number], { direct: Latency; paid: Latency }>;

/** `callers` call again as soon as they are answered, for so many seconds. Throws when a call fails. */
export async function measureLatency(called: Called, callers: number, seconds: number): Promise<Latency> {
  const { origin, pathname: path } = new URL(called.url);
  const pool = new Pool(origin, { connections: callers });
  const headers = {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'mcp-protocol-version': '2025-11-25',
    ...called.headers,
  };
  const timesMs: number[] = [];
  let id = 0;
  const call = async (): Promise<void> => {
    id += 1;
    const params = { name: called.tool, arguments: { text: 'hello' } };
    const body = JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params });
    const startedAt = performance.now();
    const answer = await pool.request({ path, method: 'POST', headers, body });
    const text = await answer.body.text();
    timesMs.push(performance.now() - startedAt);
    if (answer.statusCode !== 200 || text.includes('"isError":true'))
      throw new Error(`${called.url}: ${text}`);
  };
  const endsAt = performance.now() + seconds * 1_000;
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (performance.now() < endsAt) await call();
    }),
  );
  await pool.close();
  timesMs.sort((a, b) => a - b);
  return { p50Ms: at(timesMs, 0.5), p99Ms: at(timesMs, 0.99) };
}

function at(sorted: number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** What the gateway adds to a call, as the median of the rounds' differences. */
export function addedLatency(rounds: LatencyRound[]): Figure[] {
  return CALLERS.flatMap((callers) =>
    (['p50Ms', 'p99Ms'] as const).map((which) => ({
      name: `added latency of a paid call over a direct one, ${callers} ${callers === 1 ? 'caller' : 'callers'}, ${which.slice(0, 3)}`,
      value: median(rounds.map((round) => round[callers].paid[which] - round[callers].direct[which])),
      unit: 'ms',
    })),
  );
}
