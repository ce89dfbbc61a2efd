import type { Caller } from '../identity/caller.ts';

/** What a call asks of the first gate, before it asks the ledger. */
export type GateRequest = {
  /** Whose rate it is, and from which balance. */
  caller: Pick<Caller, 'keyId' | 'accountId' | 'ratePerMinute' | 'maxConcurrent'>;
  callId: string;
  /** The most the call may cost. */
  amountMicros: bigint;
  /** After this the call counts as gone, even if the process that made it never says so. */
  ttlMs: number;
};

export type GateAnswer =
  | { kind: 'entered'; leave(givenBackMicros: bigint): void }
  | { kind: 'rate_limited'; ratePerMinute: number; retryAfterMs: number }
  | { kind: 'too_many_at_once'; maxConcurrent: number }
  /** The account was seen with this much a moment ago, and it is not enough. */
  | { kind: 'insufficient'; availableMicros: bigint };

/**
 * Rate, concurrency and a recent sight of a nearly empty balance, in front of the ledger: a flood of
 * hopeless calls ends here. It decides nothing about money; whatever it holds may be lost at any time.
 */
export type Gate = {
  enter(request: GateRequest): Promise<GateAnswer>;
  /** The ledger just refused: the account has only this much to spend. */
  noteBalance(accountId: bigint, availableMicros: bigint): void;
  /** Credits came in: what was noted is no longer true. */
  forgetBalance(accountId: bigint): void;
  /** `shared`: limits hold across processes. `degraded`: they should, but Redis is away. */
  state(): 'local' | 'shared' | 'degraded';
  close(): Promise<void>;
};

/** A call before the gate: what it was told, and its place behind the gate, which it leaves when it has ended. */
export type GateVisit = Disposable & {
  readonly answer: GateAnswer;
  /** What is not to be given back to the balance that was noted: nothing, until this says so. */
  spent(micros: bigint): void;
};

export async function visitGate(gate: Gate, request: GateRequest): Promise<GateVisit> {
  const answer = await gate.enter(request);
  let spentMicros = 0n;
  return {
    answer,
    spent: (micros) => {
      spentMicros = micros;
    },
    [Symbol.dispose]: () => {
      if (answer.kind === 'entered') answer.leave(request.amountMicros - spentMicros);
    },
  };
}

/** How long a noted balance is believed. Short: it may only ever spare work, not cost a buyer a call. */
export const NOTED_BALANCE_MS = 1_000;
