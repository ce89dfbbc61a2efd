import { readDatabaseClock } from '../db/database-clock.ts';
import { formatCredits } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { unreachable } from '../base/invariant.ts';
import { decideDispute } from './decide-dispute.ts';
import type { BillingDeps } from './deps.ts';
import { getDispute, lockDispute, type Dispute, type Onlooker } from './disputes.ts';

/** What the seller, or the operator in its place, says about a claim. */
export type DisputeAnswer = {
  decision: 'refund' | 'partial' | 'reject';
  /** Exactly with `partial`. */
  amountMicros: bigint | undefined;
  explanation: string;
};

/**
 * The seller's word ends the dispute. It counts until the 72 hours are over, whether or not the job has come by
 * yet. The same answer sent again answers the same; another one comes too late.
 */
export async function answerDispute(
  deps: BillingDeps,
  onlooker: Onlooker,
  disputeId: string,
  answer: DisputeAnswer,
): Promise<Dispute> {
  const dispute = await getDispute(deps.db, disputeId, { ...onlooker, isOperator: false });
  if (dispute.sellerId !== onlooker.organizationId) {
    throw new Problem('FORBIDDEN', 'Only the seller of the call answers a dispute; its buyer opened it.');
  }
  return decide(deps, dispute, 'seller', answer);
}

/** The operator may decide any dispute that is still open, at any time. */
export async function ruleOnDispute(
  deps: BillingDeps,
  onlooker: Onlooker,
  disputeId: string,
  answer: DisputeAnswer,
): Promise<Dispute> {
  const dispute = await getDispute(deps.db, disputeId, onlooker);
  return decide(deps, dispute, 'operator', answer);
}

async function decide(
  deps: BillingDeps,
  seen: Dispute,
  decidedBy: 'seller' | 'operator',
  answer: DisputeAnswer,
): Promise<Dispute> {
  const refundedMicros = refundOf(seen, answer);
  const { explanation } = answer;
  return deps.db.transaction(async (tx) => {
    const dispute = await lockDispute(tx, seen.id);
    if (dispute.status !== 'open') {
      const isSame =
        dispute.decidedBy === decidedBy &&
        dispute.refundedMicros === refundedMicros &&
        dispute.explanation === explanation;
      if (isSame) return dispute;
      throw alreadyDecided(dispute);
    }
    if (decidedBy === 'seller' && (await readDatabaseClock(tx)) >= dispute.answerBy) throw tooLate(dispute);
    return decideDispute(tx, dispute, { decidedBy, refundedMicros, explanation });
  });
}

function refundOf(dispute: Dispute, { decision, amountMicros }: DisputeAnswer): bigint {
  switch (decision) {
    case 'refund':
      assertNoAmount(amountMicros, decision);
      return dispute.claimedMicros;
    case 'reject':
      assertNoAmount(amountMicros, decision);
      return 0n;
    case 'partial': {
      const claimed = formatCredits(dispute.claimedMicros);
      if (amountMicros !== undefined && amountMicros > 0n && amountMicros < dispute.claimedMicros) {
        return amountMicros;
      }
      throw new Problem(
        'INVALID_INPUT',
        `A partial refund is a part of the ${claimed} credits claimed. Send "refund" for all of it, "reject" for none.`,
        { faults: [{ path: '/amount', message: `must be more than 0 and less than ${claimed}` }] },
      );
    }
    default:
      return unreachable(decision);
  }
}

function assertNoAmount(amountMicros: bigint | undefined, decision: 'refund' | 'reject'): void {
  if (amountMicros === undefined) return;
  throw new Problem('INVALID_INPUT', `"${decision}" takes no amount; "partial" does.`, {
    faults: [{ path: '/amount', message: 'goes with the decision "partial" only' }],
  });
}

function alreadyDecided({ decidedBy, refundedMicros }: Dispute): Problem {
  const how =
    refundedMicros === null || refundedMicros === 0n
      ? 'rejected'
      : `${formatCredits(refundedMicros)} credits were refunded`;
  const by = {
    ledger: 'from the ledger',
    seller: 'by the seller',
    silence: 'by silence',
    operator: 'by the operator',
  };
  return new Problem('CONFLICT', `This dispute was decided before, ${by[decidedBy ?? 'ledger']}: ${how}.`);
}

function tooLate({ answerBy }: Dispute): Problem {
  return new Problem(
    'CONFLICT',
    `The time to answer ended at ${answerBy.toISOString()}. The claim is refunded to its buyer.`,
  );
}
