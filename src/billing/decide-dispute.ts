import { eq } from 'drizzle-orm';
import { insertEvent } from '../audit/events.ts';
import { invariant } from '../base/invariant.ts';
import { databaseNow } from '../db/database-clock.ts';
import type { Tx } from '../db/db.ts';
import {
  lockAccounts,
  noteCredits,
  openAccount,
  transfer,
  type AccountKind,
  type Transfer,
} from '../ledger/accounts.ts';
import { ledgerJournal } from '../ledger/tables.ts';
import { divideClaim, type Division } from './dispute-amounts.ts';
import { lockPendingEarnings } from './dispute-window.ts';
import { claimOf, formatDispute, type Dispute } from './disputes.ts';
import { disputes } from './tables.ts';

/** Who decides, and how much of the claim the buyer gets back. */
export type Decision = {
  decidedBy: NonNullable<Dispute['decidedBy']>;
  refundedMicros: bigint;
  explanation: string;
};

/**
 * Ends an open dispute that is locked: what is refunded goes back to the buyer, the fee on it included, and the
 * rest to the seller: to its earnings while they are pending, where they wait with the rest of what was settled
 * then, and to what may be paid out after they were released. Every movement has its id from when the dispute was opened, so none can happen twice.
 */
export async function decideDispute(tx: Tx, dispute: Dispute, decision: Decision): Promise<Dispute> {
  invariant(dispute.status === 'open', 'a dispute is decided once');
  const { refundedMicros } = decision;
  const division = divideClaim(claimOf(dispute), refundedMicros);
  const decided = await markDecided(tx, dispute, decision);
  for (const organizationId of new Set([decided.buyerId, decided.sellerId])) {
    const { currency } = decided;
    await insertEvent(tx, {
      organizationId,
      currency,
      type: 'dispute.resolved',
      data: formatDispute(decided),
    });
  }
  // Of what the ledger decided on the spot, nothing but the refund was set aside.
  const returnedMicros = decision.decidedBy === 'ledger' ? 0n : division.returnedMicros;
  // Last, so that busy accounts are locked for as short as possible.
  await moveCredits(tx, decided, { ...division, returnedMicros });
  return decided;
}

async function markDecided(tx: Tx, dispute: Dispute, decision: Decision): Promise<Dispute> {
  const [decided] = await tx
    .update(disputes)
    .set({
      status: decision.refundedMicros > 0n ? 'refunded' : 'rejected',
      decidedBy: decision.decidedBy,
      refundedMicros: decision.refundedMicros,
      explanation: decision.explanation,
      decidedAt: databaseNow,
    })
    .where(eq(disputes.id, dispute.id))
    .returning();
  invariant(decided, 'a dispute is never removed');
  return decided;
}

async function moveCredits(tx: Tx, dispute: Dispute, division: Division): Promise<void> {
  const { currency, buyerId, sellerId, callId: subject } = dispute;
  const balance = { owner: buyerId, kind: 'balance' } as const;
  const disputed = { owner: sellerId, kind: 'disputed' } as const;
  const fees = { owner: null, kind: 'fees' } as const;
  const open = (account: { owner: string | null; kind: AccountKind }): Promise<bigint> =>
    openAccount(tx, account.owner, currency, account.kind);
  const { reversalMicros, feeReversalMicros, returnedMicros } = division;
  const rows = [
    { uuid: dispute.reversalTxn, kind: 'reversal', from: disputed, to: balance, micros: reversalMicros },
    {
      uuid: dispute.feeReversalTxn,
      kind: 'fee_reversal',
      from: fees,
      to: balance,
      micros: feeReversalMicros,
    },
  ] as const;
  const movements: Transfer[] = [];
  for (const { uuid, kind, from, to, micros } of rows) {
    // An account is opened only for what goes to it: opening a new one keeps others that do the same waiting.
    if (micros === 0n) continue;
    const [debit, credit] = [await open(from), await open(to)];
    movements.push({ uuid, kind, debit, credit, amountMicros: micros, subject });
  }
  const sellers = returnedMicros === 0n ? undefined : await openSellers(tx, dispute);
  await lockAccounts(tx, [
    ...movements.flatMap(({ debit, credit }) => [debit, credit]),
    ...(sellers ? Object.values(sellers) : []),
  ]);
  for (const movement of movements) await transfer(tx, movement);
  if (sellers) await giveBack(tx, dispute, sellers, returnedMicros);
  if (dispute.status === 'refunded') await noteCredits(tx, await open(balance));
}

type SellersAccounts = { disputed: bigint; earnings: bigint; payable: bigint };

async function openSellers(tx: Tx, { sellerId, currency }: Dispute): Promise<SellersAccounts> {
  return {
    disputed: await openAccount(tx, sellerId, currency, 'disputed'),
    earnings: await openAccount(tx, sellerId, currency, 'earnings'),
    payable: await openAccount(tx, sellerId, currency, 'payable'),
  };
}

/** A dispute shortens no wait: what a seller rejects is paid out no sooner than what nobody disputed. */
async function giveBack(
  tx: Tx,
  dispute: Dispute,
  { disputed, earnings, payable }: SellersAccounts,
  amountMicros: bigint,
): Promise<void> {
  const isPending = await lockPendingEarnings(tx, earnings, await getSettledAt(tx, dispute.callId));
  await transfer(tx, {
    uuid: dispute.returnTxn,
    kind: 'dispute_rejected',
    debit: disputed,
    credit: isPending ? earnings : payable,
    amountMicros,
    subject: dispute.callId,
  });
}

async function getSettledAt(tx: Tx, callUuid: string): Promise<Date> {
  const [row] = await tx
    .select({ settledAt: ledgerJournal.createdAt })
    .from(ledgerJournal)
    .where(eq(ledgerJournal.id, callUuid));
  invariant(row, 'a call that is disputed was settled');
  return row.settledAt;
}
