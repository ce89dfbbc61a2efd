import { and, eq, gt, lt, sql } from 'drizzle-orm';
import { idOfUuid } from '../base/ids.ts';
import type { Db } from '../db/db.ts';
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

export async function removeExpiredIdempotencyKeys(db: Db): Promise<void> {
  await db.delete(idempotencyKeys).where(lt(idempotencyKeys.expiresAt, sql`now()`));
}
