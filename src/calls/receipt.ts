import { formatCredits } from '../base/money.ts';
import type { Receipt } from './call.ts';
import type { CallDeps } from './deps.ts';
import type { Call } from './paid-call.ts';

/** What the buyer is told about the money of a call that had credits on hold. */
export function receiptOf(
  call: Call,
  ended: { outcome: Receipt['outcome']; heldMicros: bigint; chargedMicros: bigint; feeMicros: bigint },
  deps: CallDeps,
): Receipt {
  return {
    call_id: call.callId,
    agent_id: call.agent.id,
    agent_version: call.agent.version,
    organization_id: call.caller.organizationId,
    key_id: call.caller.keyId,
    currency: call.caller.currency,
    outcome: ended.outcome,
    held: formatCredits(ended.heldMicros),
    charged: formatCredits(ended.chargedMicros),
    fee: formatCredits(ended.feeMicros),
    started_at: call.startedAt.toISOString(),
    ended_at: new Date(deps.clock.now()).toISOString(),
  };
}
