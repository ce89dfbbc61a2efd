import type { Receipts } from '../audit/receipts.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Agent } from '../catalog/agent.ts';
import type { Db } from '../db/db.ts';
import type { Gate } from '../governance/gate.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { FreeCalls } from './free-calls.ts';
import type { LedgerAccounts } from './ledger-accounts.ts';
import type { PriceListings } from './price-listings.ts';
import type { CallRecorder } from './records.ts';
import type { CallResults } from './results.ts';
import type { RunningCalls } from './running-calls.ts';

/** What the paid call works with; built once, in runtime/. */
export type CallDeps = {
  db: Db;
  catalog: { find(agentId: string): Agent | undefined };
  ledger: Ledger;
  accounts: LedgerAccounts;
  prices: PriceListings;
  freeCalls: FreeCalls;
  gate: Gate;
  upstream: Upstream;
  recorder: CallRecorder;
  results: CallResults;
  receipts: Receipts;
  running: RunningCalls;
  feeBasisPoints: bigint;
  clock: Clock;
  log: Log;
  /** Hears of every call that ended, for the metrics. */
  onEnded(ended: EndedCall): void;
};

/** The figures of one call that ended. Durations in milliseconds; absent where that step was not reached. */
export type EndedCall = {
  /** `settled`, or the problem's code. */
  result: string;
  wire: 'mcp' | 'rest';
  heldMicros: bigint;
  chargedMicros: bigint;
  feeMicros: bigint;
  isOverReported: boolean;
  totalMs: number;
  holdMs: number | undefined;
  upstreamMs: number | undefined;
};
