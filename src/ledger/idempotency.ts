import { and, eq, gt, lt, lte, sql } from 'drizzle-orm';
import { idOfUuid, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import type { Db, Tx } from '../db/db.ts';
import { removeInBatches } from '../db/remove-in-batches.ts';
import { idempotencyKeys, ledgerHolds, ledgerJournal } from './tables.ts';

/** The call an idempotency key stands for, and what became of its hold. */
export type KeyedCall = {
  callId: string;
  requestHash: string;
  /** `gone`: the hold ended in a refund at this very moment, and the key is being freed. */
  state: 'open' | 'settled' | 'gone';
};

/** How long a key stands for its call, counted by the database's clock. */
export const IDEMPOTENCY_TTL_MS = 24 * 60 * 60_000;

/** The call a key stands for today. */
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
 * call's answer, so a retry must get it too and not buy again. A key that already stands for a call keeps it; one
 * that has expired and is not removed yet stands for nothing.
 */
export async function nameCall(
  tx: Tx,
  name: { keyId: string; idempotencyKey: string; callId: string; requestHash: string },
): Promise<void> {
  const callId = uuidOfId('call', name.callId);
  invariant(callId !== undefined, `${name.callId} is not a call id`);
  const values = {
    ...name,
    callId,
    expiresAt: sql`now() + ${IDEMPOTENCY_TTL_MS} * interval '1 millisecond'`,
  };
  await tx
    .insert(idempotencyKeys)
    .values(values)
    .onConflictDoUpdate({
      target: [idempotencyKeys.keyId, idempotencyKeys.idempotencyKey],
      set: { callId, requestHash: name.requestHash, expiresAt: values.expiresAt },
      setWhere: lte(idempotencyKeys.expiresAt, sql`now()`),
    });
}

export async function removeExpiredIdempotencyKeys(db: Db): Promise<void> {
  await removeInBatches(db, idempotencyKeys, lt(idempotencyKeys.expiresAt, sql`now()`));
}
