import { newId, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import type { JsonObject } from '../base/json.ts';
import type { Currency } from '../base/money.ts';
import type { Tx } from '../db/db.ts';
import { events } from './tables.ts';

/** What an organization can be told of. The first two are told from the journal, not from the event table. */
export const EVENT_TYPES = [
  'call.settled',
  'call.refunded',
  'credits.loaded',
  'card_refund.failed',
  'card_fraud.warned',
  'balance.low',
  'budget.threshold',
  'dispute.opened',
  'dispute.resolved',
  'payout.paid',
  'payout.failed',
  'payout_account.changed',
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

/**
 * Writes an event in the transaction that made it true: it is told exactly when that commits. What is told
 * always says its currency, so that nobody takes test credits for live ones.
 */
export async function insertEvent(
  tx: Tx,
  event: {
    organizationId: string;
    currency: Currency;
    type: Exclude<EventType, 'call.settled' | 'call.refunded'>;
    /** Public: amounts are decimal credit strings, ids carry their prefix. */
    data: JsonObject;
  },
): Promise<void> {
  const id = uuidOfId('evt', newId('evt'));
  invariant(id !== undefined, 'a new id is one of its kind');
  const { currency } = event;
  await tx.insert(events).values({ id, ...event, data: { ...event.data, currency } });
}
