import { and, eq, gt } from 'drizzle-orm';
import { insertEvent } from '../audit/events.ts';
import { invariant } from '../base/invariant.ts';
import { formatCredits, formatUsd } from '../base/money.ts';
import { readDatabaseClock } from '../db/database-clock.ts';
import type { Tx } from '../db/db.ts';
import {
  findAccount,
  getBalance,
  lockAccounts,
  noteCredits,
  openAccount,
  transfer,
} from '../ledger/accounts.ts';
import { markAutoTopUpOff } from './auto-top-up-rules.ts';
import { addDisputes } from './card-disputes.ts';
import { addRefunds, findRefundOfAnother, tellFailedRefunds } from './card-refunds.ts';
import type { BillingDeps } from './deps.ts';
import { addWarnings } from './fraud-warnings.ts';
import { settleLots, type Accounts } from './settle-lots.ts';
import { isOf } from './stripe-customers.ts';
import { INTENT_PREFIX, type PaymentFacts } from './stripe-facts.ts';
import { paymentStateOf } from './card-payments.ts';
import { stripeCustomers, topUps } from './tables.ts';
import { lotMicros, topUpId, type TopUp } from './top-ups.ts';

type RecordDeps = Pick<BillingDeps, 'log'>;

/**
 * Adds what Stripe told to what is known of a top-up, and brings the ledger up to date with it. The only way
 * anything about a payment becomes true here: the webhook, the answer to a charge and reconciliation all come
 * this way, so it does not matter which of them comes first, or how often.
 */
export async function recordPayment(
  deps: RecordDeps,
  tx: Tx,
  known: Pick<TopUp, 'id' | 'organizationId' | 'currency' | 'accountId'>,
  facts: PaymentFacts,
): Promise<TopUp> {
  const accounts = await lockBooks(
    tx,
    known,
    (facts.disputes ?? []).some(({ state }) => state !== 'inquiry'),
  );
  const [topUp] = await tx.select().from(topUps).where(eq(topUps.id, known.id)).for('update');
  invariant(topUp, 'a top-up is never deleted');

  const contradiction = await contradictionOf(tx, topUp, facts);
  if (contradiction !== undefined) {
    // Nothing is granted on it: whoever reconciles finds the payment at Stripe and no top-up that it pays for.
    deps.log('error', 'a payment contradicts its top-up', { top_up: topUpId(topUp), reason: contradiction });
    return topUp;
  }

  const newWarnings = await addWarnings(tx, topUp, facts.warnings ?? []);
  const { newDisputes, sums } = await addDisputes(tx, topUp, facts.disputes ?? []);
  const refunds = await addRefunds(tx, topUp, facts);
  const next = { ...addUp(topUp, facts, await readDatabaseClock(tx)), ...sums, ...refunds.sums };
  await tx.update(topUps).set(next).where(eq(topUps.id, topUp.id));
  if (next.status === 'failed' && topUp.status !== 'failed' && topUp.isAutomatic) {
    await markAutoTopUpOff(tx, topUp, next.failure ?? 'The card could not be charged.');
  }
  // A card whose owner wants money back is not charged without being asked.
  if (newDisputes > 0) await markAutoTopUpOff(tx, topUp, 'A card payment was disputed.');
  else if (next.refundedCents > topUp.refundedCents) {
    await markAutoTopUpOff(tx, topUp, 'A card payment was refunded.');
  } else if (newWarnings > 0) {
    await markAutoTopUpOff(tx, topUp, "A card payment was reported as fraud by the card's bank.");
  }
  if (topUp.savesCard && topUp.chargeId === null && facts.charge?.card) {
    await keepCard(tx, topUp, facts.charge.card);
  }
  await bringUpToDate(tx, { ...topUp, ...next }, accounts);
  const [current] = await tx.select().from(topUps).where(eq(topUps.id, topUp.id));
  invariant(current, 'a top-up is never deleted');
  if (refunds.newlyFailed.length > 0) {
    // The operator has the money again and may have told the buyer that it is on its way.
    deps.log('warn', 'a refund to a card failed', { top_up: topUpId(topUp) });
    const { availableMicros } = await getBalance(tx, accounts.balance);
    const returned = topUp.reversedMicros - current.reversedMicros;
    const returnedMicros = returned > 0n ? returned : 0n;
    await tellFailedRefunds(tx, current, refunds.newlyFailed, { returnedMicros, availableMicros });
  }
  return current;
}

/** The accounts first and the top-ups second, everywhere: two payments of one balance wait for each other. */
export async function lockBooks(
  tx: Tx,
  owner: Pick<TopUp, 'organizationId' | 'currency' | 'accountId'>,
  isContested: boolean,
): Promise<Accounts> {
  const { organizationId, currency, accountId: balance } = owner;
  const find = (): Promise<bigint | undefined> => findAccount(tx, organizationId, currency, 'frozen');
  const funding =
    (await findAccount(tx, null, currency, 'funding')) ?? (await openAccount(tx, null, currency, 'funding'));
  const known = await find();
  const opened =
    known === undefined && isContested ? await openAccount(tx, organizationId, currency, 'frozen') : known;
  await lockAccounts(tx, [funding, balance, ...(opened === undefined ? [] : [opened])]);
  if (opened !== undefined) return { funding, balance, frozen: opened };
  // Whoever had the locks before us may have opened it; a new account comes last in the order of locking.
  const frozen = await find();
  if (frozen !== undefined) await lockAccounts(tx, [frozen]);
  return { funding, balance, frozen };
}

/** Why these facts cannot be about this top-up; undefined when they can. */
async function contradictionOf(
  tx: Tx,
  topUp: TopUp,
  { paid, paymentIntentId, refunds = [] }: PaymentFacts,
): Promise<string | undefined> {
  if (paid && (paid.cents !== topUp.amountCents || paid.currency !== 'usd')) {
    return `paid ${paid.cents} ${paid.currency} instead of ${topUp.amountCents} usd`;
  }
  if (
    paymentIntentId !== undefined &&
    topUp.paymentIntentId !== null &&
    paymentIntentId !== topUp.paymentIntentId
  ) {
    return `paid by ${topUp.paymentIntentId} and again by ${paymentIntentId}`;
  }
  for (const { id, cents, currency } of refunds) {
    if (cents <= 0n || cents > topUp.amountCents || currency !== 'usd') {
      return `${id} refunds ${cents} ${currency} of ${topUp.amountCents} usd`;
    }
  }
  const known = await findRefundOfAnother(tx, topUp, refunds);
  return known === undefined ? undefined : `${known} refunds another payment`;
}

// A later word never outranks a higher one: money that came is money that came, also after the page expired.
const STATUS_RANK = { open: 0, abandoned: 1, failed: 2, paid: 3 } as const;

/** What is known of the top-up with these facts added. */
function addUp(topUp: TopUp, facts: PaymentFacts, now: Date) {
  const declined = facts.declined !== undefined && topUp.isAutomatic ? ('failed' as const) : undefined;
  const told = facts.paid ? ('paid' as const) : (facts.ended ?? declined ?? 'open');
  const status = STATUS_RANK[told] > STATUS_RANK[topUp.status] ? told : topUp.status;
  const isPaid = status === 'paid';
  return {
    status,
    failure: isPaid ? null : (facts.declined ?? topUp.failure),
    sessionId: topUp.sessionId ?? facts.sessionId ?? null,
    paymentIntentId: topUp.paymentIntentId ?? facts.paymentIntentId ?? null,
    chargeId: topUp.chargeId ?? facts.charge?.id ?? null,
    paymentState: furtherState(topUp.paymentState, facts.paymentState ?? null),
    receiptUrl: topUp.receiptUrl ?? facts.charge?.receiptUrl ?? null,
    invoiceId: topUp.invoiceId ?? facts.invoice?.id ?? null,
    invoiceUrl: topUp.invoiceUrl ?? facts.invoice?.url ?? null,
    paidAt: topUp.paidAt ?? (isPaid ? now : null),
  };
}

/**
 * Of two states of a payment the one that is nearer its end. Of two that leave it open the payment's own says more
 * than its page's, and what was heard last is right within 15 minutes, when Stripe is asked.
 */
function furtherState(known: string | null, told: string | null): string | null {
  return told !== null && (known === null || rankOf(told) >= rankOf(known)) ? told : known;
}

const END_RANK = { open: 0, abandoned: 2, paid: 4 } as const;

function rankOf(paymentState: string): number {
  const isIntent = paymentState.startsWith(INTENT_PREFIX);
  return END_RANK[paymentStateOf(paymentState).stored] + (isIntent ? 1 : 0);
}

/** Loads the credits of a paid top-up, once, and settles what its balance owes. */
async function bringUpToDate(tx: Tx, topUp: TopUp, accounts: Accounts): Promise<void> {
  if (topUp.status !== 'paid') return;
  const amountMicros = lotMicros(topUp);
  const isNew = await transfer(tx, {
    uuid: topUp.id,
    kind: 'top_up',
    debit: accounts.funding,
    credit: accounts.balance,
    amountMicros,
    subject: topUp.id,
  });
  await settleLots(tx, topUp, accounts);
  if (!isNew) return;
  await noteCredits(tx, accounts.balance);
  const { availableMicros } = await getBalance(tx, accounts.balance);
  await insertEvent(tx, {
    organizationId: topUp.organizationId,
    currency: topUp.currency,
    type: 'credits.loaded',
    data: {
      load_id: topUpId(topUp),
      credits: formatCredits(amountMicros),
      amount_usd: formatUsd(amountMicros),
      is_automatic: topUp.isAutomatic,
      balance: formatCredits(availableMicros),
    },
  });
}

/** Unless a later payment saved another one. */
async function keepCard(
  tx: Tx,
  topUp: TopUp,
  card: { paymentMethodId: string; brand: string | undefined; lastFour: string | undefined },
): Promise<void> {
  const ofOwner = and(
    eq(topUps.organizationId, topUp.organizationId),
    eq(topUps.currency, topUp.currency),
    eq(topUps.savesCard, true),
    eq(topUps.status, 'paid'),
    gt(topUps.id, topUp.id),
  );
  const [later] = await tx.select({ id: topUps.id }).from(topUps).where(ofOwner).limit(1);
  if (later) return;
  await tx
    .update(stripeCustomers)
    .set({
      paymentMethodId: card.paymentMethodId,
      cardBrand: card.brand ?? null,
      cardLastFour: card.lastFour ?? null,
    })
    .where(isOf(topUp));
}
