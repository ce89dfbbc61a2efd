import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { formatCredits } from '../base/money.ts';
import type { EndedCall } from '../calls/deps.ts';

/** The process's figures in Prometheus' text format. */
export type Metrics = {
  /** Hears of every call that ended. */
  onEnded(ended: EndedCall): void;
  /** Hears of every job that ended in this process, `now` in milliseconds. */
  onJobEnded(job: { name: string; result: 'completed' | 'failed' }, now: number): void;
  /** Hears how many differences there were when the books were last compared here. */
  onReconciled(differences: number): void;
  /** What is read when somebody looks, and not counted. */
  watch(figures: { queueDepth(): number; openCalls(): number }): void;
  contentType: string;
  text(): Promise<string>;
};

// From a fast local agent to the longest timeout a manifest may ask for.
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/**
 * A call must cost next to nothing here: counters are plain numbers that are handed to prom-client only when
 * somebody reads them, because its own labelled counters hash their labels at every increment.
 */
export function createMetrics(): Metrics {
  const register = new Registry();
  collectDefaultMetrics({ register });
  const ended = new Map<string, { wire: string; result: string; count: number }>();
  const totals = { held: 0n, settled: 0n, refunded: 0n, fee: 0n };
  let overReports = 0;

  const calls = new Counter({
    name: 'sentinel_calls_total',
    help: 'Paid calls that ended, by wire and by result: settled, or the code of the problem.',
    labelNames: ['wire', 'result'],
    registers: [],
    collect() {
      this.reset();
      for (const { wire, result, count } of ended.values()) this.inc({ wire, result }, count);
    },
  });
  register.registerMetric(calls);
  for (const [name, help] of CREDIT_TOTALS) {
    const credits = new Counter({
      name: `sentinel_credits_${name}_total`,
      help,
      registers: [],
      collect() {
        this.reset();
        // A metric is a float by definition; the ledger is where exact amounts are.
        this.inc(Number.parseFloat(formatCredits(totals[name])));
      },
    });
    register.registerMetric(credits);
  }

  const overReported = new Counter({
    name: 'sentinel_over_reports_total',
    help: 'Metered calls whose agent reported more use than its most can pay for, and was paid that.',
    registers: [],
    collect() {
      this.reset();
      this.inc(overReports);
    },
  });
  register.registerMetric(overReported);

  const jobs = new Counter({
    name: 'sentinel_jobs_total',
    help: 'Runs of jobs by this process that ended.',
    labelNames: ['job', 'result'],
    registers: [register],
  });
  const lastSuccess = new Gauge({
    name: 'sentinel_job_last_success_timestamp_seconds',
    help: 'When this process last ran the job without a failure.',
    labelNames: ['job'],
    registers: [register],
  });
  // Without a label it would read 0 before anything was compared.
  const differences = new Gauge({
    name: 'sentinel_ledger_differences',
    help: 'Differences found when this process last compared the books; absent until it has.',
    registers: [],
  });

  const histogram = (name: string, help: string): Histogram =>
    new Histogram({ name: `sentinel_${name}_seconds`, help, buckets: SECONDS, registers: [register] });
  const total = histogram('call_duration', 'From the request to its answer.');
  const hold = histogram('hold_duration', 'Until the ledger had decided a hold.');
  const upstream = histogram('upstream_duration', 'Until the agent had answered, or failed.');
  const overhead = histogram('overhead', 'What the gateway adds to a call: all but the wait for the agent.');

  return {
    onEnded: (call) => {
      const name = `${call.wire} ${call.result}`;
      const tally = ended.get(name);
      if (tally) tally.count += 1;
      else ended.set(name, { wire: call.wire, result: call.result, count: 1 });
      totals.held += call.heldMicros;
      totals.settled += call.chargedMicros;
      totals.refunded += call.heldMicros - call.chargedMicros;
      totals.fee += call.feeMicros;
      if (call.isOverReported) overReports += 1;
      total.observe(call.totalMs / 1_000);
      if (call.holdMs !== undefined) hold.observe(call.holdMs / 1_000);
      if (call.upstreamMs !== undefined) {
        upstream.observe(call.upstreamMs / 1_000);
        overhead.observe(Math.max(0, call.totalMs - call.upstreamMs) / 1_000);
      }
    },
    onJobEnded: ({ name, result }, now) => {
      jobs.inc({ job: name, result });
      if (result === 'completed') lastSuccess.set({ job: name }, now / 1_000);
    },
    onReconciled: (count) => {
      differences.set(count);
      register.registerMetric(differences);
    },
    watch: ({ queueDepth, openCalls }) => {
      addGauge(register, 'ledger_queue_depth', 'Holds and resolutions waiting to be committed.', queueDepth);
      addGauge(register, 'open_calls', 'Calls this process is working on.', openCalls);
    },
    contentType: register.contentType,
    text: () => register.metrics(),
  };
}

const CREDIT_TOTALS = [
  ['held', 'Credits put on hold.'],
  ['settled', 'Credits buyers paid.'],
  ['refunded', 'Held credits that went back to their buyers.'],
  ['fee', 'Credits the platform earned.'],
] as const;

function addGauge(register: Registry, name: string, help: string, read: () => number): void {
  const gauge = new Gauge({
    name: `sentinel_${name}`,
    help,
    registers: [],
    collect() {
      this.set(read());
    },
  });
  register.registerMetric(gauge);
}
