import { and, eq, gt, isNull, sql } from 'drizzle-orm';
import { newId, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import { formatCredits } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { databaseNow } from '../db/database-clock.ts';
import type { Tx } from '../db/db.ts';
import type { BillingDeps } from './deps.ts';
import { openCustomer } from './stripe-customers.ts';
import { TOP_UP_MEMBER } from './stripe-facts.ts';
import { assertStripeMoves, requireStripe, type StripeAccess } from './stripe.ts';
import { isRefusal, toStripeAmount } from './stripe-words.ts';
import { topUps } from './tables.ts';
import { lotMicros, topUpId, type Owner, type TopUp } from './top-ups.ts';

/** Stripe takes 24 hours at most, by its own clock. */
const PAGE_LIVES_MS = 23 * 3_600_000;

/** Loads of an organization and currency that wait to be paid. */
const MOST_OPEN = 10;

export type TopUpWish = Owner & {
  accountId: bigint;
  keyId: string;
  amountCents: bigint;
  savesCard: boolean;
  /** The same key again is the same top-up. */
  idempotencyKey: string | undefined;
};

/**
 * A page at Stripe where credits are paid for. Our row is written before Stripe is asked, under an id that is
 * on everything Stripe makes of it: whatever is lost on the way, the payment finds its top-up.
 *
 * Throws STRIPE_NOT_CONFIGURED, CONFLICT (other currency than Stripe's), IDEMPOTENCY_CONFLICT, STRIPE_FAILED.
 */
export async function startTopUp(deps: BillingDeps, wish: TopUpWish): Promise<TopUp> {
  const stripe = requireStripe(deps);
  assertStripeMoves(stripe, wish.currency);
  const topUp = await deps.db.transaction((tx) => insertTopUp(tx, wish));
  // Asked for again: what is known is answered, and what was interrupted is gone on with.
  if (topUp.sessionId !== null || topUp.status !== 'open') return topUp;
  return openPage(deps, stripe, topUp);
}

async function insertTopUp(tx: Tx, wish: TopUpWish): Promise<TopUp> {
  const id = uuidOfId('top', newId('top'));
  invariant(id !== undefined, 'a new id is one of its kind');
  // Those who start one at the same moment are counted one after the other.
  await tx.execute(
    sql`SELECT pg_advisory_xact_lock(hashtextextended(${`loads ${wish.organizationId} ${wish.currency}`}, 0))`,
  );
  const [inserted] = await tx
    .insert(topUps)
    .values({
      ...wish,
      id,
      idempotencyKey: wish.idempotencyKey ?? null,
      isAutomatic: false,
      status: 'open',
      createdAt: databaseNow,
      // Whole seconds, as Stripe counts.
      expiresAt: sql`date_trunc('second', ${databaseNow}) + ${PAGE_LIVES_MS}::float8 * interval '1 millisecond'`,
    })
    .onConflictDoNothing({ target: [topUps.organizationId, topUps.currency, topUps.idempotencyKey] })
    .returning();
  if (inserted) {
    await refuseManyOpen(tx, inserted);
    return inserted;
  }
  invariant(wish.idempotencyKey !== undefined, 'only a key that was used is in the way');
  return findRepeated(tx, wish, wish.idempotencyKey);
}

/** Every open load is a page at Stripe that somebody may pay, and is looked after until it is over. */
async function refuseManyOpen(tx: Tx, { organizationId, currency }: TopUp): Promise<void> {
  const open = await tx
    .select({ id: topUps.id })
    .from(topUps)
    .where(
      and(
        eq(topUps.organizationId, organizationId),
        eq(topUps.currency, currency),
        eq(topUps.status, 'open'),
        eq(topUps.isAutomatic, false),
        gt(topUps.expiresAt, databaseNow),
      ),
    )
    .limit(MOST_OPEN + 1);
  if (open.length <= MOST_OPEN) return;
  throw new Problem(
    'CONFLICT',
    `${MOST_OPEN} loads are waiting to be paid. Pay one of them at its payment_url (GET /v1/billing/loads?status=open), or wait until one has expired.`,
  );
}

async function findRepeated(tx: Tx, wish: TopUpWish, idempotencyKey: string): Promise<TopUp> {
  const [known] = await tx
    .select()
    .from(topUps)
    .where(
      and(
        eq(topUps.organizationId, wish.organizationId),
        eq(topUps.currency, wish.currency),
        eq(topUps.idempotencyKey, idempotencyKey),
      ),
    );
  invariant(known, 'what was in the way is there');
  if (known.amountCents === wish.amountCents && known.savesCard === wish.savesCard) return known;
  throw new Problem(
    'IDEMPOTENCY_CONFLICT',
    'This Idempotency-Key was used for a load of another amount. Use a new key for a new load.',
  );
}

async function openPage(deps: BillingDeps, stripe: StripeAccess, topUp: TopUp): Promise<TopUp> {
  try {
    const customer = await openCustomer(deps, stripe, topUp);
    const session = await createSession(deps, stripe, topUp, customer.customerId);
    await deps.db.transaction((tx) =>
      tx
        .update(topUps)
        .set({ sessionId: session.id, paymentUrl: session.url })
        .where(and(eq(topUps.id, topUp.id), isNull(topUps.paymentUrl))),
    );
  } catch (error) {
    deps.log('error', 'Stripe made no payment page', { top_up: topUpId(topUp), error: String(error) });
    if (!isRefusal(error)) {
      const detail =
        'Stripe did not answer as it should. Ask again with the same Idempotency-Key, or start a new load; nothing was paid.';
      throw new Problem('STRIPE_FAILED', detail, {}, { cause: error });
    }
    await deps.db.transaction((tx) =>
      tx
        .update(topUps)
        .set({ status: 'failed', failure: 'Stripe refused to make a payment page.' })
        .where(and(eq(topUps.id, topUp.id), eq(topUps.status, 'open'))),
    );
    const detail =
      'Stripe refused to make a payment page; the operator of this gateway finds why in its log.';
    throw new Problem('STRIPE_FAILED', detail, {}, { cause: error });
  }
  const [current] = await deps.db.select().from(topUps).where(eq(topUps.id, topUp.id));
  invariant(current, 'a top-up is never deleted');
  return current;
}

/** Every parameter follows from the row, so that the same request can be sent again under the same key. */
function createSession(deps: BillingDeps, stripe: StripeAccess, topUp: TopUp, customer: string) {
  const id = topUpId(topUp);
  const metadata = { [TOP_UP_MEMBER]: id };
  const credits = `${formatCredits(lotMicros(topUp))} Sentinel credits`;
  return stripe.client.checkout.sessions.create(
    {
      mode: 'payment',
      customer,
      client_reference_id: id,
      metadata,
      line_items: [
        {
          quantity: 1,
          price_data: {
            currency: 'usd',
            unit_amount: toStripeAmount(topUp.amountCents),
            product_data: { name: credits },
          },
        },
      ],
      payment_intent_data: {
        metadata,
        description: credits,
        ...(topUp.savesCard ? { setup_future_usage: 'off_session' as const } : {}),
      },
      invoice_creation: { enabled: true, invoice_data: { metadata, description: credits } },
      success_url: `${deps.publicUrl}/billing/paid`,
      cancel_url: `${deps.publicUrl}/billing/cancelled`,
      expires_at: Math.trunc(topUp.expiresAt.getTime() / 1_000),
    },
    { idempotencyKey: id },
  );
}
