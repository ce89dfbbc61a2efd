import type { Stripe } from 'stripe';
import type { Tx } from '../db/db.ts';
import type { BillingDeps } from './deps.ts';
import { refreshPayoutAccount } from './payout-accounts.ts';
import { recordAccount } from './record-account.ts';
import { applyTransfer } from './send-payout.ts';
import { BANK_PAYOUT, stateOf } from './stripe-states.ts';
import { stripeEvents } from './tables.ts';

/** What Stripe tells of transfers and of the accounts they go to; undefined for an event about anything else. */
export async function recordPayoutEvent(
  deps: BillingDeps,
  event: Stripe.Event,
): Promise<'recorded' | 'repeated' | 'ignored' | undefined> {
  if (
    event.type === 'transfer.created' ||
    event.type === 'transfer.updated' ||
    event.type === 'transfer.reversed'
  ) {
    return onTransfer(deps, event, event.data.object);
  }
  if (event.type === 'account.updated') return recordAccountEvent(deps, event, event.data.object.id);
  if (event.type === 'payout.failed' || event.type === 'payout.updated') {
    return onBankPayout(deps, event, event.data.object.status);
  }
  if (event.type === 'account.application.deauthorized') return onDeauthorized(deps, event, event.account);
  return undefined;
}

async function onTransfer(deps: BillingDeps, event: Stripe.Event, transfer: Stripe.Transfer) {
  return deps.db.transaction(async (tx) => {
    if (!(await remember(tx, event))) return 'repeated';
    return (await applyTransfer(tx, deps, transfer)) ? 'recorded' : 'ignored';
  });
}

/** Stripe is asked before the event is remembered: when that fails, the event comes again. */
export async function recordAccountEvent(
  deps: BillingDeps,
  event: { id: string; type: string },
  stripeAccountId: string,
): Promise<'recorded' | 'repeated' | 'ignored'> {
  const isOurs = await refreshPayoutAccount(deps, stripeAccountId);
  const isNew = await deps.db.transaction((tx) => remember(tx, event));
  if (!isNew) return 'repeated';
  return isOurs ? 'recorded' : 'ignored';
}

/** Of the operator's own account it says nothing to us. */
async function onBankPayout(deps: BillingDeps, event: Stripe.Event, status: string) {
  const { stored } = stateOf(BANK_PAYOUT, status, 'nothing');
  if (event.account === undefined || stored === 'nothing') return 'ignored';
  return recordAccountEvent(deps, event, event.account);
}

/**
 * The one event about an account that is believed as it is: an account that was disconnected never comes back under
 * its id, and Stripe may go on showing it for a moment.
 */
async function onDeauthorized(deps: BillingDeps, event: Stripe.Event, stripeAccountId: string | undefined) {
  return deps.db.transaction(async (tx) => {
    if (!(await remember(tx, event))) return 'repeated';
    if (stripeAccountId === undefined) return 'ignored';
    const gone = { kind: 'gone', reason: 'account.deauthorized' } as const;
    return (await recordAccount(tx, stripeAccountId, gone, undefined)) ? 'recorded' : 'ignored';
  });
}

/** False when it was dealt with before. */
async function remember(tx: Tx, event: { id: string; type: string }): Promise<boolean> {
  const [isNew] = await tx
    .insert(stripeEvents)
    .values({ id: event.id, type: event.type })
    .onConflictDoNothing()
    .returning({ id: stripeEvents.id });
  return isNew !== undefined;
}
