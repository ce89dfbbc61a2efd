import type { Currency } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import type { Db, Tx } from '../db/db.ts';
import type { KeyCaps } from '../identity/caller.ts';
import { findOwnKey, lockOwnKey, markCapped, type KeyRow } from '../identity/keys.ts';
import { lockAccounts } from '../ledger/accounts.ts';
import {
  countOpenHolds,
  giveBackEnded,
  sumSpentBefore,
  sumSpentNow,
  type EndingCalls,
  type SpentBefore,
} from '../ledger/meter-in-use.ts';
import { openMeter, setMeterCaps } from '../ledger/meters.ts';

/**
 * Puts these caps in place of the key's own. A key that had nothing to count gets a meter that begins with what
 * the key has spent so far and what its calls under way hold; once it has one it keeps it, so that lifting a cap forgets nothing.
 */
export async function changeKeyCaps(
  db: Db,
  change: { keyId: string; organizationId: string; currency: Currency; caps: KeyCaps; now: Date },
): Promise<KeyRow> {
  const { keyId, caps, now } = change;
  const known = await findOwnKey(db, keyId, change);
  if (!known) throw noSuchKey();
  // Before the transaction: it reads the key's whole history, and a lock meanwhile would hold up its calls.
  const spender = { accountId: known.accountId, keyId };
  const before =
    known.meterId === null && needsMeter(caps) ? await sumSpentBefore(db, spender, now) : undefined;
  const changed = await db.transaction(async (tx) => {
    const key = await lockOwnKey(tx, keyId, change);
    if (!key) throw noSuchKey();
    if (key.meterId !== null) await setMeterCaps(tx, key.meterId, caps);
    const opened =
      key.meterId === null && before ? await openMeterInUse(tx, spender, caps, before, now) : undefined;
    const meterId = key.meterId ?? opened?.meterId ?? null;
    const { maxPerCallMicros } = caps;
    await markCapped(tx, keyId, { maxPerCallMicros, meterId: meterId ?? undefined });
    return { key: { ...key, maxPerCallMicros: maxPerCallMicros ?? null, meterId }, opened };
  });
  if (changed.opened) await giveBackEnded(db, changed.opened);
  return changed.key;
}

/** The account is locked for as short as it can be: every call of the balance waits for it. */
async function openMeterInUse(
  tx: Tx,
  spender: { accountId: bigint; keyId: string },
  caps: KeyCaps,
  before: SpentBefore,
  now: Date,
): Promise<EndingCalls> {
  await lockAccounts(tx, [spender.accountId]);
  const spent = await sumSpentNow(tx, spender, now, before);
  return countOpenHolds(tx, spender, await openMeter(tx, caps, { spent, now }));
}

/** A cap on one call alone is checked without counting anything. */
export function needsMeter({ capDayMicros, capMonthMicros, capTotalMicros }: KeyCaps): boolean {
  return capDayMicros !== undefined || capMonthMicros !== undefined || capTotalMicros !== undefined;
}

function noSuchKey(): Problem {
  return new Problem('NOT_FOUND', 'There is no such key here.');
}
