import { and, desc, eq, lt } from 'drizzle-orm';
import { newId, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import { formatCredits, MICROS_PER_CREDIT } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { databaseNow, databaseNowPlus } from '../db/database-clock.ts';
import type { Db, Tx } from '../db/db.ts';
import { getBalance, lockAccounts, openAccount, transfer } from '../ledger/accounts.ts';
import type { BillingDeps } from './deps.ts';
import {
  getCurrentPayoutAccount,
  requirePayouts,
  type Payee,
  type PayoutAccount,
} from './payout-accounts.ts';
import { CLAIM_MS, sendPayout, type Payout } from './send-payout.ts';
import { TRANSFER, type StripeState } from './stripe-states.ts';
import { payouts } from './tables.ts';
import { sumOwed } from './top-ups.ts';

export type PayoutWish = Payee & {
  /** Undefined: all there is. */
  askedMicros: bigint | undefined;
  idempotencyKey: string;
};

/**
 * Pays out earnings: credits leave the seller's account in the transaction that writes the payout, and only then
 * is Stripe asked. The same key again answers the same payout, however it stands by then.
 */
export async function requestPayout(deps: BillingDeps, wish: PayoutWish): Promise<Payout> {
  const stripe = requirePayouts(deps, wish.currency);
  const known = await findByKey(deps.db, wish);
  if (known) return known;
  const account = await getCurrentPayoutAccount(deps, wish);
  if (account.stripeAccountId === undefined || !account.isReady) throw notReady(account);
  const { stripeAccountId } = account;

  const { payout, isNew } = await deps.db.transaction((tx) => openPayout(tx, wish, stripeAccountId));
  // From here on the credits have left: whatever happens to us, `resumePayouts` finishes it.
  if (isNew) await sendPayout(deps, stripe, payout, true);
  return getPayout(deps.db, wish, payout.id);
}

/** Under the lock of the seller's account, so that equal requests come one after the other. */
export async function openPayout(
  tx: Tx,
  wish: PayoutWish,
  stripeAccountId: string,
): Promise<{ payout: Payout; isNew: boolean }> {
  const { organizationId, currency, askedMicros, idempotencyKey } = wish;
  const accountId = await openAccount(tx, organizationId, currency, 'payable');
  const funding = await openAccount(tx, null, currency, 'funding');
  await lockAccounts(tx, [accountId, funding]);
  const payable = await findPayable(tx, wish, accountId);
  // A later statement than the lock, so it sees what an equal request committed.
  const known = await findByKey(tx, wish);
  if (known) return { payout: known, isNew: false };

  const values = {
    id: uuidOf('pay'),
    organizationId,
    currency,
    accountId,
    askedMicros: askedMicros ?? null,
    amountMicros: decideAmount(askedMicros, payable),
    status: 'requested' as const,
    stripeAccountId,
    returnTxn: uuidOf('txn'),
    claimedUntil: databaseNowPlus(CLAIM_MS),
    idempotencyKey,
    createdAt: databaseNow,
  };
  const [payout] = await tx.insert(payouts).values(values).returning();
  invariant(payout, 'an inserted row is returned');
  await transfer(tx, {
    uuid: payout.id,
    kind: 'payout',
    debit: accountId,
    credit: funding,
    amountMicros: payout.amountMicros,
    subject: payout.id,
  });
  return { payout, isNew: true };
}

/** What is on a seller's account, and what of it stays because the same organization owes for top-ups. */
export type Payable = { availableMicros: bigint; owedMicros: bigint; payableMicros: bigint };

export async function findPayable(
  tx: Tx,
  { organizationId, currency }: Payee,
  accountId: bigint,
): Promise<Payable> {
  const { availableMicros } = await getBalance(tx, accountId);
  const owedMicros = await sumOwed(tx, organizationId, currency);
  const payableMicros = availableMicros > owedMicros ? availableMicros - owedMicros : 0n;
  return { availableMicros, owedMicros, payableMicros };
}

/** Only whole cents leave; a fraction stays and is paid with what comes after it. */
export function decideAmount(askedMicros: bigint | undefined, payable: Payable): bigint {
  const { availableMicros, owedMicros, payableMicros } = payable;
  const amountMicros = wholeCents(askedMicros ?? payableMicros);
  const amounts = { balance: formatCredits(availableMicros) };
  if (owedMicros > 0n && (amountMicros > payableMicros || amountMicros === 0n)) {
    throw new Problem(
      'CONFLICT',
      `Of ${amounts.balance} credits available, ${formatCredits(payableMicros)} can be paid out: ` +
        `${formatCredits(owedMicros)} are owed for loads whose card payment was taken back or is contested. ` +
        'See GET /v1/billing/loads; load credits, or wait until the card dispute is decided.',
      { ...amounts, ...(amountMicros > 0n ? { needed: formatCredits(amountMicros) } : {}) },
    );
  }
  if (amountMicros > availableMicros) {
    throw new Problem(
      'CONFLICT',
      `Only ${amounts.balance} credits are available to be paid out; what buyers may still dispute is pending. See GET /v1/billing/earnings.`,
      { ...amounts, needed: formatCredits(amountMicros) },
    );
  }
  if (amountMicros === 0n) {
    throw new Problem(
      'CONFLICT',
      `There is no whole cent to pay out: ${amounts.balance} credits are available, and one credit is one cent.`,
      amounts,
    );
  }
  return amountMicros;
}

export function wholeCents(micros: bigint): bigint {
  return micros - (micros % MICROS_PER_CREDIT);
}

/** The payout an equal request made; throws when the key was used for another amount. */
async function findByKey(db: Db | Tx, wish: PayoutWish): Promise<Payout | undefined> {
  const [known] = await db
    .select()
    .from(payouts)
    .where(and(isOf(wish), eq(payouts.idempotencyKey, wish.idempotencyKey)));
  if (!known || known.askedMicros === (wish.askedMicros ?? null)) return known;
  throw new Problem(
    'IDEMPOTENCY_CONFLICT',
    'This Idempotency-Key was used for a payout of another amount. Send the amount it was used with, or a new key.',
  );
}

/** `uuid` as the id of the payout carries it; throws NOT_FOUND, also when it is another organization's. */
export async function getPayout(db: Db, payee: Payee, uuid: string): Promise<Payout> {
  const [payout] = await db
    .select()
    .from(payouts)
    .where(and(isOf(payee), eq(payouts.id, uuid)));
  if (payout) return payout;
  throw noSuchPayout();
}

export function noSuchPayout(): Problem {
  return new Problem('NOT_FOUND', 'There is no such payout.');
}

/** Newest first. */
export async function listPayouts(
  db: Db,
  payee: Payee,
  page: { beforeUuid: string | undefined; limit: number },
): Promise<Payout[]> {
  return db
    .select()
    .from(payouts)
    .where(and(isOf(payee), page.beforeUuid === undefined ? undefined : lt(payouts.id, page.beforeUuid)))
    .orderBy(desc(payouts.id))
    .limit(page.limit);
}

/** How the transfer of a payout stands. */
export function transferStateOf({
  status,
  transferId,
  returnedMicros,
}: Payout): StripeState<Payout['status']> {
  switch (status) {
    case 'requested':
      return TRANSFER.unheard;
    case 'paid':
      return returnedMicros > 0n ? TRANSFER.partly_reversed : TRANSFER.made;
    case 'failed':
      return transferId === null ? TRANSFER.refused : TRANSFER.reversed;
  }
}

function isOf({ organizationId, currency }: Payee) {
  return and(eq(payouts.organizationId, organizationId), eq(payouts.currency, currency));
}

function notReady({ standing, disabledReason, requirements }: PayoutAccount): Problem {
  const why = disabledReason === undefined ? '' : ` (${disabledReason})`;
  const missing = requirements.length === 0 ? '' : ` It asks for: ${requirements.join(', ')}.`;
  const what =
    standing.stored === 'unconnected' || standing.stored === 'gone'
      ? standing.shown
      : `Stripe does not pay this account yet${why}. ${standing.shown}`;
  return new Problem('CONFLICT', `${what}${missing} ${standing.next}`);
}

function uuidOf(prefix: 'pay' | 'txn'): string {
  const uuid = uuidOfId(prefix, newId(prefix));
  invariant(uuid !== undefined, 'a new id is one of its kind');
  return uuid;
}
