import { createBenchDatabase } from './bench-database.ts';
import { startChild, type Child } from './child.ts';
import { addedLatency, CALLERS, measureLatency, type Called, type LatencyRound } from './latency.ts';
import { load } from './load.ts';
import { median, type Figure } from './report.ts';

// Until the compiler has seen all of it: a server is judged in its hours, not in its first seconds.
const WARM_UP_SECONDS = 15;

type Round = { perSecond: number; cpuMicros: number };
type Target = { name: string; child: Child; tool: string; headers?: Record<string, string>; rounds: Round[] };

/** A paid call through the gateway beside unpaid pass-throughs of the same calls to the same MCP upstream. */
export async function measureCalls(options: { rounds: number; seconds: number }): Promise<Figure[]> {
  const database = await createBenchDatabase();
  const upstream = await startChild('upstream');
  const settings = { UPSTREAM: upstream.url };
  const gateway = await startChild('gateway', { ...settings, BENCH_DATABASE: database.url });
  const paid: Target = {
    name: 'paid',
    child: gateway,
    tool: gateway.facts['tool'] ?? '',
    headers: { authorization: `Bearer ${gateway.facts['key']}` },
    rounds: [],
  };
  const thin: Target = { name: 'thin', child: await startChild('thin', settings), tool: 'echo', rounds: [] };
  const sdk: Target = { name: 'sdk', child: await startChild('sdk', settings), tool: 'echo', rounds: [] };
  const proxy: Target = {
    name: 'mcp-proxy',
    child: await startChild('mcp-proxy', settings),
    tool: 'echo',
    rounds: [],
  };
  const targets = [paid, thin, sdk, proxy];
  const ledgerCpu: number[] = [];
  const latencies: LatencyRound[] = [];
  try {
    for (const target of targets) await callOften(target, WARM_UP_SECONDS);
    for (let round = 0; round < options.rounds; round += 1) {
      for (const target of targets) {
        const before = await database.cpuMicros();
        const { total, ...measured } = await callOften(target, options.seconds);
        target.rounds.push(measured);
        if (target === paid) ledgerCpu.push(((await database.cpuMicros()) - before) / total);
      }
      latencies.push(await latencyRound(upstream, paid, options.seconds / 2));
    }
    await assertBooksBalance(database.url);
  } finally {
    for (const child of [upstream, ...targets.map((target) => target.child)]) await child.stop();
    await database.drop();
  }

  const ratio = (peer: Target): number =>
    median(
      paid.rounds.map((round, index) => round.perSecond / (peer.rounds[index]?.perSecond ?? Number.NaN)),
    );
  /** Of everything a call keeps busy: the gateway, and PostgreSQL for it. */
  const cpuRatio = (peer: Target): number =>
    median(
      paid.rounds.map(
        ({ cpuMicros }, index) =>
          (cpuMicros + (ledgerCpu[index] ?? Number.NaN)) / (peer.rounds[index]?.cpuMicros ?? Number.NaN),
      ),
    );
  const cpu = (target: Target): number => median(target.rounds.map((round) => round.cpuMicros));
  return [
    {
      name: 'paid tools/call per second ÷ unpaid pass-through on the official SDK 1.x',
      value: ratio(sdk),
      goal: { least: 4 },
      unit: '×',
    },
    {
      name: 'paid tools/call per second ÷ unpaid thin Hono + undici pass-through',
      value: ratio(thin),
      // With a signed receipt for every call.
      goal: { least: 0.35 },
      unit: '×',
    },
    {
      name: 'paid tools/call per second ÷ mcp-proxy (npm), unpaid',
      value: ratio(proxy),
      goal: { least: 4 },
      unit: '×',
    },
    {
      name: 'CPU of a paid call (gateway + PostgreSQL) ÷ unpaid pass-through on the official SDK 1.x',
      value: cpuRatio(sdk),
      goal: { most: 0.25 },
      unit: '×',
    },
    {
      name: 'CPU of a paid call (gateway + PostgreSQL) ÷ mcp-proxy (npm), unpaid',
      value: cpuRatio(proxy),
      goal: { most: 0.25 },
      unit: '×',
    },
    ...addedLatency(latencies),
    {
      name: 'paid tools/call per second',
      value: median(paid.rounds.map((round) => round.perSecond)),
      unit: '/s',
    },
    { name: 'gateway CPU per paid call', value: cpu(paid), unit: 'µs' },
    { name: 'PostgreSQL CPU per paid call', value: median(ledgerCpu), unit: 'µs' },
    { name: 'thin pass-through CPU per call', value: cpu(thin), unit: 'µs' },
    { name: 'SDK 1.x pass-through CPU per call', value: cpu(sdk), unit: 'µs' },
    { name: 'mcp-proxy CPU per call', value: cpu(proxy), unit: 'µs' },
  ];
}

/** Side by side, so that whatever else the machine does meets both. */
async function latencyRound(upstream: Child, paid: Target, seconds: number): Promise<LatencyRound> {
  const direct: Called = { url: upstream.url, tool: 'echo' };
  const through: Called = { url: paid.child.url, tool: paid.tool, headers: paid.headers ?? {} };
  const [one, many] = CALLERS;
  const compare = async (callers: number): Promise<LatencyRound[typeof one]> => ({
    direct: await measureLatency(direct, callers, seconds),
    paid: await measureLatency(through, callers, seconds),
  });
  return { [one]: await compare(one), [many]: await compare(many) };
}

async function callOften(target: Target, seconds: number): Promise<Round & { total: number }> {
  const before = await target.child.cpuMicros();
  const { perSecond, total } = await load(target.child.url, target.tool, {
    seconds,
    ...(target.headers ? { headers: target.headers } : {}),
  });
  return { perSecond, total, cpuMicros: ((await target.child.cpuMicros()) - before) / total };
}

/**
 * A figure for calls that were not really paid would be worth nothing. The calls under way when a round ends
 * are hung up, and refunded.
 */
async function assertBooksBalance(url: string): Promise<void> {
  const { default: pg } = await import('pg');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query<{ sum: string; settled: string; other: string }>(
    `SELECT (SELECT coalesce(sum(posted), 0) FROM ledger_accounts) AS sum,
       (SELECT count(*) FROM ledger_journal WHERE kind = 'settle') AS settled,
       (SELECT count(*) FROM ledger_journal WHERE kind = 'refund') AS other`,
  );
  await client.end();
  const books = rows[0];
  if (books?.sum !== '0' || Number(books.settled) < 1 || Number(books.other) > Number(books.settled) / 50) {
    throw new Error(`the books do not balance: ${JSON.stringify(books)}`);
  }
}
