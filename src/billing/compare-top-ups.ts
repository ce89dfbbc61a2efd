import { and, asc, gt, inArray, sql } from 'drizzle-orm';
import { formatCredits } from '../base/money.ts';
import type { Db } from '../db/db.ts';
import { ledgerAccounts, ledgerJournal } from '../ledger/tables.ts';
import { askStripe } from './ask-stripe.ts';
import { sumDisputes } from './card-disputes.ts';
import { isFailed } from './card-refunds.ts';
import type { BillingDeps } from './deps.ts';
import type { Difference } from '../base/difference.ts';
import {
  disputeOf,
  factsOfIntent,
  refundOf,
  type DisputeFact,
  type PaymentFacts,
  type RefundFact,
  type RefundState,
} from './stripe-facts.ts';
import { stripeMoves, type StripeAccess } from './stripe.ts';
import { idOf } from './stripe-words.ts';
import { cardRefunds } from './card-tables.ts';
import { topUps } from './tables.ts';
import { cardRefundCents, dueMicros, findTopUp, lotMicros, topUpId, type TopUp } from './top-ups.ts';

const PAGE_ROWS = 200;

/**
 * Every top-up and its refunds against its payment at Stripe and its rows in the journal, both ways round. What
 * seems to differ is looked at a second time on its own: a payment may have come while the lists were read. Empty,
 * too, when no Stripe is configured: then there is nothing to compare with.
 */
export async function compareTopUps(deps: BillingDeps): Promise<Difference[]> {
  const { stripe } = deps;
  if (!stripe) return [];
  const payments = await listPayments(stripe);
  const differences: Difference[] = [];
  for await (const rows of listPages(deps.db)) {
    const books = await readBooks(deps.db, rows);
    for (const topUp of rows.filter(({ currency }) => stripeMoves(stripe, currency))) {
      const id = topUpId(topUp);
      const payment = payments.get(id);
      payments.delete(id);
      if (differencesOf(topUp, payment, books(topUp)).length === 0) continue;
      differences.push(...(await lookAgain(deps, stripe, id)));
    }
  }
  for (const [id, { paymentIntentId, paid }] of payments) {
    if (!paid || (await findTopUp(deps.db, id))) continue;
    const found = `${paymentIntentId} paid ${paid.cents} ${paid.currency}`;
    differences.push({ what: 'top-up', id, expected: 'no payment at Stripe names it', found });
  }
  return differences;
}

async function lookAgain(deps: BillingDeps, stripe: StripeAccess, id: string): Promise<Difference[]> {
  const before = await findTopUp(deps.db, id);
  if (!before) return [];
  const facts = await askStripe(deps, stripe, before);
  const topUp = (await findTopUp(deps.db, id)) ?? before;
  const books = await readBooks(deps.db, [topUp]);
  return differencesOf(topUp, facts, books(topUp));
}

/** What Stripe knows of every payment that names a top-up. */
async function listPayments({ client }: StripeAccess): Promise<Map<string, PaymentFacts>> {
  const refunds = new Map<string, RefundFact[]>();
  for await (const found of client.refunds.list({ limit: 100 })) {
    const id = idOf(found.payment_intent);
    if (id !== undefined) refunds.set(id, [...(refunds.get(id) ?? []), refundOf(found)]);
  }
  const disputes = new Map<string, DisputeFact[]>();
  for await (const found of client.disputes.list({ limit: 100 })) {
    const id = idOf(found.payment_intent);
    if (id !== undefined) disputes.set(id, [...(disputes.get(id) ?? []), disputeOf(found)]);
  }
  const payments = new Map<string, PaymentFacts>();
  for await (const intent of client.paymentIntents.list({ limit: 100, expand: ['data.latest_charge'] })) {
    const { id } = intent;
    const facts = { ...factsOfIntent(intent), refunds: refunds.get(id), disputes: disputes.get(id) };
    if (facts.topUpId !== undefined && facts.paid) payments.set(facts.topUpId, facts);
  }
  return payments;
}

async function* listPages(db: Db): AsyncGenerator<TopUp[]> {
  let after = '00000000000000000000000000000000';
  for (;;) {
    const rows = await db
      .select()
      .from(topUps)
      .where(gt(topUps.id, after))
      .orderBy(asc(topUps.id))
      .limit(PAGE_ROWS);
    yield rows;
    if (rows.length < PAGE_ROWS) return;
    after = rows.at(-1)?.id ?? after;
  }
}

/** What is written here about one top-up, beside its own row. */
type Books = { moved: Moved; refunds: { id: string; state: RefundState; cents: bigint }[] };

async function readBooks(db: Db, lots: readonly TopUp[]): Promise<(lot: TopUp) => Books> {
  const journal = await readJournal(db, lots);
  const refunds = new Map<string, Books['refunds']>();
  const ids = lots.map(({ id }) => id);
  const rows =
    ids.length === 0 ? [] : await db.select().from(cardRefunds).where(inArray(cardRefunds.topUpId, ids));
  for (const { refundId, topUpId: lotId, state, cents } of rows) {
    refunds.set(lotId, [...(refunds.get(lotId) ?? []), { id: refundId, state, cents }]);
  }
  return ({ id }) => ({
    moved: journal.get(id) ?? { loaded: 0n, reversed: 0n, frozen: 0n },
    refunds: refunds.get(id) ?? [],
  });
}

type Moved = { loaded: bigint; reversed: bigint; frozen: bigint };

/** What the journal moved for each of these lots. */
async function readJournal(db: Db, lots: readonly TopUp[]): Promise<Map<string, Moved>> {
  if (lots.length === 0) return new Map();
  const { kind, amount, subject, debit } = ledgerJournal;
  const sum = (of: ReturnType<typeof sql>) => sql<string>`coalesce(sum(${amount}) filter (where ${of}), 0)`;
  const fromFrozen = sql`${ledgerAccounts.kind} = 'frozen'`;
  const rows = await db
    .select({
      lotId: subject,
      loaded: sum(sql`${kind} = 'top_up'`),
      reversed: sum(sql`${kind} = 'top_up_reversal'`),
      restored: sum(sql`${kind} = 'top_up_restored'`),
      frozen: sum(sql`${kind} = 'freeze'`),
      thawed: sum(sql`${fromFrozen}`),
    })
    .from(ledgerJournal)
    .innerJoin(ledgerAccounts, sql`${ledgerAccounts.id} = ${debit}`)
    .where(
      and(
        inArray(
          subject,
          lots.map(({ id }) => id),
        ),
        sql`${kind} in ('top_up', 'top_up_reversal', 'top_up_restored', 'freeze', 'unfreeze')`,
      ),
    )
    .groupBy(subject);
  return new Map(
    rows.map((row) => [
      row.lotId ?? '',
      {
        loaded: BigInt(row.loaded),
        reversed: BigInt(row.reversed) - BigInt(row.restored),
        frozen: BigInt(row.frozen) - BigInt(row.thawed),
      },
    ]),
  );
}

function differencesOf(
  topUp: TopUp,
  facts: PaymentFacts | undefined,
  { moved, refunds }: Books,
): Difference[] {
  const id = topUpId(topUp);
  const differences: Difference[] = [];
  const compare = (what: string, expected: string, found: string): void => {
    if (expected !== found) differences.push({ what, id, expected, found });
  };
  const isPaid = topUp.status === 'paid';
  const paid = facts?.paid;
  compare(
    'top-up against Stripe',
    paid ? `paid ${paid.cents} ${paid.currency}` : 'not paid',
    isPaid
      ? `paid ${topUp.amountCents} usd`
      : paid
        ? `${topUp.status} at ${topUp.amountCents} usd`
        : 'not paid',
  );
  if (isPaid && paid) {
    const stands = sumCents((facts.refunds ?? []).filter((refund) => !isFailed(refund)));
    compare('top-up: cents refunded', String(stands), String(cardRefundCents(topUp)));
    const { cardDispute, cardDisputeCents, lostCents } = sumDisputes(topUp, facts.disputes ?? []);
    compare('top-up: card dispute', cardDispute, topUp.cardDispute);
    compare('top-up: cents in card disputes', String(cardDisputeCents), String(topUp.cardDisputeCents));
    compare('top-up: cents lost to card disputes', String(lostCents), String(topUp.lostCents));
  }
  const here = new Map(refunds.map((refund) => [refund.id, nameRefund(refund)]));
  for (const refund of facts?.refunds ?? []) {
    compare('top-up: card refund', nameRefund(refund), here.get(refund.id) ?? `${refund.id} is not known`);
    here.delete(refund.id);
  }
  for (const [refundId, found] of here) {
    compare('top-up: card refund', `${refundId} is not of its payment at Stripe`, found);
  }
  const failed = sumCents(refunds.filter(isFailed));
  compare('top-up: cents of failed refunds', String(failed), String(topUp.failedRefundCents));

  const credits = (what: string, expected: bigint, found: bigint): void =>
    compare(what, formatCredits(expected), formatCredits(found));
  credits('top-up: credits loaded', isPaid ? lotMicros(topUp) : 0n, moved.loaded);
  credits('top-up: credits taken back', topUp.reversedMicros, moved.reversed);
  credits('top-up: credits frozen', topUp.frozenMicros, moved.frozen);
  credits('top-up: credits to take back', dueMicros(topUp), topUp.reversedMicros + topUp.owedMicros);
  return differences;
}

function nameRefund({ id, state, cents }: Books['refunds'][number]): string {
  return `${id} ${state} ${cents}`;
}

function sumCents(refunds: readonly { cents: bigint }[]): bigint {
  return refunds.reduce((sum, { cents }) => sum + cents, 0n);
}
