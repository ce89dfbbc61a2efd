import { eq } from 'drizzle-orm';
import { insertEvent } from '../audit/events.ts';
import { formatUsd } from '../base/money.ts';
import type { Tx } from '../db/db.ts';
import { warningStateOf } from './card-payments.ts';
import type { WarningFact } from './stripe-facts.ts';
import { earlyFraudWarnings } from './card-tables.ts';
import { lotMicros, topUpId, type TopUp } from './top-ups.ts';

/**
 * Adds what Stripe told of the early fraud warnings of one payment, each under its own id, and tells its buyer what
 * is new. The top-up is locked. Says how many were not known. A warning moves no credits: no money was taken yet.
 */
export async function addWarnings(tx: Tx, topUp: TopUp, told: readonly WarningFact[]): Promise<number> {
  if (told.length === 0) return 0;
  const rows = await tx.select().from(earlyFraudWarnings).where(eq(earlyFraudWarnings.topUpId, topUp.id));
  const known = new Map(rows.map((row) => [row.warningId, row]));
  for (const { id, ...fact } of told) {
    const before = known.get(id);
    // What nothing can be done about any more stays so: an event that says otherwise is older.
    const isActionable = fact.isActionable && before?.isActionable !== false;
    const row = { ...fact, warningId: id, topUpId: topUp.id, isActionable };
    await tx
      .insert(earlyFraudWarnings)
      .values(row)
      .onConflictDoUpdate({
        target: earlyFraudWarnings.warningId,
        set: { isActionable, fraudType: fact.fraudType },
      });
    known.set(id, row);
    if (before?.isActionable !== isActionable) await tell(tx, topUp, row);
  }
  return known.size - rows.length;
}

async function tell(tx: Tx, topUp: TopUp, row: typeof earlyFraudWarnings.$inferSelect): Promise<void> {
  const { shown, next } = warningStateOf(row);
  await insertEvent(tx, {
    organizationId: topUp.organizationId,
    currency: topUp.currency,
    type: 'card_fraud.warned',
    data: {
      load_id: topUpId(topUp),
      amount_usd: formatUsd(lotMicros(topUp)),
      warning_id: row.warningId,
      fraud_type: row.fraudType,
      actionable: row.isActionable,
      meaning: shown,
      next_step: next,
    },
  });
}
