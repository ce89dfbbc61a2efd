import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decide } from '../../src/governance/decide.ts';
import type { DecisionFacts } from '../../src/governance/facts.ts';
import type { GateAnswer } from '../../src/governance/gate.ts';

const CREDIT = 1_000_000n;
const entered: GateAnswer = { kind: 'entered', leave: () => {} };
const full: GateAnswer = { kind: 'too_many_at_once', maxConcurrent: 3 };
const FACTS: DecisionFacts = {
  priceMaxMicros: 10n * CREDIT,
  caps: {},
  requestMaxMicros: undefined,
  gate: entered,
};

/** The facts that differ from a call at 10 credits that may happen, and what is decided. */
const DECISIONS: [title: string, facts: Partial<DecisionFacts>, code: string, extras?: object][] = [
  ['nothing forbids it', {}, 'allow'],
  ['a free call', { priceMaxMicros: 0n, caps: { maxPerCallMicros: 0n }, requestMaxMicros: 0n }, 'allow'],
  ['exactly what the key allows', { caps: { maxPerCallMicros: 10n * CREDIT } }, 'allow'],
  [
    'a micro-credit above what the key allows',
    { caps: { maxPerCallMicros: 10n * CREDIT - 1n } },
    'BUDGET_EXCEEDED',
    { needed: '10', limit: '9.999999' },
  ],
  ['exactly what the buyer allows', { requestMaxMicros: 10n * CREDIT }, 'allow'],
  [
    'a micro-credit above what the buyer allows',
    { requestMaxMicros: 10n * CREDIT - 1n },
    'BUDGET_EXCEEDED',
    { needed: '10', limit: '9.999999' },
  ],
  ['caps that are counted by the ledger', { caps: { capDayMicros: 1n, capTotalMicros: 1n } }, 'allow'],
  [
    'too many calls a minute',
    { gate: { kind: 'rate_limited', ratePerMinute: 5, retryAfterMs: 1_001 } },
    'RATE_LIMITED',
    { retry_after_seconds: 2 },
  ],
  [
    'hardly too many calls a minute',
    { gate: { kind: 'rate_limited', ratePerMinute: 5, retryAfterMs: 0 } },
    'RATE_LIMITED',
    { retry_after_seconds: 1 },
  ],
  ['too many calls at once', { gate: full }, 'RATE_LIMITED', { retry_after_seconds: 1 }],
  [
    'a balance that was seen to be too small',
    { gate: { kind: 'insufficient', availableMicros: 3n * CREDIT } },
    'PAYMENT_REQUIRED',
    { balance: '3', needed: '10' },
  ],
  ['a limit comes before the rate', { caps: { maxPerCallMicros: 1n }, gate: full }, 'BUDGET_EXCEEDED'],
  [
    'an answer of the gate nobody knows',
    { gate: { kind: 'maybe' } as unknown as GateAnswer },
    'POLICY_DENIED',
  ],
];

describe('a decision', () => {
  for (const [title, facts, code, extras] of DECISIONS) {
    test(`${title}: ${code}`, () => {
      const decision = decide({ ...FACTS, ...facts });
      assert.equal(decision.kind === 'allow' ? 'allow' : decision.problem.code, code);
      if (extras && decision.kind === 'deny') {
        assert.deepEqual({ ...decision.problem.extras, ...extras }, decision.problem.extras);
      }
    });
  }
});
