import type { Db } from '../db/db.ts';
import { getOpeningBalance, isMonthFinal, monthAfter } from '../ledger/month-ends.ts';
import { readTransactions, type Transaction, type TransactionKind } from '../ledger/transactions.ts';

/** A movement, and what the account had after it. */
export type StatementLine = Transaction & { balanceMicros: bigint };

export type KindTotal = { kind: TransactionKind; count: bigint; changeMicros: bigint };

/** A statement as it is read: the opening first, lines as often as there are more, the closing last. */
export type StatementPart =
  | { kind: 'opening'; balanceMicros: bigint; from: Date; to: Date }
  | { kind: 'lines'; lines: StatementLine[] }
  | {
      kind: 'closing';
      balanceMicros: bigint;
      totals: KindTotal[];
      /** False while the month may still get movements. */
      isFinal: boolean;
    };

/**
 * Everything that happened to one balance in one UTC month. The opening is added up from the journal and every
 * line is a row of it, so opening and totals make the closing by construction. Never more than a page of it is in
 * memory, however long it is: nothing is read before somebody asks for the next part, and nothing after they stop.
 */
export async function* readStatement(
  db: Db,
  { accountId, month, now }: { accountId: bigint; month: Date; now: Date },
): AsyncGenerator<StatementPart> {
  const to = monthAfter(month);
  let balanceMicros = await getOpeningBalance(db, accountId, month, now);
  yield { kind: 'opening', balanceMicros, from: month, to };

  const totals = new Map<TransactionKind, KindTotal>();
  for await (const page of readTransactions(db, { accountId, from: month, to })) {
    const lines = page.map((row) => {
      balanceMicros += row.changeMicros;
      const total = totals.get(row.kind) ?? { kind: row.kind, count: 0n, changeMicros: 0n };
      total.count += 1n;
      total.changeMicros += row.changeMicros;
      totals.set(row.kind, total);
      return { ...row, balanceMicros };
    });
    yield { kind: 'lines', lines };
  }
  yield {
    kind: 'closing',
    balanceMicros,
    totals: [...totals.values()].sort((a, b) => (a.kind < b.kind ? -1 : 1)),
    isFinal: isMonthFinal(month, now),
  };
}
