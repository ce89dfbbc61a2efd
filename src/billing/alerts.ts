import { and, eq, sql } from 'drizzle-orm';
import type { Currency } from '../base/money.ts';
import type { Db, Tx } from '../db/db.ts';
import { balanceAlerts } from './tables.ts';

type Owner = { organizationId: string; currency: Currency };

export type BalanceAlert = typeof balanceAlerts.$inferSelect;

/** Below what balance this organization wants to hear of it. */
export async function findBalanceAlert(db: Db, owner: Owner): Promise<BalanceAlert | undefined> {
  const [row] = await db.select().from(balanceAlerts).where(ownedBy(owner));
  return row;
}

/** With another threshold the organization is told anew; without one, never. */
export async function setBalanceAlert(
  tx: Tx,
  { organizationId, currency }: Owner,
  thresholdMicros: bigint | undefined,
): Promise<void> {
  if (thresholdMicros === undefined) {
    await tx.delete(balanceAlerts).where(ownedBy({ organizationId, currency }));
    return;
  }
  const toldAt = sql`CASE WHEN ${balanceAlerts.thresholdMicros} = excluded.threshold_micros THEN ${balanceAlerts.toldAt} END`;
  await tx
    .insert(balanceAlerts)
    .values({ organizationId, currency, thresholdMicros })
    .onConflictDoUpdate({
      target: [balanceAlerts.organizationId, balanceAlerts.currency],
      set: { thresholdMicros, toldAt },
    });
}

function ownedBy({ organizationId, currency }: Owner) {
  return and(eq(balanceAlerts.organizationId, organizationId), eq(balanceAlerts.currency, currency));
}
