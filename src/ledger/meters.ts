import { eq, inArray, or, sql } from 'drizzle-orm';
import { invariant } from '../base/invariant.ts';
import type { Currency } from '../base/money.ts';
import type { Db, Tx } from '../db/db.ts';
import { ledgerAccounts, ledgerJournal, spendMeters } from './tables.ts';

/** How much may be spent in a UTC day, a UTC month and ever; an absent cap does not limit. */
export type MeterCaps = { capDayMicros?: bigint; capMonthMicros?: bigint; capTotalMicros?: bigint };

/** What was spent or set aside today, this month and ever. */
export type Spent = { usedDayMicros: bigint; usedMonthMicros: bigint; usedTotalMicros: bigint };

/** What a key or a whole balance may spend, and has. */
export type Meter = MeterCaps & Spent;

/** A meter for something with caps. Its counters start at nothing, or at what was `spent` before as of `now`. */
export async function openMeter(
  tx: Tx,
  caps: MeterCaps,
  before?: { spent: Spent; now: Date },
): Promise<bigint> {
  const counters = before && {
    day: dayOf(before.now),
    usedDay: before.spent.usedDayMicros,
    usedMonth: before.spent.usedMonthMicros,
    usedTotal: before.spent.usedTotalMicros,
  };
  const [meter] = await tx
    .insert(spendMeters)
    .values({ ...columnsOf(caps), ...counters })
    .returning({ id: spendMeters.id });
  invariant(meter, 'an inserted row is returned');
  return meter.id;
}

/** Puts these caps in place of the meter's own. What is used stays; a cap below it refuses every further hold. */
export async function setMeterCaps(tx: Tx, meterId: bigint, caps: MeterCaps): Promise<void> {
  await tx.update(spendMeters).set(columnsOf(caps)).where(eq(spendMeters.id, meterId));
}

/** The meter as it stands at `now`. Days and months are UTC. */
export async function getMeter(db: Db | Tx, meterId: bigint, now: Date): Promise<Meter> {
  const meter = (await listMeters(db, [meterId], now)).get(meterId);
  invariant(meter, 'a key names a meter that exists');
  return meter;
}

export async function listMeters(
  db: Db | Tx,
  meterIds: readonly bigint[],
  now: Date,
): Promise<Map<bigint, Meter>> {
  if (meterIds.length === 0) return new Map();
  const rows = await db
    .select()
    .from(spendMeters)
    .where(inArray(spendMeters.id, [...meterIds]));
  return new Map(rows.map((row) => [row.id, meterAt(row, now)]));
}

/** The meter of everything spent from a balance, when it has a budget. */
export async function findBudgetMeter(db: Db | Tx, accountId: bigint): Promise<bigint | undefined> {
  const [account] = await db
    .select({ meterId: ledgerAccounts.meterId })
    .from(ledgerAccounts)
    .where(eq(ledgerAccounts.id, accountId));
  return account?.meterId ?? undefined;
}

/** Gives a balance a budget, or changes the one it has. `spent` counts where it had none. */
export async function setBudgetCaps(
  tx: Tx,
  accountId: bigint,
  caps: MeterCaps,
  spent: Spent,
  now: Date,
): Promise<void> {
  // The account before its meter, as every batch of the ledger does; and two who ask at once make one meter.
  const [account] = await tx
    .select({ meterId: ledgerAccounts.meterId })
    .from(ledgerAccounts)
    .where(eq(ledgerAccounts.id, accountId))
    .for('no key update');
  invariant(account, 'a budget is of an account that exists');
  if (account.meterId !== null) return setMeterCaps(tx, account.meterId, caps);
  const meterId = await openMeter(tx, caps, { spent, now });
  await tx.update(ledgerAccounts).set({ meterId }).where(eq(ledgerAccounts.id, accountId));
}

/**
 * What the journal says was spent from a balance, by one key or by all, in these times or ever. It locks nothing, and
 * calls that are under way are not in it.
 */
export async function sumSpent(
  db: Db | Tx,
  { accountId, keyId }: { accountId: bigint; keyId?: string },
  now: Date,
  times: { from?: string; before?: string } = {},
): Promise<Spent> {
  const { from, before } = times;
  const day = dayOf(now);
  const sumSince = (date: string) =>
    sql`coalesce(sum(amount) FILTER (WHERE created_at >= ${`${date}T00:00:00Z`}::timestamptz), 0)`;
  const { rows } = await db.execute<{ day: string; month: string; total: string }>(sql`
    SELECT ${sumSince(day)} AS day, ${sumSince(`${day.slice(0, 7)}-01`)} AS month, coalesce(sum(amount), 0) AS total
    FROM ${ledgerJournal}
    WHERE debit = ${accountId} AND kind = 'settle'${keyId === undefined ? sql`` : sql` AND key_id = ${keyId}`}
      ${before === undefined ? sql`` : sql` AND created_at < ${before}::timestamptz`}
      ${from === undefined ? sql`` : sql` AND created_at >= ${from}::timestamptz AND seq >= (SELECT ledger_first_seq(${accountId}, ${from}::timestamptz))`}`);
  const [row] = rows;
  invariant(row, 'an aggregate has a row');
  return {
    usedDayMicros: BigInt(row.day),
    usedMonthMicros: BigInt(row.month),
    usedTotalMicros: BigInt(row.total),
  };
}

/** A meter one of whose caps is used by half or more, and the balance it counts when it is a whole one's. */
export type PressedMeter = {
  id: bigint;
  meter: Meter;
  balanceOf: { organizationId: string; currency: Currency } | undefined;
};

/** A cap of nothing is a way to stop spending, and is never passed. */
export async function listPressedMeters(db: Db, now: Date): Promise<PressedMeter[]> {
  const today = dayOf(now);
  const { day, capDay, capMonth, capTotal, usedDay, usedMonth, usedTotal } = spendMeters;
  const rows = await db
    .select({ meter: spendMeters, account: ledgerAccounts })
    .from(spendMeters)
    .leftJoin(ledgerAccounts, eq(ledgerAccounts.meterId, spendMeters.id))
    .where(
      or(
        sql`${capTotal} > 0 AND ${usedTotal} * 2 >= ${capTotal}`,
        sql`${capMonth} > 0 AND ${usedMonth} * 2 >= ${capMonth} AND date_trunc('month', ${day}) = date_trunc('month', ${today}::date)`,
        sql`${capDay} > 0 AND ${usedDay} * 2 >= ${capDay} AND ${day} = ${today}`,
      ),
    );
  return rows.map(({ meter, account }) => ({
    id: meter.id,
    meter: meterAt(meter, now),
    balanceOf: ownerOf(account),
  }));
}

function ownerOf(account: typeof ledgerAccounts.$inferSelect | null): PressedMeter['balanceOf'] {
  if (!account || account.organizationId === null) return undefined;
  return { organizationId: account.organizationId, currency: account.currency };
}

function columnsOf(caps: MeterCaps): {
  capDay: bigint | null;
  capMonth: bigint | null;
  capTotal: bigint | null;
} {
  return {
    capDay: caps.capDayMicros ?? null,
    capMonth: caps.capMonthMicros ?? null,
    capTotal: caps.capTotalMicros ?? null,
  };
}

function meterAt(row: typeof spendMeters.$inferSelect, now: Date): Meter {
  const today = dayOf(now);
  // The counters belong to the day of the last hold; on a later one they begin anew.
  const isThisMonth = row.day.slice(0, 7) === today.slice(0, 7);
  return {
    ...(row.capDay === null ? {} : { capDayMicros: row.capDay }),
    ...(row.capMonth === null ? {} : { capMonthMicros: row.capMonth }),
    ...(row.capTotal === null ? {} : { capTotalMicros: row.capTotal }),
    usedDayMicros: row.day === today ? row.usedDay : 0n,
    usedMonthMicros: isThisMonth ? row.usedMonth : 0n,
    usedTotalMicros: row.usedTotal,
  };
}

/** The UTC day, as PostgreSQL writes a date. */
function dayOf(moment: Date): string {
  return moment.toISOString().slice(0, 10);
}
