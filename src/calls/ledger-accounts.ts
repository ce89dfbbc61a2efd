import type { Currency } from '../base/money.ts';
import type { Db } from '../db/db.ts';
import { findAccount, openAccount } from '../ledger/accounts.ts';

/** The ids of the accounts a settled call pays. They never change, so each is looked up once a process. */
export type LedgerAccounts = {
  earnings(sellerId: string, currency: Currency): Promise<bigint>;
  fees(currency: Currency): Promise<bigint>;
};

export function createLedgerAccounts(db: Db): LedgerAccounts {
  const known = new Map<string, Promise<bigint>>();

  function account(
    organizationId: string | null,
    currency: Currency,
    kind: 'earnings' | 'fees',
  ): Promise<bigint> {
    const name = `${organizationId ?? ''} ${currency} ${kind}`;
    const cached = known.get(name);
    if (cached) return cached;
    const id = findOrOpen(db, organizationId, currency, kind);
    known.set(name, id);
    // A failed look-up is not remembered.
    id.catch(() => known.delete(name));
    return id;
  }

  return {
    earnings: (sellerId, currency) => account(sellerId, currency, 'earnings'),
    fees: (currency) => account(null, currency, 'fees'),
  };
}

async function findOrOpen(
  db: Db,
  organizationId: string | null,
  currency: Currency,
  kind: 'earnings' | 'fees',
): Promise<bigint> {
  const id = await findAccount(db, organizationId, currency, kind);
  return id ?? db.transaction((tx) => openAccount(tx, organizationId, currency, kind));
}
