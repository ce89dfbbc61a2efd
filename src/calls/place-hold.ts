import { unreachable } from '../base/invariant.ts';
import { Problem } from '../base/problem.ts';
import { paymentRequired } from '../governance/decide.ts';
import { getBalance } from '../ledger/accounts.ts';
import type { CallDeps } from './deps.ts';
import type { Call } from './paid-call.ts';

/** Credits that are set aside for one call, and what became of them. */
export type HoldPlaced = {
  kind: 'placed';
  heldMicros: bigint;
  /** Set when the hold is resolved: what went back to the buyer. */
  givenBackMicros: bigint;
};

/** Sets the most this call may cost aside. Throws PAYMENT_REQUIRED or BUDGET_EXCEEDED when it cannot. */
export async function placeHold(
  call: Call,
  amountMicros: bigint,
  ttlMs: number,
  deps: CallDeps,
): Promise<HoldPlaced | { kind: 'key_taken' }> {
  const { caller, agent, request } = call;
  const seller = await deps.accounts.earnings(agent.sellerId, caller.currency);
  const fees = await deps.accounts.fees(caller.currency);
  const before = deps.clock.elapsed();
  const answer = await deps.ledger.hold({
    callId: call.callId,
    buyer: caller.accountId,
    seller,
    fees,
    amountMicros,
    ttlMs,
    keyId: caller.keyId,
    agentId: agent.id,
    terms: { agentVersion: agent.version, inputHash: call.inputHash },
    meterId: caller.meterId,
    idempotency:
      request.idempotencyKey === undefined || call.keyedHash === undefined
        ? undefined
        : { key: request.idempotencyKey, requestHash: call.keyedHash },
  });
  call.holdMs = deps.clock.elapsed() - before;
  switch (answer.kind) {
    case 'placed':
      return { kind: 'placed', heldMicros: amountMicros, givenBackMicros: 0n };
    case 'key_taken':
      return answer;
    case 'insufficient': {
      const { availableMicros } = await getBalance(deps.db, caller.accountId);
      deps.gate.noteBalance(caller.accountId, availableMicros);
      throw paymentRequired(availableMicros, amountMicros);
    }
    case 'cap':
      throw new Problem(
        'BUDGET_EXCEEDED',
        `This call would pass the ${answer.of}'s spending cap ${CAP_WORDS[answer.cap]}. Nothing was charged.`,
        {
          limit: answer.cap,
          hint:
            answer.of === 'key'
              ? 'Raise the cap of this key, or use another one.'
              : 'Raise the cap of the organization.',
        },
      );
    default:
      return unreachable(answer);
  }
}

const CAP_WORDS = {
  day: 'for today (UTC)',
  month: 'for this month (UTC)',
  total: 'for its whole life',
} as const;
