import { sql } from 'drizzle-orm';
import { insertEvent } from '../audit/events.ts';
import { idOfUuid, newId, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import { formatCredits, type Currency } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { databaseNow, databaseNowPlus, readDatabaseClock } from '../db/database-clock.ts';
import type { Tx } from '../db/db.ts';
import { findAccount, lockAccounts, openAccount, transfer } from '../ledger/accounts.ts';
import { findChargedCall, findEarlierPurchase, isReasonOfRefund, type ChargedCall } from './charged-call.ts';
import { decideDispute } from './decide-dispute.ts';
import type { BillingDeps } from './deps.ts';
import { partOf, sellersShare } from './dispute-amounts.ts';
import { DISPUTE_WINDOW_MS, disputableUntil, lockPendingEarnings } from './dispute-window.ts';
import { claimOf, findDisputeOfCall, formatDispute, type Dispute, type DisputeReason } from './disputes.ts';
import { judgeByLedger, type Evidence, type Verdict } from './ledger-verdict.ts';
import { disputes } from './tables.ts';

/** How long a seller has to answer. Silence refunds: it is the seller who has the money. */
export const ANSWER_MS = 72 * 60 * 60 * 1_000;

/** What a buyer asks for. */
export type Claim = {
  callId: string;
  reason: DisputeReason;
  description: string;
  /** Undefined: all that was charged. */
  amountMicros: bigint | undefined;
};

export type Claimant = {
  organizationId: string;
  currency: Currency;
  /** The balance the call has to have been paid from. */
  balanceId: bigint;
};

/** The most a call of that version of an agent may cost; undefined when that is not known. */
export type FindPrice = (agentId: string, version: string) => Promise<bigint | undefined>;

/**
 * find charge → check claim → one at a time: ask the ledger → set the seller's share aside → tell both
 *
 * A call is disputed once. The same claim sent again answers the dispute it opened; another one is refused.
 * What the ledger can decide is decided here; everything else waits for the seller.
 */
export async function openDispute(
  deps: BillingDeps,
  claimant: Claimant,
  claim: Claim,
  findPrice: FindPrice,
): Promise<{ dispute: Dispute; isNew: boolean }> {
  const call = await getChargedCall(deps, claimant, claim.callId);
  const claimedMicros = claim.amountMicros ?? call.chargedMicros;
  const wanted = { ...claim, claimedMicros };
  const known = await findDisputeOfCall(deps.db, call.uuid);
  if (known) return { dispute: assertSameClaim(known, wanted), isNew: false };

  if (claimedMicros <= 0n || claimedMicros > call.chargedMicros) {
    const most = formatCredits(call.chargedMicros);
    throw new Problem('INVALID_INPUT', `The call was charged ${most} credits; no more can be claimed.`, {
      faults: [{ path: '/amount', message: `must be more than 0 and at most ${most}` }],
    });
  }
  if ((await readDatabaseClock(deps.db)) >= disputableUntil(call.settledAt)) throw windowClosed(call);
  const priceMicros = claim.reason === 'overcharge' ? await findPriceOf(call, findPrice) : undefined;

  return deps.db.transaction(async (tx) => {
    await lockDisputesOf(tx, claimant);
    const first = await findDisputeOfCall(tx, call.uuid);
    if (first) return { dispute: assertSameClaim(first, wanted), isNew: false };
    // Before the accounts are locked, which calls wait for.
    const verdict = judgeByLedger(wanted, call, {
      ...(await loadEvidence(tx, claim.reason, call)),
      priceMicros,
    });
    const isPending = await lockParties(tx, call, claimant, verdict);
    if (!isPending) throw windowClosed(call);

    // Above this line nothing has moved. Below, the dispute and what it does are one commit.
    const opened = await insertDispute(tx, { claim: wanted, call, claimant, verdict });
    await setAside(tx, opened, call, verdict);
    if (verdict.kind === 'ask seller') {
      await tellOpened(tx, opened);
      return { dispute: opened, isNew: true };
    }
    // Told as resolved alone: both would bear the same time and could come in any order, and an opening that is
    // the last word looks like a claim that waits for its seller.
    const refundedMicros = verdict.kind === 'refund' ? verdict.refundedMicros : 0n;
    const { explanation } = verdict;
    const decision = { decidedBy: 'ledger', refundedMicros, explanation } as const;
    return { dispute: await decideDispute(tx, opened, decision), isNew: true };
  });
}

async function getChargedCall(
  { db }: BillingDeps,
  { balanceId }: Claimant,
  callId: string,
): Promise<ChargedCall> {
  const uuid = uuidOfId('call', callId);
  const call = uuid && (await findChargedCall(db, uuid, balanceId));
  if (!call) {
    throw new Problem('NOT_FOUND', 'There is no such call here that was charged to this balance.');
  }
  if (call === 'not charged') {
    throw new Problem('CONFLICT', `Nothing was charged for ${callId}, so there is nothing to give back.`);
  }
  return call;
}

async function findPriceOf(
  { agentId, receipt }: ChargedCall,
  findPrice: FindPrice,
): Promise<bigint | undefined> {
  const version = receipt?.agent_version ?? undefined;
  return version === undefined ? undefined : findPrice(agentId, version);
}

/**
 * Until the transaction ends nobody else opens a dispute of this balance: of two equal calls that are disputed at the
 * same moment each could else be refunded because of the other, and of three two because of the same. It is taken
 * before any account, by everybody.
 */
async function lockDisputesOf(tx: Tx, { balanceId }: Claimant): Promise<void> {
  await tx.execute(
    sql`SELECT pg_advisory_xact_lock(hashtextextended(${`disputes of balance ${balanceId}`}, 0))`,
  );
}

async function loadEvidence(
  tx: Tx,
  reason: DisputeReason,
  call: ChargedCall,
): Promise<Omit<Evidence, 'priceMicros'>> {
  const { receipt } = call;
  if (reason !== 'duplicate' || receipt === undefined) return { earlier: undefined, isReason: false };
  return {
    earlier: await findEarlierPurchase(tx, call, receipt),
    isReason: await isReasonOfRefund(tx, call.uuid),
  };
}

/**
 * Locks every account that will change, in the order of their ids as every batch of the ledger does, so that
 * the two never wait for each other. False when the call's proceeds have left the seller's earnings.
 */
async function lockParties(
  tx: Tx,
  call: ChargedCall,
  { currency }: Claimant,
  verdict: Verdict,
): Promise<boolean> {
  const accounts = [call.earningsId];
  if (verdict.kind !== 'reject') accounts.push(await openAccount(tx, call.sellerId, currency, 'disputed'));
  if (verdict.kind === 'refund') {
    accounts.push(call.balanceId);
    if (call.feesId !== undefined) accounts.push(call.feesId);
  }
  await lockAccounts(tx, accounts);
  return lockPendingEarnings(tx, call.earningsId, call.settledAt);
}

async function insertDispute(
  tx: Tx,
  from: {
    claim: Claim & { claimedMicros: bigint };
    call: ChargedCall;
    claimant: Claimant;
    verdict: Verdict;
  },
): Promise<Dispute> {
  const { claim, call, claimant, verdict } = from;
  const paid = { totalMicros: call.chargedMicros, feeMicros: call.feeMicros };
  const [dispute] = await tx
    .insert(disputes)
    .values({
      id: newUuid('dsp'),
      callId: call.uuid,
      buyerId: claimant.organizationId,
      sellerId: call.sellerId,
      currency: claimant.currency,
      agentId: call.agentId,
      keyId: call.keyId,
      reason: claim.reason,
      description: claim.description,
      chargedMicros: call.chargedMicros,
      claimedMicros: claim.claimedMicros,
      claimedFeeMicros: partOf(paid, claim.claimedMicros).feeMicros,
      duplicateOf: verdict.kind === 'refund' ? (verdict.duplicateOf ?? null) : null,
      status: 'open',
      setAsideTxn: newUuid('txn'),
      reversalTxn: newUuid('txn'),
      feeReversalTxn: newUuid('txn'),
      returnTxn: newUuid('txn'),
      openedAt: databaseNow,
      answerBy: databaseNowPlus(ANSWER_MS),
    })
    .returning();
  invariant(dispute, 'an inserted row is returned');
  return dispute;
}

/**
 * The seller's share of the claim leaves the earnings, so that it is there when the claim is granted. Of what
 * the ledger decides on the spot only what is given back does: a claim that is refuted moves nothing.
 */
async function setAside(tx: Tx, dispute: Dispute, call: ChargedCall, verdict: Verdict): Promise<void> {
  if (verdict.kind === 'reject') return;
  const claim = claimOf(dispute);
  const amountMicros = sellersShare(
    verdict.kind === 'refund' ? partOf(claim, verdict.refundedMicros) : claim,
  );
  if (amountMicros === 0n) return;
  const disputed = await findAccount(tx, dispute.sellerId, dispute.currency, 'disputed');
  invariant(disputed !== undefined, 'the account was opened before it was locked');
  await transfer(tx, {
    uuid: dispute.setAsideTxn,
    kind: 'dispute',
    debit: call.earningsId,
    credit: disputed,
    amountMicros,
    subject: dispute.callId,
  });
}

async function tellOpened(tx: Tx, dispute: Dispute): Promise<void> {
  const { currency } = dispute;
  for (const organizationId of new Set([dispute.buyerId, dispute.sellerId])) {
    const data = formatDispute(dispute);
    await insertEvent(tx, { organizationId, currency, type: 'dispute.opened', data });
  }
}

function assertSameClaim(known: Dispute, wanted: Claim & { claimedMicros: bigint }): Dispute {
  const isSame =
    known.reason === wanted.reason &&
    known.description === wanted.description &&
    known.claimedMicros === wanted.claimedMicros;
  if (isSame) return known;
  throw new Problem(
    'CONFLICT',
    `This call was disputed before, with another reason, description or amount: see ${idOfUuid('dsp', known.id)}. ` +
      'A call is disputed once.',
  );
}

function windowClosed(call: ChargedCall): Problem {
  const days = DISPUTE_WINDOW_MS / 86_400_000;
  return new Problem(
    'CONFLICT',
    `A call can be disputed within ${days} days. This one was settled at ${call.settledAt.toISOString()}, ` +
      `so that ended at ${disputableUntil(call.settledAt).toISOString()}.`,
  );
}

function newUuid(prefix: 'dsp' | 'txn'): string {
  const uuid = uuidOfId(prefix, newId(prefix));
  invariant(uuid !== undefined, 'a new id is one of its kind');
  return uuid;
}
