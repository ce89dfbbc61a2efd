import type { Currency } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import type { Db } from '../db/db.ts';
import type { KeyCaps, Scope } from '../identity/caller.ts';
import {
  DEFAULT_MAX_CONCURRENT,
  DEFAULT_RATE_PER_MINUTE,
  DEFAULT_SCOPES,
  insertKey,
} from '../identity/keys.ts';
import { findOrganization } from '../identity/organizations.ts';
import { openAccount } from '../ledger/accounts.ts';
import { openMeter } from '../ledger/meters.ts';
import { needsMeter } from './change-caps.ts';

export type KeyWish = {
  organizationId: string;
  name?: string;
  currency: Currency;
  scopes?: readonly Scope[];
  caps?: KeyCaps;
  ratePerMinute?: number;
  maxConcurrent?: number;
};

/**
 * Makes an API key together with what it spends from: the organization's balance, and a meter where it has
 * caps that need counting. The key is returned this once and stored only as its hash.
 */
export async function issueKey(db: Db, wish: KeyWish): Promise<{ id: string; key: string }> {
  const caps = wish.caps ?? {};
  return db.transaction(async (tx) => {
    if (!(await findOrganization(tx, wish.organizationId))) {
      throw new Problem('NOT_FOUND', `There is no organization ${wish.organizationId}.`);
    }
    const accountId = await openAccount(tx, wish.organizationId, wish.currency, 'balance');
    return insertKey(tx, {
      organizationId: wish.organizationId,
      name: wish.name ?? 'unnamed',
      currency: wish.currency,
      scopes: wish.scopes ?? DEFAULT_SCOPES,
      caps,
      ratePerMinute: wish.ratePerMinute ?? DEFAULT_RATE_PER_MINUTE,
      maxConcurrent: wish.maxConcurrent ?? DEFAULT_MAX_CONCURRENT,
      accountId,
      meterId: needsMeter(caps) ? await openMeter(tx, caps) : undefined,
    });
  });
}
