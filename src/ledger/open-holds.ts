import { and, desc, eq, lt } from 'drizzle-orm';
import { idOfUuid, uuidOfId } from '../base/ids.ts';
import type { Db } from '../db/db.ts';
import { ledgerHolds } from './tables.ts';

/** Credits of one balance that are set aside for a call under way. */
export type OpenHold = {
  callId: string;
  agentId: string;
  keyId: string;
  amountMicros: bigint;
  since: Date;
  expiresAt: Date;
};

/** Newest first; `before` is the last call of the page before. */
export async function listOpenHolds(
  db: Db,
  page: { accountId: bigint; before: string | undefined; limit: number },
): Promise<OpenHold[]> {
  const before = page.before === undefined ? undefined : uuidOfId('call', page.before);
  const rows = await db
    .select()
    .from(ledgerHolds)
    .where(
      and(
        eq(ledgerHolds.buyer, page.accountId),
        before === undefined ? undefined : lt(ledgerHolds.id, before),
      ),
    )
    .orderBy(desc(ledgerHolds.id))
    .limit(page.limit);
  return rows.map((row) => ({
    callId: idOfUuid('call', row.id),
    agentId: row.agentId,
    keyId: row.keyId,
    amountMicros: row.amount,
    since: row.createdAt,
    expiresAt: row.expiresAt,
  }));
}
