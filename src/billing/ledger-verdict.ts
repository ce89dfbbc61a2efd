import { idOfUuid } from '../base/ids.ts';
import { unreachable } from '../base/invariant.ts';
import { formatCredits } from '../base/money.ts';
import type { ChargedCall, EarlierPurchase } from './charged-call.ts';
import type { DisputeReason } from './disputes.ts';

/** What the books alone can say about a claim. */
export type Verdict =
  | { kind: 'refund'; refundedMicros: bigint; duplicateOf?: string; explanation: string }
  | { kind: 'reject'; explanation: string }
  /** It is not about numbers, or the numbers do not tell. */
  | { kind: 'ask seller' };

/** What has to be known of the call, besides itself. */
export type Evidence = {
  earlier: EarlierPurchase | undefined;
  /** Another call was refunded as a duplicate of this one, so this one is the one that is paid. */
  isReason: boolean;
  /** The most a call of that version may cost, as it was published; undefined when that is not known. */
  priceMicros: bigint | undefined;
};

/** Decides what can be decided without asking anybody. Never more than is claimed. */
export function judgeByLedger(
  claim: { reason: DisputeReason; claimedMicros: bigint },
  call: ChargedCall,
  evidence: Evidence,
): Verdict {
  switch (claim.reason) {
    case 'duplicate':
      return judgeDuplicate(claim.claimedMicros, call, evidence);
    case 'overcharge':
      return judgeOvercharge(claim.claimedMicros, call, evidence);
    case 'not_delivered':
    case 'output_defective':
    case 'other':
      return { kind: 'ask seller' };
    default:
      return unreachable(claim.reason);
  }
}

const IS_REASON =
  'The ledger shows that an equal call was refunded as a duplicate of this one: of the two this is the one that is paid for.';
const IS_SPENT =
  'The ledger shows equal calls charged within the 15 minutes before this one began, and none of them is still paid for and ' +
  'without another refund that rests on it. One payment is the reason of one refund.';

/**
 * The same purchase twice with the same answer is worth one: each refund rests on a call of its own that stays paid, or
 * one payment would buy a series of calls, each of them refunded because of the one before. With another answer it may be what the buyer
 * wanted, a second picture or a fresh result, and would be work for nothing if it were given back unasked.
 */
function judgeDuplicate(claimedMicros: bigint, call: ChargedCall, { earlier, isReason }: Evidence): Verdict {
  if (call.receipt === undefined) return { kind: 'ask seller' };
  if (isReason) return { kind: 'reject', explanation: IS_REASON };
  if (!earlier) {
    return {
      kind: 'reject',
      explanation:
        'The ledger shows no earlier charge for it: no call of the same key for the same agent, version and ' +
        'arguments was charged within the 15 minutes before this one began.',
    };
  }
  if (!earlier.isUnspent) return { kind: 'reject', explanation: IS_SPENT };
  if (!earlier.isSameAnswer) return { kind: 'ask seller' };
  return {
    kind: 'refund',
    refundedMicros: claimedMicros,
    duplicateOf: earlier.uuid,
    explanation:
      `The ledger shows the same purchase with the same answer: ${idOfUuid('call', earlier.uuid)}, ` +
      `settled at ${earlier.settledAt.toISOString()}.`,
  };
}

/** What was held is never more than the buyer's own maximum and the price in force, so it stands for both. */
function judgeOvercharge(claimedMicros: bigint, call: ChargedCall, { priceMicros }: Evidence): Verdict {
  if (priceMicros === undefined) return { kind: 'ask seller' };
  const due = priceMicros < call.heldMicros ? priceMicros : call.heldMicros;
  const shown =
    `The ledger shows ${formatCredits(call.chargedMicros)} credits charged, ${formatCredits(call.heldMicros)} ` +
    `held, and a published price of at most ${formatCredits(priceMicros)}`;
  if (call.chargedMicros <= due) {
    return { kind: 'reject', explanation: `${shown}: it was charged no more than agreed.` };
  }
  const excessMicros = call.chargedMicros - due;
  return {
    kind: 'refund',
    refundedMicros: excessMicros < claimedMicros ? excessMicros : claimedMicros,
    explanation: `${shown}: ${formatCredits(excessMicros)} were charged too much.`,
  };
}
