import { and, eq, inArray, sql } from 'drizzle-orm';
import { MICROS_PER_CREDIT, type Currency } from '../base/money.ts';
import type { Db } from '../db/db.ts';
import { ledgerAccounts } from '../ledger/tables.ts';
import { topUps } from './tables.ts';

/** What an organization has in one currency, each part counted once. */
export type OwnBalance = {
  availableMicros: bigint;
  /** Set aside for calls under way. */
  heldMicros: bigint;
  /** On its way: top-ups that are not paid yet. */
  pendingMicros: bigint;
  /** Kept back while a card payment is contested. */
  frozenMicros: bigint;
};

/** What an organization has, in each currency by itself: the two are never added up. */
export async function listBalances(db: Db, organizationId: string): Promise<Record<Currency, OwnBalance>> {
  const accounts = await db
    .select()
    .from(ledgerAccounts)
    .where(
      and(
        eq(ledgerAccounts.organizationId, organizationId),
        inArray(ledgerAccounts.kind, ['balance', 'frozen']),
      ),
    );
  const pending = await db
    .select({ currency: topUps.currency, cents: sql<string>`sum(${topUps.amountCents})` })
    .from(topUps)
    .where(and(eq(topUps.organizationId, organizationId), eq(topUps.status, 'open')))
    .groupBy(topUps.currency);

  function balanceIn(currency: Currency): OwnBalance {
    const account = (kind: 'balance' | 'frozen') =>
      accounts.find((each) => each.currency === currency && each.kind === kind);
    const { posted, held } = account('balance') ?? { posted: 0n, held: 0n };
    // A credit is a cent.
    const cents = pending.find((each) => each.currency === currency)?.cents ?? '0';
    return {
      availableMicros: posted - held,
      heldMicros: held,
      pendingMicros: BigInt(cents) * MICROS_PER_CREDIT,
      frozenMicros: account('frozen')?.posted ?? 0n,
    };
  }

  return { live: balanceIn('live'), test: balanceIn('test') };
}
