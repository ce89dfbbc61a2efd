import type { Problem } from '../base/problem.ts';
import type { Caller, KeyCaps } from '../identity/caller.ts';
import { visitGate, type Gate, type GateAnswer, type GateVisit } from './gate.ts';

/** Everything a decision looks at, already loaded. */
export type DecisionFacts = {
  /** The most the call may cost. */
  priceMaxMicros: bigint;
  caps: KeyCaps;
  /** The most the buyer will pay for this call, if they said so. */
  requestMaxMicros: bigint | undefined;
  /** What the rate and concurrency gate said. */
  gate: GateAnswer;
};

export type Decision = { kind: 'allow' } | { kind: 'deny'; problem: Problem };

/** One reason why a call may not happen. Pure; undefined says nothing against it. */
export type Rule = (facts: DecisionFacts) => Problem | undefined;

/** What is to be decided about. */
export type WantedCall = {
  caller: Caller;
  callId: string;
  priceMaxMicros: bigint;
  requestMaxMicros: bigint | undefined;
  /** After this the call counts as gone, even if the process that made it never says so. */
  ttlMs: number;
};

/** The facts of one call, and its place behind the gate, which it leaves when it has ended. */
export type LoadedFacts = Disposable & { facts: DecisionFacts; spent: GateVisit['spent'] };

/** Loads what a decision looks at. Asking the gate takes a place behind it, so that no other call can have it. */
export async function loadFacts(wanted: WantedCall, gate: Gate): Promise<LoadedFacts> {
  const { caller, callId, priceMaxMicros, requestMaxMicros, ttlMs } = wanted;
  const visit = await visitGate(gate, { caller, callId, amountMicros: priceMaxMicros, ttlMs });
  return {
    facts: { priceMaxMicros, caps: caller.caps, requestMaxMicros, gate: visit.answer },
    spent: visit.spent,
    [Symbol.dispose]: () => visit[Symbol.dispose](),
  };
}
