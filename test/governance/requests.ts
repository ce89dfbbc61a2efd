import type { Clock } from '../../src/base/clock.ts';
import { newId } from '../../src/base/ids.ts';
import type { Gate, GateAnswer } from '../../src/governance/gate.ts';
import type { Caller } from '../../src/identity/caller.ts';

/** A caller with limits; every one has a key and an account of its own. */
export function callerWith(limits: Partial<Caller>): Caller {
  return {
    keyId: newId('key'),
    organizationId: 'org_1',
    currency: 'live',
    scopes: new Set(['agents:invoke']),
    caps: {},
    ratePerMinute: 1_000_000,
    maxConcurrent: 1_000_000,
    accountId: BigInt(Math.floor(Math.random() * 2 ** 48)),
    ...limits,
  };
}

/** Asks the gate for one call at 10 micro-credits. */
export function enter(gate: Gate, caller: Caller, amountMicros = 10n, ttlMs = 60_000): Promise<GateAnswer> {
  return gate.enter({ caller, callId: newId('call'), amountMicros, ttlMs });
}

/** A clock a test moves. */
export function handClock(): Clock & { pass(ms: number): void } {
  let elapsed = 12_345.678;
  return {
    now: () => 1_700_000_000_000 + elapsed,
    elapsed: () => elapsed,
    pass: (ms) => (elapsed += ms),
  };
}

/** How many of each answer there were. */
export function tally(answers: GateAnswer[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind } of answers) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}
