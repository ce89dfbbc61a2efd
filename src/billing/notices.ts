import { and, eq, inArray, isNotNull, isNull, sql } from 'drizzle-orm';
import { insertEvent } from '../audit/events.ts';
import type { Log } from '../base/log.ts';
import { formatCredits, type Currency } from '../base/money.ts';
import { databaseNow, readDatabaseClock } from '../db/database-clock.ts';
import type { Db } from '../db/db.ts';
import { isOneOf } from '../db/is-one-of.ts';
import { listKeysOfMeters } from '../identity/keys.ts';
import { listPressedMeters, type Meter } from '../ledger/meters.ts';
import { ledgerAccounts } from '../ledger/tables.ts';
import { balanceAlerts, budgetNotices } from './tables.ts';

export type NoticeDeps = { db: Db; log: Log };

const PERCENTS = [50, 80, 100] as const;
/** What was told is remembered for so long, once something new is told. */
const KEPT_DAYS = 40;

/**
 * Tells organizations that half, most or all of a spending cap is used, once in each window, and that a balance
 * is low, once until it is not. Any number of processes may do it at once: what is told is written down in the
 * transaction that tells it.
 */
export async function tellThresholds({ db, log }: NoticeDeps): Promise<{ told: number }> {
  const now = await readDatabaseClock(db);
  let told = 0;
  for (const notice of await findBudgetNotices(db, now)) if (await tellBudget(db, notice)) told += 1;
  for (const alert of await findLowBalances(db)) if (await tellBalance(db, alert)) told += 1;
  await forgetRecovered(db);
  if (told > 0) log('info', 'spending thresholds were told', { count: told });
  return { told };
}

type Window = (typeof budgetNotices.$inferSelect)['window'];

type BudgetNotice = {
  organizationId: string;
  currency: Currency;
  /** Undefined: the cap is of everything spent from the balance. */
  keyId: string | undefined;
  meterId: bigint;
  window: Window;
  startsOn: string;
  percent: number;
  capMicros: bigint;
  usedMicros: bigint;
};

/** Every threshold that is passed and was not told. */
async function findBudgetNotices(db: Db, now: Date): Promise<BudgetNotice[]> {
  const meters = await listPressedMeters(db, now);
  const ids = meters.map(({ id }) => id);
  const keys = new Map((await listKeysOfMeters(db, ids)).map((key) => [key.meterId, key]));
  const told = await db
    .select()
    .from(budgetNotices)
    .where(
      and(isOneOf(budgetNotices.meterId, ids), inArray(budgetNotices.startsOn, Object.values(startsAt(now)))),
    );
  const known = new Set(told.map(nameOf));

  return meters.flatMap(({ id, meter, balanceOf }) => {
    const key = keys.get(id);
    const owner = balanceOf ?? key;
    // The meter of a revoked key: nothing more is spent on it.
    if (!owner) return [];
    const { organizationId, currency } = owner;
    return thresholdsPassed(meter, now)
      .map((passed) => ({ ...passed, organizationId, currency, meterId: id, keyId: key?.id }))
      .filter((notice) => !known.has(nameOf(notice)));
  });
}

type Passed = Pick<BudgetNotice, 'window' | 'startsOn' | 'percent' | 'capMicros' | 'usedMicros'>;

/** Which shares of which caps are used at `now`. */
export function thresholdsPassed(meter: Meter, now: Date): Passed[] {
  const startsOn = startsAt(now);
  const windows: [Window, bigint | undefined, bigint][] = [
    ['day', meter.capDayMicros, meter.usedDayMicros],
    ['month', meter.capMonthMicros, meter.usedMonthMicros],
    ['total', meter.capTotalMicros, meter.usedTotalMicros],
  ];
  return windows.flatMap(([window, capMicros, usedMicros]) => {
    // A cap of nothing is a way to stop spending: there is no share of it to pass.
    if (capMicros === undefined || capMicros === 0n) return [];
    return PERCENTS.filter((percent) => usedMicros * 100n >= capMicros * BigInt(percent)).map((percent) => ({
      window,
      startsOn: startsOn[window],
      percent,
      capMicros,
      usedMicros,
    }));
  });
}

/** The day each window began that `now` is in. */
function startsAt(now: Date): Record<Window, string> {
  const day = now.toISOString().slice(0, 10);
  return { day, month: `${day.slice(0, 7)}-01`, total: '1970-01-01' };
}

function nameOf(notice: {
  meterId: bigint;
  window: Window;
  startsOn: string;
  percent: number;
  capMicros: bigint;
}): string {
  return [notice.meterId, notice.window, notice.startsOn, notice.percent, notice.capMicros].join(' ');
}

async function tellBudget(db: Db, notice: BudgetNotice): Promise<boolean> {
  const { organizationId, currency, keyId, meterId, window, startsOn, percent, capMicros, usedMicros } =
    notice;
  return db.transaction(async (tx) => {
    const { rowCount } = await tx
      .insert(budgetNotices)
      .values({ meterId, window, startsOn, percent, capMicros })
      .onConflictDoNothing();
    if (rowCount !== 1) return false;
    // Those windows are over.
    await tx
      .delete(budgetNotices)
      .where(
        and(
          eq(budgetNotices.meterId, meterId),
          eq(budgetNotices.window, window),
          sql`${budgetNotices.startsOn} < ${startsOn}::date - ${KEPT_DAYS}::int`,
        ),
      );
    await insertEvent(tx, {
      organizationId,
      currency,
      type: 'budget.threshold',
      data: {
        of: keyId === undefined ? 'organization' : 'key',
        key_id: keyId ?? null,
        window,
        starts_on: window === 'total' ? null : startsOn,
        percent,
        cap: formatCredits(capMicros),
        used: formatCredits(usedMicros),
      },
    });
    return true;
  });
}

type LowBalance = {
  organizationId: string;
  currency: Currency;
  thresholdMicros: bigint;
  availableMicros: bigint;
};

/** What can be spent; an organization that never had credits has no account yet. */
const AVAILABLE = sql`coalesce(${ledgerAccounts.posted} - ${ledgerAccounts.held}, 0)`;
const OF_ALERT = and(
  eq(ledgerAccounts.organizationId, balanceAlerts.organizationId),
  eq(ledgerAccounts.currency, balanceAlerts.currency),
  eq(ledgerAccounts.kind, 'balance'),
);

async function findLowBalances(db: Db): Promise<LowBalance[]> {
  const rows = await db
    .select({ alert: balanceAlerts, available: sql<string>`${AVAILABLE}` })
    .from(balanceAlerts)
    .leftJoin(ledgerAccounts, OF_ALERT)
    .where(and(isNull(balanceAlerts.toldAt), sql`${AVAILABLE} < ${balanceAlerts.thresholdMicros}`));
  return rows.map(({ alert, available }) => ({ ...alert, availableMicros: BigInt(available) }));
}

async function tellBalance(db: Db, low: LowBalance): Promise<boolean> {
  const { organizationId, currency, thresholdMicros, availableMicros } = low;
  return db.transaction(async (tx) => {
    const { rowCount } = await tx
      .update(balanceAlerts)
      .set({ toldAt: databaseNow })
      .where(
        and(
          eq(balanceAlerts.organizationId, organizationId),
          eq(balanceAlerts.currency, currency),
          eq(balanceAlerts.thresholdMicros, thresholdMicros),
          isNull(balanceAlerts.toldAt),
        ),
      );
    if (rowCount !== 1) return false;
    await insertEvent(tx, {
      organizationId,
      currency,
      type: 'balance.low',
      data: {
        balance: formatCredits(availableMicros),
        balance_below: formatCredits(thresholdMicros),
      },
    });
    return true;
  });
}

/** A balance that is above its threshold again is told of the next time it falls. */
async function forgetRecovered(db: Db): Promise<void> {
  await db.transaction(async (tx) => {
    await tx
      .update(balanceAlerts)
      .set({ toldAt: null })
      .from(ledgerAccounts)
      .where(
        and(isNotNull(balanceAlerts.toldAt), OF_ALERT, sql`${AVAILABLE} >= ${balanceAlerts.thresholdMicros}`),
      );
  });
}
