import { and, asc, gt, inArray, sql } from 'drizzle-orm';
import { formatCredits, MICROS_PER_CREDIT } from '../base/money.ts';
import type { Db } from '../db/db.ts';
import { ledgerAccounts, ledgerJournal } from '../ledger/tables.ts';
import { askStripe } from './ask-stripe.ts';
import { sumDisputes } from './card-disputes.ts';
import type { BillingDeps } from './deps.ts';
import type { Difference } from '../base/difference.ts';
import { disputeOf, factsOfIntent, type DisputeFact, type PaymentFacts } from './stripe-facts.ts';
import { stripeMoves, type StripeAccess } from './stripe.ts';
import { idOf } from './stripe-words.ts';
import { topUps } from './tables.ts';
import { findTopUp, lotMicros, topUpId, type TopUp } from './top-ups.ts';

const PAGE_ROWS = 200;

/**
 * Every top-up against its payment at Stripe and its rows in the journal, both ways round. What seems to differ
 * is looked at a second time on its own: a payment may have come while the lists were read. Empty, too, when no
 * Stripe is configured: then there is nothing to compare with.
 */
export async function compareTopUps(deps: BillingDeps): Promise<Difference[]> {
  const { stripe } = deps;
  if (!stripe) return [];
  const payments = await listPayments(stripe);
  const differences: Difference[] = [];
  for await (const rows of listPages(deps.db)) {
    const journal = await readJournal(deps.db, rows);
    for (const topUp of rows.filter(({ currency }) => stripeMoves(stripe, currency))) {
      const id = topUpId(topUp);
      const payment = payments.get(id);
      payments.delete(id);
      if (differencesOf(topUp, payment, journal.get(topUp.id)).length === 0) continue;
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
  const journal = await readJournal(deps.db, [topUp]);
  return differencesOf(topUp, facts, journal.get(topUp.id));
}

/** What Stripe knows of every payment that names a top-up. */
async function listPayments({ client }: StripeAccess): Promise<Map<string, PaymentFacts>> {
  const disputes = new Map<string, DisputeFact[]>();
  for await (const found of client.disputes.list({ limit: 100 })) {
    const id = idOf(found.payment_intent);
    if (id !== undefined) disputes.set(id, [...(disputes.get(id) ?? []), disputeOf(found)]);
  }
  const payments = new Map<string, PaymentFacts>();
  for await (const intent of client.paymentIntents.list({ limit: 100, expand: ['data.latest_charge'] })) {
    const facts = { ...factsOfIntent(intent), disputes: disputes.get(intent.id) };
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
        sql`${kind} in ('top_up', 'top_up_reversal', 'freeze', 'unfreeze')`,
      ),
    )
    .groupBy(subject);
  return new Map(
    rows.map((row) => [
      row.lotId ?? '',
      {
        loaded: BigInt(row.loaded),
        reversed: BigInt(row.reversed),
        frozen: BigInt(row.frozen) - BigInt(row.thawed),
      },
    ]),
  );
}

function differencesOf(
  topUp: TopUp,
  facts: PaymentFacts | undefined,
  journal: Moved | undefined,
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
    compare('top-up: cents refunded', String(facts.refundedCents ?? 0n), String(topUp.refundedCents));
    const { cardDispute, cardDisputeCents, lostCents } = sumDisputes(topUp, facts.disputes ?? []);
    compare('top-up: card dispute', cardDispute, topUp.cardDispute);
    compare('top-up: cents in card disputes', String(cardDisputeCents), String(topUp.cardDisputeCents));
    compare('top-up: cents lost to card disputes', String(lostCents), String(topUp.lostCents));
  }

  const moved = journal ?? { loaded: 0n, reversed: 0n, frozen: 0n };
  const credits = (what: string, expected: bigint, found: bigint): void =>
    compare(what, formatCredits(expected), formatCredits(found));
  credits('top-up: credits loaded', isPaid ? lotMicros(topUp) : 0n, moved.loaded);
  credits('top-up: credits taken back', topUp.reversedMicros, moved.reversed);
  credits('top-up: credits frozen', topUp.frozenMicros, moved.frozen);
  credits('top-up: credits to take back', dueMicros(topUp), topUp.reversedMicros + topUp.owedMicros);
  return differences;
}

function dueMicros(topUp: TopUp): bigint {
  const due = (topUp.refundedCents + topUp.lostCents) * MICROS_PER_CREDIT;
  return due < lotMicros(topUp) ? due : lotMicros(topUp);
}
