import { and, desc, eq, lt, or } from 'drizzle-orm';
import { idOfUuid, uuidOfId } from '../base/ids.ts';
import { invariant, unreachable } from '../base/invariant.ts';
import { formatCredits, type Currency } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import type { Db, Tx } from '../db/db.ts';
import { partOf, sellersShare } from './dispute-amounts.ts';
import { disputes } from './tables.ts';

export type Dispute = typeof disputes.$inferSelect;

export const DISPUTE_REASONS = disputes.reason.enumValues;
export const DISPUTE_STATUSES = disputes.status.enumValues;
export const DISPUTE_DECIDERS = disputes.decidedBy.enumValues;
export type DisputeReason = Dispute['reason'];

/** Who looks: the organization that paid, the one that was paid, or the operator, who sees both sides. */
export type Onlooker = { organizationId: string; currency: Currency; isOperator: boolean };

/** A dispute as both sides read it; amounts are decimal credit strings. It does not say who the buyer is. */
export type DisputeView = {
  dispute_id: string;
  call_id: string;
  agent_id: string;
  currency: Currency;
  reason: DisputeReason;
  description: string;
  status: Dispute['status'];
  charged: string;
  claimed: string;
  /** What the buyer got back; null while it is open. */
  refunded: string | null;
  /** The two parts of it: the seller's proceeds and the platform's fee. */
  refunded_by_seller: string | null;
  refunded_fee: string | null;
  decided_by: Dispute['decidedBy'];
  /** The call whose charge proved this one to be a duplicate. */
  duplicate_of: string | null;
  explanation: string | null;
  opened_at: string;
  /** When the seller has not answered by then, the claim is refunded. */
  answer_by: string;
  decided_at: string | null;
};

export function formatDispute(dispute: Dispute): DisputeView {
  const { refundedMicros } = dispute;
  const refunded = refundedMicros === null ? null : partOf(claimOf(dispute), refundedMicros);
  return {
    dispute_id: idOfUuid('dsp', dispute.id),
    call_id: idOfUuid('call', dispute.callId),
    agent_id: dispute.agentId,
    currency: dispute.currency,
    reason: dispute.reason,
    description: dispute.description,
    status: dispute.status,
    charged: formatCredits(dispute.chargedMicros),
    claimed: formatCredits(dispute.claimedMicros),
    refunded: refunded && formatCredits(refunded.totalMicros),
    refunded_by_seller: refunded && formatCredits(sellersShare(refunded)),
    refunded_fee: refunded && formatCredits(refunded.feeMicros),
    decided_by: dispute.decidedBy,
    duplicate_of: dispute.duplicateOf === null ? null : idOfUuid('call', dispute.duplicateOf),
    explanation: dispute.explanation,
    opened_at: dispute.openedAt.toISOString(),
    answer_by: dispute.answerBy.toISOString(),
    decided_at: dispute.decidedAt?.toISOString() ?? null,
  };
}

/** What is claimed, and what of it was the fee. */
export function claimOf(dispute: Dispute): { totalMicros: bigint; feeMicros: bigint } {
  return { totalMicros: dispute.claimedMicros, feeMicros: dispute.claimedFeeMicros };
}

/** One that is missing and one between strangers are refused with the same words. */
export async function getDispute(db: Db, disputeId: string, onlooker: Onlooker): Promise<Dispute> {
  const uuid = uuidOfId('dsp', disputeId);
  if (uuid === undefined) throw noDispute();
  const [dispute] = await db
    .select()
    .from(disputes)
    .where(and(eq(disputes.id, uuid), seenBy(onlooker, onlooker.isOperator ? 'operator' : undefined)));
  if (!dispute) throw noDispute();
  return dispute;
}

/** Waits for whoever is deciding it, and then sees what was decided. */
export async function lockDispute(tx: Tx, uuid: string): Promise<Dispute> {
  const [dispute] = await tx.select().from(disputes).where(eq(disputes.id, uuid)).for('update');
  invariant(dispute, 'a dispute is never removed');
  return dispute;
}

export async function findDisputeOfCall(db: Db | Tx, callUuid: string): Promise<Dispute | undefined> {
  const [dispute] = await db.select().from(disputes).where(eq(disputes.callId, callUuid));
  return dispute;
}

export type Side = 'buyer' | 'seller' | 'operator';

/** Newest first. `before` is the last dispute id of the page before. */
export async function listDisputes(
  db: Db,
  page: {
    onlooker: Onlooker;
    side: Side;
    status: Dispute['status'] | undefined;
    before: string | undefined;
    limit: number;
  },
): Promise<Dispute[]> {
  const before = page.before === undefined ? undefined : uuidOfId('dsp', page.before);
  return db
    .select()
    .from(disputes)
    .where(
      and(
        seenBy(page.onlooker, page.side),
        page.status === undefined ? undefined : eq(disputes.status, page.status),
        before === undefined ? undefined : lt(disputes.id, before),
      ),
    )
    .orderBy(desc(disputes.id))
    .limit(page.limit);
}

function seenBy({ organizationId, currency, isOperator }: Onlooker, side: Side | undefined) {
  const sameCurrency = eq(disputes.currency, currency);
  const [isBuyer, isSeller] = [eq(disputes.buyerId, organizationId), eq(disputes.sellerId, organizationId)];
  switch (side) {
    case 'buyer':
      return and(sameCurrency, isBuyer);
    case 'seller':
      return and(sameCurrency, isSeller);
    case 'operator':
      invariant(isOperator, 'only the operator sees the disputes of others');
      return sameCurrency;
    case undefined:
      return and(sameCurrency, or(isBuyer, isSeller));
    default:
      return unreachable(side);
  }
}

function noDispute(): Problem {
  return new Problem('NOT_FOUND', 'There is no such dispute here.');
}
