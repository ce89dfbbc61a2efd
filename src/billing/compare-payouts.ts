import { and, asc, eq, gt, isNotNull, lt, sql } from 'drizzle-orm';
import type Stripe from 'stripe';
import { idOfUuid, uuidOfId } from '../base/ids.ts';
import { formatCredits, MICROS_PER_CREDIT } from '../base/money.ts';
import { databaseNowPlus, readDatabaseClock } from '../db/database-clock.ts';
import type { Db } from '../db/db.ts';
import { ledgerJournal } from '../ledger/tables.ts';
import type { BillingDeps } from './deps.ts';
import type { Difference } from '../base/difference.ts';
import type { Payout } from './send-payout.ts';
import { stripeMoves, type StripeAccess } from './stripe.ts';
import { fromStripeAmount, idOf } from './stripe-words.ts';
import { payouts } from './tables.ts';

/** A payout is finished within minutes, or a job asks Stripe again: one that is this old needs a person. */
const OVERDUE_MS = 24 * 60 * 60 * 1_000;
const PAGE = 500;

/**
 * Payouts against the journal, and against the transfers Stripe knows of: each place where they disagree. Without
 * a Stripe key only the journal is looked at.
 */
export async function comparePayouts(deps: BillingDeps): Promise<Difference[]> {
  const { db, stripe } = deps;
  return [
    ...(await compareWithJournal(db)),
    ...(await listOverdue(db)),
    ...(stripe ? await compareWithStripe(db, stripe, await readDatabaseClock(db)) : []),
  ];
}

/** One statement, so that a payout that moves meanwhile is seen before or after, never in between. */
async function compareWithJournal(db: Db): Promise<Difference[]> {
  const { rows } = await db.execute<{
    id: string;
    amount: string;
    returned: string;
    taken: string;
    given_back: string;
  }>(sql`
    SELECT p.id, p.amount_micros AS amount, p.returned_micros AS returned, j.taken, j.given_back
    FROM ${payouts} p
    CROSS JOIN LATERAL (
      SELECT
        coalesce(sum(amount) FILTER (WHERE kind = 'payout' AND debit = p.account_id), 0)::bigint AS taken,
        coalesce(sum(amount) FILTER (WHERE kind = 'payout_returned' AND credit = p.account_id), 0)::bigint AS given_back
      FROM ${ledgerJournal} WHERE subject = p.id
    ) j
    WHERE p.amount_micros <> j.taken OR p.returned_micros <> j.given_back
    ORDER BY p.id`);
  return rows.map((row) =>
    difference(
      row.id,
      `${credits(row.amount)} taken from earnings and ${credits(row.returned)} returned`,
      `${credits(row.taken)} and ${credits(row.given_back)} in the journal`,
    ),
  );
}

async function listOverdue(db: Db): Promise<Difference[]> {
  const rows = await db
    .select()
    .from(payouts)
    .where(and(eq(payouts.status, 'requested'), lt(payouts.createdAt, databaseNowPlus(-OVERDUE_MS))))
    .orderBy(asc(payouts.id));
  return rows.map((row) =>
    difference(row.id, 'paid or failed within a day', `requested since ${row.createdAt.toISOString()}`),
  );
}

/** Stripe first: what is paid while the list is read is newer than `startedAt`, and not missed in it. */
async function compareWithStripe(db: Db, stripe: StripeAccess, startedAt: Date): Promise<Difference[]> {
  const found: Difference[] = [];
  const seen = new Set<string>();
  for await (const transfer of stripe.client.transfers.list({ limit: 100 })) {
    const id = transfer.metadata['payout_id'];
    if (id === undefined) continue;
    seen.add(transfer.id);
    found.push(...(await compareTransfer(db, id, transfer)));
  }
  for (let after = NO_UUID, rows: Payout[] = []; ; after = rows.at(-1)?.id ?? after) {
    rows = await listSent(db, after, startedAt);
    if (rows.length === 0) return found;
    found.push(
      ...rows
        .filter(({ currency, transferId }) => stripeMoves(stripe, currency) && !seen.has(transferId ?? ''))
        .map((row) => difference(row.id, `transfer ${row.transferId}`, 'no such transfer in Stripe')),
    );
  }
}

const NO_UUID = '00000000000000000000000000000000';

async function listSent(db: Db, afterUuid: string, before: Date): Promise<Payout[]> {
  return db
    .select()
    .from(payouts)
    .where(and(isNotNull(payouts.transferId), gt(payouts.id, afterUuid), lt(payouts.endedAt, before)))
    .orderBy(asc(payouts.id))
    .limit(PAGE);
}

async function compareTransfer(db: Db, id: string, transfer: Stripe.Transfer): Promise<Difference[]> {
  const uuid = uuidOfId('pay', id);
  const [row] = uuid === undefined ? [] : await db.select().from(payouts).where(eq(payouts.id, uuid));
  const told = describe(
    transfer.id,
    fromStripeAmount(transfer.amount),
    idOf(transfer.destination) ?? 'nobody',
    fromStripeAmount(transfer.amount_reversed),
  );
  if (!row) return [{ what: 'payout', id, expected: 'no transfer without a payout', found: told }];
  // Not yet written down: a job does that, and one that takes too long is named as overdue.
  if (row.status === 'requested') return [];
  const expected =
    row.transferId === null
      ? 'no transfer, for the payout failed'
      : describe(
          row.transferId,
          row.amountMicros / MICROS_PER_CREDIT,
          row.stripeAccountId,
          row.returnedMicros / MICROS_PER_CREDIT,
        );
  return expected === told ? [] : [difference(row.id, expected, told)];
}

function describe(transferId: string, amountCents: bigint, account: string, reversedCents: bigint): string {
  return `transfer ${transferId} of ${amountCents} cents to ${account}, ${reversedCents} reversed`;
}

function difference(uuid: string, expected: string, found: string): Difference {
  return { what: 'payout', id: idOfUuid('pay', uuid), expected, found };
}

function credits(micros: string): string {
  return `${formatCredits(BigInt(micros))} credits`;
}
