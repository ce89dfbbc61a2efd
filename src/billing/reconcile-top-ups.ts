import type { Stripe } from 'stripe';
import { and, asc, eq, gt, inArray, isNull, or, sql } from 'drizzle-orm';
import { askStripe, closePayment } from './ask-stripe.ts';
import { getAutoTopUp } from './auto-top-up-rules.ts';
import { databaseNowPlus, readDatabaseClock } from '../db/database-clock.ts';
import type { Db } from '../db/db.ts';
import type { BillingDeps } from './deps.ts';
import { lockBooks, recordPayment } from './record-payment.ts';
import { chargeCard } from './run-auto-top-ups.ts';
import { settleLots } from './settle-lots.ts';
import { findPayment } from './stripe-events.ts';
import {
  disputeOf,
  refundOf,
  warningOf,
  type DisputeFact,
  type PaymentFacts,
  type RefundFact,
  type WarningFact,
} from './stripe-facts.ts';
import { stripeMoves, type StripeAccess } from './stripe.ts';
import { idOf, isRefusal } from './stripe-words.ts';
import { cardDisputes, cardRefunds, earlyFraudWarnings } from './card-tables.ts';
import { topUps } from './tables.ts';
import { findTopUp, findTopUpOfPayment, topUpId, type TopUp } from './top-ups.ts';

/** What nobody paid for so long is not waited for. */
const ABANDONED_AFTER_MS = 24 * 3_600_000;
/** Stripe forgets an idempotency key after a day; before that, asking again cannot charge again. */
const REPEATABLE_MS = 23 * 3_600_000;
/** How long back money that went back to cards is looked for; Stripe repeats its events for three days. */
const LOOK_BACK_SECONDS = 7 * 24 * 3_600;
/** A bank may return a refund for some thirty days; after that `compareTopUps` names it. */
const REFUND_LOOK_BACK_SECONDS = 45 * 24 * 3_600;
const PAGE_ROWS = 100;

export type Reconciled = { checked: number; paid: number; abandoned: number; failed: number };

/**
 * Asks Stripe about everything that may have happened without our hearing of it, and brings it up to date the
 * same way an event does. One payment that cannot be asked about does not keep the others waiting.
 */
export async function reconcileTopUps(deps: BillingDeps): Promise<Reconciled> {
  const done: Reconciled = { checked: 0, paid: 0, abandoned: 0, failed: 0 };
  const { stripe } = deps;
  if (!stripe) return done;

  for await (const topUp of listUncertain(deps)) {
    if (!stripeMoves(stripe, topUp.currency)) continue;
    await attempt(deps, done, topUp, () => catchUp(deps, stripe, topUp));
  }
  for (const told of await listTakenBack(deps, stripe)) {
    const known = await findTopUpOfPayment(deps.db, told.paymentIntentId);
    // What is none of ours was asked about while it was recent.
    if (known ? await isKnown(deps.db, known, told) : !told.isRecent) continue;
    const { isRecent: _, ...facts } = told;
    const payment = await findPayment(deps, stripe, facts);
    if (!payment || !stripeMoves(stripe, payment.topUp.currency)) continue;
    await attempt(deps, done, payment.topUp, () => record(deps, payment.topUp, payment.facts));
  }
  await settleDebts(deps);
  return done;
}

async function attempt(
  deps: BillingDeps,
  done: Reconciled,
  before: TopUp,
  work: () => Promise<TopUp>,
): Promise<void> {
  done.checked += 1;
  try {
    const after = await work();
    if (after.status === before.status || after.status === 'open') return;
    done[after.status] += 1;
    deps.log('info', 'a payment was found by reconciliation', {
      top_up: topUpId(after),
      status: after.status,
    });
  } catch (error) {
    deps.log('error', 'a payment could not be reconciled', { top_up: topUpId(before), error: String(error) });
  }
}

/** Open ones, and paid ones of which something is still to be said. */
async function* listUncertain(deps: BillingDeps): AsyncGenerator<TopUp> {
  // Some ways to pay have no receipt; those are not asked about for ever.
  const lately = databaseNowPlus(-LOOK_BACK_SECONDS * 1_000);
  const { topUpId: refunded, cents, state } = cardRefunds;
  const pending = deps.db.select({ id: refunded }).from(cardRefunds).where(eq(state, 'pending'));
  const named = sql`(select coalesce(sum(${cents}), 0) from ${cardRefunds} where ${refunded} = ${topUps.id})`;
  let after = '00000000000000000000000000000000';
  for (;;) {
    const rows = await deps.db
      .select()
      .from(topUps)
      .where(
        and(
          gt(topUps.id, after),
          or(
            eq(topUps.status, 'open'),
            eq(topUps.cardDispute, 'open'),
            inArray(topUps.id, pending),
            // Refunds of which only their total was told.
            and(gt(topUps.refundedCents, 0n), gt(topUps.refundedCents, named)),
            and(
              eq(topUps.status, 'paid'),
              gt(topUps.createdAt, lately),
              or(isNull(topUps.receiptUrl), and(eq(topUps.isAutomatic, false), isNull(topUps.invoiceUrl))),
            ),
          ),
        ),
      )
      .orderBy(asc(topUps.id))
      .limit(PAGE_ROWS);
    yield* rows;
    if (rows.length < PAGE_ROWS) return;
    after = rows.at(-1)?.id ?? after;
  }
}

async function catchUp(deps: BillingDeps, stripe: StripeAccess, topUp: TopUp): Promise<TopUp> {
  const facts = await askStripe(deps, stripe, topUp);
  const ageMs = (await readDatabaseClock(deps.db)).getTime() - topUp.createdAt.getTime();
  if (!facts && topUp.isAutomatic && topUp.status === 'open') {
    // It was written down, and the charge was never asked for, or not made.
    const { rule } = await getAutoTopUp(deps.db, topUp);
    if (rule?.isEnabled !== true || ageMs >= REPEATABLE_MS)
      return record(deps, topUp, { ended: 'abandoned' });
    await chargeCard(deps, stripe, topUp);
    return (await findTopUp(deps.db, topUpId(topUp))) ?? topUp;
  }
  const known = facts ? await record(deps, topUp, facts) : topUp;
  // A payment that contradicts its top-up stays as it is, for a person to look at.
  if (known.status !== 'open' || facts?.paid || ageMs < ABANDONED_AFTER_MS) return known;
  if (facts && !(await closePayment(stripe, facts))) return known;
  return record(deps, topUp, { ended: 'abandoned' });
}

type TakenBack = {
  paymentIntentId: string;
  refunds: RefundFact[];
  disputes: DisputeFact[];
  warnings: WarningFact[];
  isRecent: boolean;
};

/** Payments of which money went back to the card lately, or is being asked back. */
async function listTakenBack(deps: BillingDeps, stripe: StripeAccess): Promise<Iterable<TakenBack>> {
  const now = Math.trunc((await readDatabaseClock(deps.db)).getTime() / 1_000);
  const lately = now - LOOK_BACK_SECONDS;
  const found = new Map<string, TakenBack>();
  const note = (paymentIntentId: string, created: number): TakenBack => {
    const known = found.get(paymentIntentId) ?? {
      paymentIntentId,
      refunds: [],
      disputes: [],
      warnings: [],
      isRecent: false,
    };
    found.set(paymentIntentId, known);
    known.isRecent ||= created >= lately;
    return known;
  };
  const refundedSince = { gte: now - REFUND_LOOK_BACK_SECONDS };
  for await (const each of stripe.client.refunds.list({ created: refundedSince, limit: 100 })) {
    const id = idOf(each.payment_intent);
    if (id !== undefined) note(id, each.created).refunds.push(refundOf(each));
  }
  for await (const each of stripe.client.disputes.list({ created: { gte: lately }, limit: 100 })) {
    const id = idOf(each.payment_intent);
    if (id !== undefined) note(id, each.created).disputes.push(disputeOf(each));
  }
  for (const each of await listWarnings(deps, stripe, lately)) {
    const id = idOf(each.payment_intent);
    if (id !== undefined) note(id, each.created).warnings.push(warningOf(each));
  }
  return found.values();
}

/** Not every key may see them, and then the money still has to be looked after. */
async function listWarnings(
  deps: BillingDeps,
  { client }: StripeAccess,
  since: number,
): Promise<Stripe.Radar.EarlyFraudWarning[]> {
  const warnings: Stripe.Radar.EarlyFraudWarning[] = [];
  try {
    const wanted = { created: { gte: since }, limit: 100 };
    for await (const each of client.radar.earlyFraudWarnings.list(wanted)) warnings.push(each);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    deps.log('warn', 'Stripe does not let us see early fraud warnings', { error: error.message });
  }
  return warnings;
}

/** True when everything Stripe says of it is what is known here. */
async function isKnown(db: Db, topUp: TopUp, { refunds, disputes, warnings }: TakenBack): Promise<boolean> {
  const known = new Map<string, string>();
  for (const row of await db.select().from(cardRefunds).where(eq(cardRefunds.topUpId, topUp.id))) {
    known.set(row.refundId, `${row.state} ${row.stripeStatus}`);
  }
  for (const row of await db.select().from(cardDisputes).where(eq(cardDisputes.topUpId, topUp.id))) {
    known.set(row.disputeId, `${row.state} ${row.stripeStatus}`);
  }
  for (const row of await db
    .select()
    .from(earlyFraudWarnings)
    .where(eq(earlyFraudWarnings.topUpId, topUp.id))) {
    known.set(row.warningId, String(row.isActionable));
  }
  return (
    [...refunds, ...disputes].every(({ id, state, status }) => known.get(id) === `${state} ${status}`) &&
    warnings.every(({ id, isActionable }) => known.get(id) === String(isActionable))
  );
}

function record(deps: BillingDeps, topUp: TopUp, facts: PaymentFacts): Promise<TopUp> {
  return deps.db.transaction((tx) => recordPayment(deps, tx, topUp, facts));
}

/** Takes what is owed from credits that came another way than by a top-up: a grant, a reversal, a call refunded. */
async function settleDebts(deps: BillingDeps): Promise<void> {
  const owing = await deps.db
    .selectDistinctOn([topUps.accountId])
    .from(topUps)
    .where(or(gt(topUps.owedMicros, 0n), eq(topUps.cardDispute, 'open')));
  for (const owner of owing) {
    await deps.db.transaction(async (tx) => settleLots(tx, owner, await lockBooks(tx, owner, true)));
  }
}
