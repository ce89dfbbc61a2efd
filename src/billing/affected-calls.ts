import { sql } from 'drizzle-orm';
import { idOfUuid } from '../base/ids.ts';
import type { Db } from '../db/db.ts';
import { ledgerJournal, type JournalKind } from '../ledger/tables.ts';
import type { TopUp } from './top-ups.ts';

/** A call that a lot paid for, and how much of it. */
export type AffectedCall = { callId: string; micros: bigint };

const PAGE_ROWS = 5_000;

/**
 * The calls a lot of credits paid for, oldest first: credits are spent in the order they came. Read from the
 * journal alone, page by page from the first row of the balance to where the lot is used up, so it costs as
 * much as the account is old: it is asked for only where a payment was taken back.
 */
export async function listAffectedCalls(
  db: Db,
  topUp: Pick<TopUp, 'id' | 'accountId' | 'failedRefundCents'>,
): Promise<AffectedCall[]> {
  const affected: AffectedCall[] = [];
  const purse = newPurse();
  // Only what a refund took that failed comes back.
  const mayReturn = topUp.failedRefundCents > 0n;
  let afterSeq = 0n;
  for (;;) {
    const rows = await listMovements(db, topUp.accountId, afterSeq);
    for (const row of rows) {
      for (const { lotId, micros } of purse.apply(row)) {
        if (lotId === topUp.id && row.kind === 'settle') {
          affected.push({ callId: idOfUuid('call', row.id), micros });
        }
      }
    }
    if (rows.length < PAGE_ROWS || purse.isUsedUp(topUp.id, mayReturn)) return affected;
    afterSeq = BigInt(rows.at(-1)?.seq ?? 0);
  }
}

type Row = {
  seq: string;
  id: string;
  kind: JournalKind;
  subject: string | null;
  /** What the balance gained, or lost when negative. */
  change: string;
};

type Lot = { id: string; left: bigint; frozen: bigint; reversed: bigint };

/** The lots of one balance, in the order they came, and which of them each payment is made from. */
function newPurse() {
  const lots: Lot[] = [];
  const byId = new Map<string, Lot>();
  let oldest = 0;

  function add(id: string, micros: bigint): void {
    const lot = { id, left: micros, frozen: 0n, reversed: 0n };
    lots.push(lot);
    byId.set(id, lot);
  }

  function spend(micros: bigint): { lotId: string; micros: bigint }[] {
    const parts: { lotId: string; micros: bigint }[] = [];
    let rest = micros;
    while (rest > 0n && oldest < lots.length) {
      const lot = lots[oldest] as Lot;
      const part = lot.left < rest ? lot.left : rest;
      lot.left -= part;
      rest -= part;
      if (part > 0n) parts.push({ lotId: lot.id, micros: part });
      if (lot.left === 0n) oldest += 1;
    }
    return parts;
  }

  /** What is frozen or taken back comes out of the lot it is about, and only then out of the others. */
  function take(lot: Lot | undefined, micros: bigint): void {
    const own = lot === undefined ? 0n : lot.left < micros ? lot.left : micros;
    if (lot) lot.left -= own;
    spend(micros - own);
  }

  return {
    apply: ({ id, kind, subject, change }: Row): { lotId: string; micros: bigint }[] => {
      const micros = BigInt(change);
      const lot = subject === null ? undefined : byId.get(subject);
      if (kind === 'settle') return spend(-micros);
      if ((kind === 'unfreeze' || kind === 'top_up_restored') && lot) {
        lot.left += micros;
        if (kind === 'unfreeze') lot.frozen -= micros;
        else lot.reversed -= micros;
        oldest = Math.min(oldest, lots.indexOf(lot));
      } else if (micros > 0n) {
        add(id, micros);
      } else if (micros < 0n) {
        take(lot, -micros);
        if (kind === 'freeze' && lot) lot.frozen -= micros;
        if (kind === 'top_up_reversal' && lot) lot.reversed -= micros;
      }
      return [];
    },
    isUsedUp: (id: string, mayReturn: boolean): boolean => {
      const lot = byId.get(id);
      if (!lot || lot.left > 0n || lot.frozen > 0n) return false;
      return !mayReturn || lot.reversed <= 0n;
    },
  };
}

async function listMovements(db: Db, accountId: bigint, afterSeq: bigint): Promise<Row[]> {
  const side = (column: 'debit' | 'credit') => sql`
    (SELECT seq, id, kind, subject, ${column === 'debit' ? sql`-amount` : sql`amount - fee`} AS change
    FROM ${ledgerJournal}
    WHERE ${sql.identifier(column)} = ${accountId} AND seq > ${afterSeq}
    ORDER BY seq LIMIT ${PAGE_ROWS})`;
  const { rows } = await db.execute<Row>(
    sql`${side('debit')} UNION ALL ${side('credit')} ORDER BY seq LIMIT ${PAGE_ROWS}`,
  );
  return rows;
}
