import { createHash } from 'node:crypto';
import { and, eq, gt, inArray, ne, or, sql } from 'drizzle-orm';
import { invariant } from '../base/invariant.ts';
import { MICROS_PER_CREDIT } from '../base/money.ts';
import type { Tx } from '../db/db.ts';
import { getBalance, noteCredits, transfer } from '../ledger/accounts.ts';
import { ledgerJournal } from '../ledger/tables.ts';
import { decideMovements, type Lot, type Movement } from './contested-lots.ts';
import { topUps } from './tables.ts';
import { dueMicros, lotMicros, type TopUp } from './top-ups.ts';

/** The accounts credits of a top-up move between; `frozen` exists once something was contested. */
export type Accounts = { funding: bigint; balance: bigint; frozen: bigint | undefined };

/**
 * Freezes, gives back and takes back what the contested and refunded payments of one balance demand, as far as
 * its credits reach; the rest is owed and taken when credits come. The accounts are locked.
 */
export async function settleLots(tx: Tx, owner: Pick<TopUp, 'accountId'>, accounts: Accounts): Promise<void> {
  const contested = await tx
    .select()
    .from(topUps)
    .where(
      and(
        eq(topUps.accountId, owner.accountId),
        eq(topUps.status, 'paid'),
        or(ne(topUps.cardDispute, 'none'), gt(topUps.refundedCents, 0n)),
      ),
    )
    .orderBy(topUps.id)
    .for('update');
  if (contested.length === 0) return;

  const { availableMicros } = await getBalance(tx, accounts.balance);
  const decided = decideMovements(contested.map(toLot), availableMicros);
  await move(tx, decided.movements, accounts);
  for (const lot of decided.lots) {
    const { frozenMicros, reversedMicros, owedMicros } = lot;
    await tx.update(topUps).set({ frozenMicros, reversedMicros, owedMicros }).where(eq(topUps.id, lot.id));
  }
  if (decided.movements.some(({ kind }) => kind === 'unfreeze' || kind === 'restore'))
    await noteCredits(tx, accounts.balance);
}

function toLot(topUp: TopUp): Lot {
  const due = dueMicros(topUp);
  const openMicros = topUp.cardDispute === 'open' ? topUp.cardDisputeCents * MICROS_PER_CREDIT : 0n;
  const rest = lotMicros(topUp) - due;
  return {
    id: topUp.id,
    dueMicros: due,
    contestedMicros: openMicros < rest ? openMicros : rest,
    reversedMicros: topUp.reversedMicros,
    frozenMicros: topUp.frozenMicros,
  };
}

const JOURNAL_KIND = {
  freeze: 'freeze',
  unfreeze: 'unfreeze',
  reverse: 'top_up_reversal',
  restore: 'top_up_restored',
} as const;

async function move(tx: Tx, movements: readonly Movement[], accounts: Accounts): Promise<void> {
  const moved = await sumMoved(tx, [...new Set(movements.map(({ lotId }) => lotId))]);
  for (const { lotId, kind, from, amountMicros } of movements) {
    const journalKind = JOURNAL_KIND[kind];
    const key = `${lotId}:${journalKind}`;
    const cumulative = (moved.get(key) ?? 0n) + amountMicros;
    moved.set(key, cumulative);
    const debit = accounts[from];
    const credit =
      kind === 'reverse' ? accounts.funding : kind === 'freeze' ? accounts.frozen : accounts.balance;
    invariant(
      debit !== undefined && credit !== undefined,
      'what is contested has an account to be frozen on',
    );
    // Named by how far the lot has come, so that no step can be made twice, whoever comes to make it.
    const uuid = uuidOfStep(`${key}:${cumulative}`);
    const isNew = await transfer(tx, {
      uuid,
      kind: journalKind,
      debit,
      credit,
      amountMicros,
      subject: lotId,
    });
    invariant(isNew, 'a lot comes to each point once');
  }
}

/** What each lot moved so far, by kind, as the journal has it. */
async function sumMoved(tx: Tx, lotIds: string[]): Promise<Map<string, bigint>> {
  if (lotIds.length === 0) return new Map();
  const rows = await tx
    .select({
      lotId: ledgerJournal.subject,
      kind: ledgerJournal.kind,
      amount: sql<string>`sum(${ledgerJournal.amount})`,
    })
    .from(ledgerJournal)
    .where(inArray(ledgerJournal.subject, lotIds))
    .groupBy(ledgerJournal.subject, ledgerJournal.kind);
  return new Map(rows.map(({ lotId, kind, amount }) => [`${lotId}:${kind}`, BigInt(amount)]));
}

/** A UUID of version 8 (RFC 9562 section 5.8) that the same words always give. */
function uuidOfStep(words: string): string {
  const hex = createHash('sha256').update(words).digest('hex');
  const variant = '89ab'[Number.parseInt(hex.charAt(16), 16) & 3];
  return `${hex.slice(0, 12)}8${hex.slice(13, 16)}${variant}${hex.slice(17, 32)}`;
}
