import { and, desc, eq, lt } from 'drizzle-orm';
import type { Db, Tx } from '../db/db.ts';
import { ledgerMonthEnds } from './tables.ts';
import { sumTransactions } from './transactions.ts';

// A month that ended this long ago gets no more rows: no transaction lasts as long, and no clock is as wrong.
const FINAL_AFTER_MS = 24 * 60 * 60 * 1_000;

/** The UTC month after the one that begins at `month`. */
export function monthAfter(month: Date): Date {
  return new Date(Date.UTC(month.getUTCFullYear(), month.getUTCMonth() + 1));
}

/** Nothing more will happen in the month that begins then. */
export function isMonthFinal(month: Date, now: Date): boolean {
  return now.getTime() >= monthAfter(month).getTime() + FINAL_AFTER_MS;
}

/**
 * What the account had when this UTC month began. Adds up what happened since the last month whose end is known,
 * and keeps the result, so that a long history is read once and not for every statement.
 */
export async function getOpeningBalance(db: Db, accountId: bigint, month: Date, now: Date): Promise<bigint> {
  const [known] = await db
    .select()
    .from(ledgerMonthEnds)
    .where(and(eq(ledgerMonthEnds.accountId, accountId), lt(ledgerMonthEnds.month, dateOf(month))))
    .orderBy(desc(ledgerMonthEnds.month))
    .limit(1);
  const from = known && monthAfter(new Date(known.month));
  const since = await sumTransactions(db, { accountId, from, to: month });
  const openingMicros = (known?.posted ?? 0n) + since;
  const before = new Date(Date.UTC(month.getUTCFullYear(), month.getUTCMonth() - 1));
  if (isMonthFinal(before, now) && known?.month !== dateOf(before)) {
    await db.transaction((tx) => insertMonthEnd(tx, accountId, before, openingMicros));
  }
  return openingMicros;
}

async function insertMonthEnd(tx: Tx, accountId: bigint, month: Date, posted: bigint): Promise<void> {
  await tx
    .insert(ledgerMonthEnds)
    .values({ accountId, month: dateOf(month), posted })
    .onConflictDoNothing();
}

function dateOf(month: Date): string {
  return month.toISOString().slice(0, 10);
}
