import { and, eq, gt, lt, sql } from 'drizzle-orm';
import { idOfUuid, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import type { Db } from '../db/db.ts';
import { removeInBatches } from '../db/remove-in-batches.ts';
import { idempotencyKeys, ledgerHolds, ledgerJournal } from './tables.ts';

/** The call an idempotency key stands for, and what became of its hold. */
export type KeyedCall = {
  callId: string;
  requestHash: string;
  /** `gone`: the hold ended in a refund at this very moment, and the key is being freed. */
  state: 'open' | 'settled' | 'gone';
};

/** Keys live 24 hours, counted by the database's clock. */
export async function findIdempotencyKey(
  db: Db,
  keyId: string,
  idempotencyKey: string,
): Promise<KeyedCall | undefined> {
  const [row] = await db
    .select({
      callId: idempotencyKeys.callId,
      requestHash: idempotencyKeys.requestHash,
      holdId: ledgerHolds.id,
      journalKind: ledgerJournal.kind,
    })
    .from(idempotencyKeys)
    .leftJoin(ledgerHolds, eq(ledgerHolds.id, idempotencyKeys.callId))
    .leftJoin(ledgerJournal, eq(ledgerJournal.id, idempotencyKeys.callId))
    .where(
      and(
        eq(idempotencyKeys.keyId, keyId),
        eq(idempotencyKeys.idempotencyKey, idempotencyKey),
        gt(idempotencyKeys.expiresAt, sql`now()`),
      ),
    );
  if (!row) return undefined;
  const state = row.holdId !== null ? 'open' : row.journalKind === 'settle' ? 'settled' : 'gone';
  return { callId: idOfUuid('call', row.callId), requestHash: row.requestHash, state };
}

/**
 * Lets one more key stand for a call that was paid under another key or none: its request was given that
 * call's answer, so a retry must get it too and not buy again. A key that already stands for a call keeps it.
 */
export async function nameCall(
  db: Db,
  name: { keyId: string; idempotencyKey: string; callId: string; requestHash: string },
): Promise<void> {
  const callId = uuidOfId('call', name.callId);
  invariant(callId !== undefined, `${name.callId} is not a call id`);
  await db
    .insert(idempotencyKeys)
    .values({ ...name, callId, expiresAt: sql`now() + interval '24 hours'` })
    .onConflictDoNothing();
}

export async function removeExpiredIdempotencyKeys(db: Db): Promise<void> {
  await removeInBatches(db, idempotencyKeys, lt(idempotencyKeys.expiresAt, sql`now()`));
}
