import { unreachable } from '../base/invariant.ts';
import { Problem } from '../base/problem.ts';
import type { Agent } from '../catalog/agent.ts';
import { paymentRequired } from '../governance/rules/seen-balance.ts';
import { getBalance } from '../ledger/accounts.ts';
import type { HeldCall, PricedCall } from './call.ts';
import type { CallDeps } from './deps.ts';

const HOLD_MARGIN_MS = 60_000;

/** A hold outlives every answer that may still be paid for, and then the sweeper takes it. */
export function holdTtlMs(agent: Agent): number {
  return agent.timeoutMs + HOLD_MARGIN_MS;
}

export type HoldPlaced = { kind: 'placed'; call: HeldCall } | { kind: 'key_taken' };

/** Sets the most this call may cost aside. Throws PAYMENT_REQUIRED or BUDGET_EXCEEDED when it cannot. */
export async function placeHold(
  call: PricedCall,
  amountMicros: bigint,
  ttlMs: number,
  deps: CallDeps,
): Promise<HoldPlaced> {
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
    meters: caller.meterId === undefined ? [] : [caller.meterId],
    idempotency:
      request.idempotencyKey === undefined || call.keyedHash === undefined
        ? undefined
        : { key: request.idempotencyKey, requestHash: call.keyedHash },
  });
  const holdMs = deps.clock.elapsed() - before;
  switch (answer.kind) {
    case 'placed':
      return { kind: 'placed', call: { ...call, heldMicros: amountMicros, holdMs } };
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
        `This call would pass the ${answer.of === 'balance' ? 'organization' : 'key'}'s spending cap ${CAP_WORDS[answer.cap]}. Nothing was charged.`,
        {
          limit: answer.cap,
          hint:
            answer.of === 'balance'
              ? 'Raise the cap of the organization.'
              : 'Raise the cap of this key, or use another one.',
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
