import { and, eq, isNull, sql } from 'drizzle-orm';
import type { Currency } from '../base/money.ts';
import { invariant } from '../base/invariant.ts';
import { uuidOfId } from '../base/ids.ts';
import type { Db, Tx } from '../db/db.ts';
import { ledgerAccounts, spendMeters } from './tables.ts';

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
  invariant(uuid !== undefined && grant.amountMicros > 0n, 'a grant has an id and a positive amount');
  // Whoever noted that this balance is nearly empty hears, at commit, that it no longer is.
  await tx.execute(sql`SELECT pg_notify('sentinel_changes', ${`credits:${balance}`})`);
  const { rows } = await tx.execute<{ done: boolean }>(
    sql`SELECT ledger_transfer(${uuid}, 'grant', ${funding}, ${balance}, ${grant.amountMicros}) AS done`,
  );
  return rows[0]?.done === true;
}

/** A meter for a key with caps; its counters start at nothing. */
export async function openMeter(
  tx: Tx,
  caps: { capDayMicros?: bigint; capMonthMicros?: bigint; capTotalMicros?: bigint },
): Promise<bigint> {
  const [meter] = await tx
    .insert(spendMeters)
    .values({
      capDay: caps.capDayMicros ?? null,
      capMonth: caps.capMonthMicros ?? null,
      capTotal: caps.capTotalMicros ?? null,
    })
    .returning({ id: spendMeters.id });
  invariant(meter, 'an inserted row is returned');
  return meter.id;
}

/** What a key with caps may spend and has spent or set aside; an absent cap does not limit. */
export type Meter = {
  capDayMicros?: bigint;
  capMonthMicros?: bigint;
  capTotalMicros?: bigint;
  usedDayMicros: bigint;
  usedMonthMicros: bigint;
  usedTotalMicros: bigint;
};

/** The meter as it stands at `now`. Days and months are UTC. */
export async function getMeter(db: Db | Tx, meterId: bigint, now: Date): Promise<Meter> {
  const [meter] = await db.select().from(spendMeters).where(eq(spendMeters.id, meterId));
  invariant(meter, 'a key names a meter that exists');
  const today = now.toISOString().slice(0, 10);
  // The counters belong to the day of the last hold; on a later one they begin anew.
  const isThisMonth = meter.day.slice(0, 7) === today.slice(0, 7);
  return {
    ...(meter.capDay === null ? {} : { capDayMicros: meter.capDay }),
    ...(meter.capMonth === null ? {} : { capMonthMicros: meter.capMonth }),
    ...(meter.capTotal === null ? {} : { capTotalMicros: meter.capTotal }),
    usedDayMicros: meter.day === today ? meter.usedDay : 0n,
    usedMonthMicros: isThisMonth ? meter.usedMonth : 0n,
    usedTotalMicros: meter.usedTotal,
  };
}
