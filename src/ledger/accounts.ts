import { and, eq, inArray, isNull, sql } from 'drizzle-orm';
import type { Currency } from '../base/money.ts';
import { invariant } from '../base/invariant.ts';
import { uuidOfId } from '../base/ids.ts';
import type { Db, Tx } from '../db/db.ts';
import { ledgerAccounts, type JournalKind } from './tables.ts';

export type AccountKind = (typeof ledgerAccounts.$inferSelect)['kind'];

export type Balance = {
  /** What can be spent now. */
  availableMicros: bigint;
  /** What is set aside for calls under way. */
  heldMicros: bigint;
};

/** The account's id, made on first use. `organizationId` null means the platform's own account. */
export async function openAccount(
  tx: Tx,
  organizationId: string | null,
  currency: Currency,
  kind: AccountKind,
): Promise<bigint> {
  await tx.insert(ledgerAccounts).values({ organizationId, currency, kind }).onConflictDoNothing();
  const id = await findAccount(tx, organizationId, currency, kind);
  invariant(id !== undefined, 'an account that was just made exists');
  return id;
}

export async function findAccount(
  db: Db | Tx,
  organizationId: string | null,
  currency: Currency,
  kind: AccountKind,
): Promise<bigint | undefined> {
  const owner =
    organizationId === null
      ? isNull(ledgerAccounts.organizationId)
      : eq(ledgerAccounts.organizationId, organizationId);
  const [account] = await db
    .select({ id: ledgerAccounts.id })
    .from(ledgerAccounts)
    .where(and(owner, eq(ledgerAccounts.currency, currency), eq(ledgerAccounts.kind, kind)));
  return account?.id;
}

/** What the account can spend and what it has on hold. An account that was never opened has nothing. */
export async function getBalance(db: Db | Tx, accountId: bigint): Promise<Balance> {
  const [account] = await db.select().from(ledgerAccounts).where(eq(ledgerAccounts.id, accountId));
  if (!account) return { availableMicros: 0n, heldMicros: 0n };
  return { availableMicros: account.posted - account.held, heldMicros: account.held };
}

/** Gives credits to an organization. The id makes it happen once: false means it had happened before. */
export async function grantCredits(
  tx: Tx,
  grant: { id: string; organizationId: string; currency: Currency; amountMicros: bigint },
): Promise<boolean> {
  const funding = await openAccount(tx, null, grant.currency, 'funding');
  const balance = await openAccount(tx, grant.organizationId, grant.currency, 'balance');
  const uuid = uuidOfId('txn', grant.id);
  invariant(uuid !== undefined, 'a grant has an id');
  await noteCredits(tx, balance);
  return transfer(tx, {
    uuid,
    kind: 'grant',
    debit: funding,
    credit: balance,
    amountMicros: grant.amountMicros,
  });
}

/** Whoever noted that this balance is nearly empty hears, at commit, that it no longer is. */
export async function noteCredits(tx: Tx, balance: bigint): Promise<void> {
  await tx.execute(sql`SELECT pg_notify('sentinel_changes', ${`credits:${balance}`})`);
}

/**
 * Locks accounts in the order of their ids, as every batch of holds and settlements does: two that lock the
 * same ones wait for each other in one direction only. Calls that need one of them wait until the commit.
 */
export async function lockAccounts(tx: Tx, ids: readonly bigint[]): Promise<void> {
  await tx
    .select({ id: ledgerAccounts.id })
    .from(ledgerAccounts)
    .where(inArray(ledgerAccounts.id, [...ids]))
    .orderBy(ledgerAccounts.id)
    .for('no key update');
}

/** A movement between two accounts outside a call. */
export type Transfer = {
  /** Makes it happen once: the same movement under the same UUID is done already. */
  uuid: string;
  kind: Exclude<JournalKind, 'settle' | 'refund' | 'expire'>;
  /** The account that pays; it cannot be overdrawn unless it is the funding account. */
  debit: bigint;
  credit: bigint;
  amountMicros: bigint;
  /** The UUID of what it is about: a call, a top-up, a payout. */
  subject?: string;
};

/**
 * Moves credits between two accounts. False means that it had happened before, exactly so. Throws when the
 * paying account has not enough, and when the UUID stands for another movement.
 */
export async function transfer(tx: Tx, movement: Transfer): Promise<boolean> {
  const { uuid, kind, debit, credit, amountMicros, subject } = movement;
  invariant(amountMicros > 0n, 'a movement moves something');
  const { rows } = await tx.execute<{ done: boolean }>(
    sql`SELECT ledger_transfer(${uuid}, ${kind}, ${debit}, ${credit}, ${amountMicros}, ${subject ?? null}::uuid) AS done`,
  );
  return rows[0]?.done === true;
}
