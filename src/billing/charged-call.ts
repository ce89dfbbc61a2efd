import { and, desc, eq, exists, gt, gte, lt, ne, sql } from 'drizzle-orm';
import type { ReceiptPayload } from '../base/receipt.ts';
import { receipts } from '../audit/tables.ts';
import { invariant } from '../base/invariant.ts';
import type { Db, Tx } from '../db/db.ts';
import { ledgerAccounts, ledgerJournal } from '../ledger/tables.ts';
import { disputes } from './tables.ts';

/** What the books say about one call that cost something. None of it ever changes. */
export type ChargedCall = {
  uuid: string;
  /** The accounts that paid and were paid. */
  balanceId: bigint;
  earningsId: bigint;
  feesId: bigint | undefined;
  sellerId: string;
  agentId: string;
  keyId: string;
  heldMicros: bigint;
  chargedMicros: bigint;
  feeMicros: bigint;
  settledAt: Date;
  /** Undefined for a call from before there were receipts. */
  receipt: ReceiptPayload | undefined;
};

/** How a call of this balance ended: charged, or not. Undefined when the balance never held anything for it. */
export async function findChargedCall(
  db: Db,
  callUuid: string,
  balanceId: bigint,
): Promise<ChargedCall | 'not charged' | undefined> {
  const [found] = await db
    .select({ row: ledgerJournal, sellerId: ledgerAccounts.organizationId, payload: receipts.payload })
    .from(ledgerJournal)
    .innerJoin(ledgerAccounts, eq(ledgerAccounts.id, ledgerJournal.credit))
    .leftJoin(receipts, eq(receipts.callId, ledgerJournal.id))
    .where(and(eq(ledgerJournal.id, callUuid), eq(ledgerJournal.debit, balanceId)));
  if (!found) return undefined;
  const { row, sellerId, payload } = found;
  // What has an id of its own and is no call, such as a grant, is as unknown here as an id nobody ever had.
  if (row.kind !== 'settle') return ['refund', 'expire'].includes(row.kind) ? 'not charged' : undefined;
  if (row.amount === 0n) return 'not charged';
  invariant(
    sellerId !== null && row.keyId !== null && row.agentId !== null,
    'a settled call has its parties',
  );
  return {
    uuid: row.id,
    balanceId: row.debit,
    earningsId: row.credit,
    feesId: row.feeAccount ?? undefined,
    sellerId,
    agentId: row.agentId,
    keyId: row.keyId,
    heldMicros: row.held,
    chargedMicros: row.amount,
    feeMicros: row.fee,
    settledAt: row.createdAt,
    receipt: payload === null ? undefined : (JSON.parse(payload) as ReceiptPayload),
  };
}

/** An earlier charge for the same thing. */
export type EarlierPurchase = {
  uuid: string;
  settledAt: Date;
  isSameAnswer: boolean;
  /** It is still paid for, nobody has asked for its money back, and no other refund rests on it. */
  isUnspent: boolean;
};

/** A call that begins longer than this after an equal one was settled is another purchase. */
export const DUPLICATE_WINDOW_MS = 15 * 60 * 1_000;

/**
 * The purchase this call repeats: a call of the same key for the same agent, version and arguments that began
 * before it, was charged, and was settled no longer than 15 minutes before this one began. One that can be the
 * reason of a refund is preferred, then one with the same answer. A call that gave an earlier answer again cost
 * nothing and is in no journal. Right for as long as no dispute of the balance is opened: see `lockDisputesOf`.
 */
export async function findEarlierPurchase(
  tx: Tx,
  call: ChargedCall,
  receipt: ReceiptPayload,
): Promise<EarlierPurchase | undefined> {
  const since = new Date(Date.parse(receipt.started_at) - DUPLICATE_WINDOW_MS);
  const member = (name: keyof ReceiptPayload) => sql<string | null>`${receipts.payload}::json ->> ${name}`;
  const isSameAnswer = sql<boolean>`coalesce(${member('output_hash')} = ${receipt.output_hash}, false)`;
  const isClaimedBack = exists(
    tx
      .select({ id: disputes.id })
      .from(disputes)
      .where(and(eq(disputes.callId, ledgerJournal.id), ne(disputes.status, 'rejected'))),
  );
  const isReason = exists(
    tx.select({ id: disputes.id }).from(disputes).where(eq(disputes.duplicateOf, ledgerJournal.id)),
  );
  const isUnspent = sql<boolean>`not ${isClaimedBack} and not ${isReason}`;
  const [earlier] = await tx
    .select({ uuid: ledgerJournal.id, settledAt: ledgerJournal.createdAt, isSameAnswer, isUnspent })
    .from(ledgerJournal)
    .innerJoin(receipts, eq(receipts.callId, ledgerJournal.id))
    .where(
      and(
        eq(ledgerJournal.debit, call.balanceId),
        eq(ledgerJournal.kind, 'settle'),
        eq(ledgerJournal.keyId, call.keyId),
        eq(ledgerJournal.agentId, call.agentId),
        gt(ledgerJournal.amount, 0n),
        gte(ledgerJournal.createdAt, since),
        // Where that begins in the history of the balance, which may be long.
        sql`${ledgerJournal.seq} >= (SELECT ledger_first_seq(${call.balanceId}, ${since.toISOString()}::timestamptz))`,
        // Ids rise with the moment a call began, so of two equal calls exactly one is the earlier.
        lt(ledgerJournal.id, call.uuid),
        eq(member('input_hash'), receipt.input_hash),
        eq(member('agent_version'), receipt.agent_version),
      ),
    )
    .orderBy(desc(isUnspent), desc(isSameAnswer), desc(ledgerJournal.id))
    .limit(1);
  return earlier;
}

/** Whether a call is what another one was found to repeat. */
export async function isReasonOfRefund(tx: Tx, callUuid: string): Promise<boolean> {
  const [refund] = await tx
    .select({ id: disputes.id })
    .from(disputes)
    .where(eq(disputes.duplicateOf, callUuid))
    .limit(1);
  return refund !== undefined;
}
