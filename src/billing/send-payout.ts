import { and, eq, isNull, lt, or } from 'drizzle-orm';
import { Stripe } from 'stripe';
import { insertEvent } from '../audit/events.ts';
import { idOfUuid, newId, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import { formatCredits, MICROS_PER_CREDIT } from '../base/money.ts';
import { databaseNow, databaseNowPlus } from '../db/database-clock.ts';
import type { Tx } from '../db/db.ts';
import { openAccount, transfer } from '../ledger/accounts.ts';
import type { BillingDeps } from './deps.ts';
import { getPayoutAccount, tryRefresh } from './payout-accounts.ts';
import type { StripeAccess } from './stripe.ts';
import { fromStripeAmount, toStripeAmount } from './stripe-words.ts';
import { payouts } from './tables.ts';

export type Payout = typeof payouts.$inferSelect;

/** Longer than asking Stripe four times can take, every retry included. */
export const CLAIM_MS = 5 * 60_000;

/** What is known of the transfer after Stripe was asked. */
type Outcome =
  | { kind: 'sent'; transfer: Stripe.Transfer }
  /** There is none, and none will come of this payout. */
  | { kind: 'refused'; code: string | undefined; cause: string }
  /** The answer was lost, or Stripe could not say: there may be one. */
  | { kind: 'unknown'; cause: string };

/**
 * find the transfer, or make it → paid, failed and given back, or asked again later
 *
 * The caller has claimed the payout. `isFresh`: nobody has asked Stripe about it before.
 */
export async function sendPayout(
  deps: BillingDeps,
  stripe: StripeAccess,
  payout: Payout,
  isFresh: boolean,
): Promise<void> {
  const outcome = await askForTransfer(stripe, payout, isFresh);
  switch (outcome.kind) {
    case 'sent':
      await deps.db.transaction((tx) => applyTransfer(tx, deps, outcome.transfer));
      return;
    case 'refused': {
      deps.log('warn', 'a payout was refused by Stripe', { payout: payout.id, cause: outcome.cause });
      // Before it has failed: its seller, told of that, looks at the account.
      await tryRefresh(deps, payout.stripeAccountId);
      return deps.db.transaction(async (tx) =>
        failPayout(tx, payout, await reasonOf(tx, payout, outcome.code)),
      );
    }
    case 'unknown':
      deps.log('warn', 'Stripe did not say what became of a payout; it is asked again', {
        payout: payout.id,
        cause: outcome.cause,
      });
      return deps.db.transaction((tx) => dropClaim(tx, payout));
  }
}

/** Takes the payout for this process; undefined when it has ended or another process has it. */
export async function claimPayout(tx: Tx, uuid: string): Promise<Payout | undefined> {
  const [claimed] = await tx
    .update(payouts)
    .set({ claimedUntil: databaseNowPlus(CLAIM_MS) })
    .where(
      and(
        eq(payouts.id, uuid),
        eq(payouts.status, 'requested'),
        or(isNull(payouts.claimedUntil), lt(payouts.claimedUntil, databaseNow)),
      ),
    )
    .returning();
  return claimed;
}

async function dropClaim(tx: Tx, payout: Payout): Promise<void> {
  await tx.update(payouts).set({ claimedUntil: null }).where(isClaimed(payout));
}

function isClaimed({ id, claimedUntil }: Payout) {
  invariant(claimedUntil, 'whoever asks Stripe about a payout has claimed it');
  return and(eq(payouts.id, id), eq(payouts.status, 'requested'), eq(payouts.claimedUntil, claimedUntil));
}

async function askForTransfer({ client }: StripeAccess, payout: Payout, isFresh: boolean): Promise<Outcome> {
  const id = idOfUuid('pay', payout.id);
  try {
    // Stripe forgets idempotency keys after a day or so, but not transfers: an old one is found by its group.
    const found = isFresh ? undefined : await findTransfer(client, id);
    if (found) return { kind: 'sent', transfer: found };
  } catch (error) {
    // Being refused a look says nothing of the transfer: there may be one.
    return { kind: 'unknown', cause: causeOf(stripeError(error)) };
  }
  try {
    const made = await client.transfers.create(
      {
        amount: toStripeAmount(payout.amountMicros / MICROS_PER_CREDIT),
        currency: 'usd',
        destination: payout.stripeAccountId,
        transfer_group: id,
        metadata: { payout_id: id, organization_id: payout.organizationId },
      },
      { idempotencyKey: id },
    );
    return { kind: 'sent', transfer: made };
  } catch (thrown) {
    const error = stripeError(thrown);
    const cause = causeOf(error);
    const isRefusal =
      error instanceof Stripe.errors.StripeInvalidRequestError ||
      error instanceof Stripe.errors.StripePermissionError ||
      error instanceof Stripe.errors.StripeCardError;
    return isRefusal ? { kind: 'refused', code: error.code, cause } : { kind: 'unknown', cause };
  }
}

/** Anything that is not Stripe's is a bug of ours, and thrown on. */
function stripeError(error: unknown): InstanceType<typeof Stripe.errors.StripeError> {
  if (error instanceof Stripe.errors.StripeError) return error;
  throw error;
}

function causeOf(error: InstanceType<typeof Stripe.errors.StripeError>): string {
  return `${error.type} ${error.statusCode ?? ''} ${error.code ?? ''}: ${error.message}`;
}

async function findTransfer(client: Stripe, payoutId: string): Promise<Stripe.Transfer | undefined> {
  const { data } = await client.transfers.list({ transfer_group: payoutId, limit: 100 });
  return data.find((each) => each.metadata['payout_id'] === payoutId);
}

/** Stripe's own words may tell of the operator's account. */
async function reasonOf(tx: Tx, payout: Payout, code: string | undefined): Promise<string> {
  if (code === 'balance_insufficient') {
    return 'The operator of this gateway has to fund payouts first. The credits are available again; ask once more later.';
  }
  const { standing, stripeAccountId } = await getPayoutAccount(tx, payout);
  if (stripeAccountId !== payout.stripeAccountId) {
    return 'The Stripe account this was to be paid into was replaced by another one. The credits are available again; ask for a new payout.';
  }
  if (standing.stored === 'gone') {
    return `${standing.shown} ${standing.next}`;
  }
  return `Stripe refused to pay this account${code === undefined ? '' : ` (${code})`}. The credits are available again; check the account with GET /v1/billing/payouts/account.`;
}

/**
 * Brings a payout up to date with its transfer as Stripe tells it, in an answer or an event, in whatever order
 * and however often: it only ever goes from requested to paid, and what was reversed only grows. False when the
 * transfer belongs to no payout of ours.
 */
export async function applyTransfer(
  tx: Tx,
  deps: Pick<BillingDeps, 'log'>,
  told: Stripe.Transfer,
): Promise<boolean> {
  const uuid = uuidOfId('pay', told.metadata['payout_id'] ?? '');
  const payout = uuid === undefined ? undefined : await lockPayout(tx, uuid);
  if (!payout) return false;
  const isOurs = fromStripeAmount(told.amount) * MICROS_PER_CREDIT === payout.amountMicros;
  const isKnown = payout.transferId === null ? payout.status === 'requested' : payout.transferId === told.id;
  if (!isOurs || !isKnown) {
    // Nothing is moved on it; `comparePayouts` names it until somebody has put it right.
    deps.log('error', 'a transfer contradicts its payout', { payout: payout.id, transfer: told.id });
    return true;
  }
  const paid = payout.status === 'requested' ? await markPaid(tx, payout, told.id) : payout;
  await returnReversed(tx, paid, fromStripeAmount(told.amount_reversed) * MICROS_PER_CREDIT);
  return true;
}

async function lockPayout(tx: Tx, uuid: string): Promise<Payout | undefined> {
  const [payout] = await tx.select().from(payouts).where(eq(payouts.id, uuid)).for('update');
  return payout;
}

async function markPaid(tx: Tx, payout: Payout, transferId: string): Promise<Payout> {
  const [paid] = await tx
    .update(payouts)
    .set({ status: 'paid', transferId, claimedUntil: null, endedAt: databaseNow })
    .where(eq(payouts.id, payout.id))
    .returning();
  invariant(paid, 'a locked row is there');
  await tell(tx, paid, 'payout.paid', {});
  return paid;
}

/** Gives back what Stripe reversed in total, less what was given back before. */
async function returnReversed(tx: Tx, payout: Payout, reversedMicros: bigint): Promise<void> {
  const amountMicros = reversedMicros - payout.returnedMicros;
  if (amountMicros <= 0n) return;
  const uuid = uuidOfId('txn', newId('txn'));
  invariant(uuid !== undefined, 'a new id is one of its kind');
  const isWhole = reversedMicros === payout.amountMicros;
  const failure = isWhole ? 'Stripe reversed the transfer after it was made.' : payout.failure;
  await giveBack(tx, payout, uuid, amountMicros);
  await tx
    .update(payouts)
    .set({
      returnedMicros: reversedMicros,
      failure,
      ...(isWhole ? { status: 'failed' as const, endedAt: databaseNow } : {}),
    })
    .where(eq(payouts.id, payout.id));
  await tell(tx, payout, 'payout.failed', {
    returned: formatCredits(amountMicros),
    reason: failure ?? 'Stripe reversed a part of the transfer after it was made.',
  });
}

/** Nothing is done when the claim is no longer ours: whoever has it now decides. */
async function failPayout(tx: Tx, payout: Payout, failure: string): Promise<void> {
  const [failed] = await tx
    .update(payouts)
    .set({
      status: 'failed',
      failure,
      returnedMicros: payout.amountMicros,
      claimedUntil: null,
      endedAt: databaseNow,
    })
    .where(isClaimed(payout))
    .returning();
  if (!failed) return;
  await giveBack(tx, failed, failed.returnTxn, failed.amountMicros);
  await tell(tx, failed, 'payout.failed', {
    returned: formatCredits(failed.amountMicros),
    reason: failure,
  });
}

async function giveBack(tx: Tx, payout: Payout, uuid: string, amountMicros: bigint): Promise<void> {
  const funding = await openAccount(tx, null, payout.currency, 'funding');
  await transfer(tx, {
    uuid,
    kind: 'payout_returned',
    debit: funding,
    credit: payout.accountId,
    amountMicros,
    subject: payout.id,
  });
}

async function tell(
  tx: Tx,
  payout: Payout,
  type: 'payout.paid' | 'payout.failed',
  more: Record<string, string>,
): Promise<void> {
  await insertEvent(tx, {
    organizationId: payout.organizationId,
    currency: payout.currency,
    type,
    data: {
      payout_id: idOfUuid('pay', payout.id),
      amount: formatCredits(payout.amountMicros),
      ...more,
    },
  });
}
