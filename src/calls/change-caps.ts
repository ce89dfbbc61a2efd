import type { Currency } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import type { Db } from '../db/db.ts';
import type { KeyCaps } from '../identity/caller.ts';
import { findOwnKey, lockOwnKey, markCapped, type KeyRow } from '../identity/keys.ts';
import { openMeter, setMeterCaps, sumSpent } from '../ledger/meters.ts';

/**
 * Puts these caps in place of the key's own. A key that had nothing to count gets a meter that begins with what
 * the key has spent so far; once it has one it keeps it, so that lifting a cap forgets nothing.
 */
export async function changeKeyCaps(
  db: Db,
  change: { keyId: string; organizationId: string; currency: Currency; caps: KeyCaps; now: Date },
): Promise<KeyRow> {
  const { keyId, caps, now } = change;
  const known = await findOwnKey(db, keyId, change);
  if (!known) throw noSuchKey();
  // Before the transaction: it reads the key's whole history, and a lock meanwhile would hold up its calls.
  const spent =
    known.meterId === null && needsMeter(caps)
      ? await sumSpent(db, { accountId: known.accountId, keyId }, now)
      : undefined;
  return db.transaction(async (tx) => {
    const key = await lockOwnKey(tx, keyId, change);
    if (!key) throw noSuchKey();
    if (key.meterId !== null) await setMeterCaps(tx, key.meterId, caps);
    const meterId = key.meterId ?? (spent && (await openMeter(tx, caps, { spent, now })));
    await markCapped(tx, keyId, { maxPerCallMicros: caps.maxPerCallMicros, meterId });
    return { ...key, maxPerCallMicros: caps.maxPerCallMicros ?? null, meterId: meterId ?? null };
  });
}

/** A cap on one call alone is checked without counting anything. */
export function needsMeter({ capDayMicros, capMonthMicros, capTotalMicros }: KeyCaps): boolean {
  return capDayMicros !== undefined || capMonthMicros !== undefined || capTotalMicros !== undefined;
}

function noSuchKey(): Problem {
  return new Problem('NOT_FOUND', 'There is no such key here.');
}
