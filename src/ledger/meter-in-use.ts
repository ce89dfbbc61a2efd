import { setTimeout as wait } from 'node:timers/promises';
import { and, eq, sql, type SQL } from 'drizzle-orm';
import { invariant } from '../base/invariant.ts';
import type { Db, Tx } from '../db/db.ts';
import { sumSpent, type Spent } from './meters.ts';
import { ledgerHolds, ledgerJournal, spendMeters } from './tables.ts';

/** Whose calls a meter counts: those of one key, or all of a balance. */
export type Spender = { accountId: bigint; keyId?: string };

/** What was spent up to a moment that is long enough ago for every call of before to be in the journal. */
export type SpentBefore = { spent: Spent; until: string };

/** Far above the 3 s in which a batch of the ledger is done or undone, and little to read under a lock. */
const SETTLED_WITHIN = sql`interval '1 minute'`;

/**
 * The long part of what a new meter begins with. Read before the account is locked: it is the whole history, and every
 * call of the balance waits for that lock.
 */
export async function sumSpentBefore(db: Db, spender: Spender, now: Date): Promise<SpentBefore> {
  const { rows } = await db.execute<{ until: string }>(
    sql`SELECT (clock_timestamp() - ${SETTLED_WITHIN})::text AS until`,
  );
  const until = rows[0]?.until;
  invariant(until !== undefined, 'a SELECT without FROM has one row');
  return { spent: await sumSpent(db, spender, now, { before: until }), until };
}

/** All that was spent. The account is locked, so no call of it is settled meanwhile. */
export async function sumSpentNow(tx: Tx, spender: Spender, now: Date, before: SpentBefore): Promise<Spent> {
  const since = await sumSpent(tx, spender, now, { from: before.until });
  return {
    usedDayMicros: before.spent.usedDayMicros + since.usedDayMicros,
    usedMonthMicros: before.spent.usedMonthMicros + since.usedMonthMicros,
    usedTotalMicros: before.spent.usedTotalMicros + since.usedTotalMicros,
  };
}

/** Calls that a new meter counts by what they held, while the ledger was about to settle them or give them back. */
export type EndingCalls = {
  meterId: bigint;
  of: 'key' | 'balance';
  /** The UTC day they are counted under. */
  day: string;
  callUuids: string[];
};

/**
 * Counts what calls of before hold on a meter that was just opened, as if it had been there when they were placed:
 * it gets back what they do not cost. The account is locked, so no call is placed or ends meanwhile; but some may be on
 * their way through a batch that has taken their holds and waits for the account. Waiting for those here would be
 * waiting for who waits for us. They are counted too, and what they give back passes the meter by: `giveBackEnded`
 * makes up for it after the commit.
 */
export async function countOpenHolds(
  tx: Tx,
  { accountId, keyId }: Spender,
  meterId: bigint,
): Promise<EndingCalls> {
  const of = keyId === undefined ? 'balance' : 'key';
  const open = await tx
    .select({ id: ledgerHolds.id, amount: ledgerHolds.amount })
    .from(ledgerHolds)
    .where(
      and(
        eq(ledgerHolds.buyer, accountId),
        keyId === undefined ? undefined : eq(ledgerHolds.keyId, keyId),
        sql`${meterId} <> ALL (coalesce(${ledgerHolds.meters}, '{}'))`,
      ),
    );
  const held = open.reduce((sum, { amount }) => sum + amount, 0n);
  const [meter] = await tx
    .update(spendMeters)
    .set({
      usedDay: sql`${spendMeters.usedDay} + ${held}`,
      usedMonth: sql`${spendMeters.usedMonth} + ${held}`,
      usedTotal: sql`${spendMeters.usedTotal} + ${held}`,
      // Every call of a balance is counted now. One of a key may still be placed by a process that has not heard of it.
      ...(of === 'balance' ? { openedAt: null } : {}),
    })
    .where(eq(spendMeters.id, meterId))
    .returning({ day: spendMeters.day });
  invariant(meter, 'a meter that was just opened exists');
  const counted = { meterId, of, day: meter.day, callUuids: open.map(({ id }) => id) } as const;
  const marked = await markHolds(tx, counted);
  return { ...counted, callUuids: counted.callUuids.filter((id) => !marked.has(id)) };
}

/** How long calls whose batch was under way are waited for. After that they stay counted by what they held. */
const ENDING_MS = 10_000;
const LOOK_AGAIN_MS = 20;

/** Gives back to the meter what calls that were ending did not cost. Never counts less than was spent. */
export async function giveBackEnded(db: Db, ending: EndingCalls): Promise<void> {
  let { callUuids } = ending;
  for (let waitedMs = 0; callUuids.length > 0 && waitedMs < ENDING_MS; waitedMs += LOOK_AGAIN_MS) {
    if (waitedMs > 0) await wait(LOOK_AGAIN_MS);
    const left = callUuids;
    callUuids = await db.transaction((tx) => giveBack(tx, { ...ending, callUuids: left }));
  }
}

/** Answers the calls of which it is still to be seen how they end. */
async function giveBack(tx: Tx, ending: EndingCalls): Promise<string[]> {
  const { meterId, day, callUuids } = ending;
  const ended = await tx
    .select({ id: ledgerJournal.id, held: ledgerJournal.held, charged: ledgerJournal.amount })
    .from(ledgerJournal)
    .where(isOneOfUuids(ledgerJournal.id, callUuids));
  const unspent = ended.reduce((sum, { held, charged }) => sum + held - charged, 0n);
  const { day: onDay, usedDay, usedMonth, usedTotal } = spendMeters;
  const isSameMonth = sql`date_trunc('month', ${onDay}) = date_trunc('month', ${day}::date)`;
  await tx
    .update(spendMeters)
    .set({
      usedDay: sql`${usedDay} - CASE WHEN ${onDay} = ${day}::date THEN ${unspent}::bigint ELSE 0 END`,
      usedMonth: sql`${usedMonth} - CASE WHEN ${isSameMonth} THEN ${unspent}::bigint ELSE 0 END`,
      usedTotal: sql`${usedTotal} - ${unspent}`,
    })
    .where(eq(spendMeters.id, meterId));
  const done = new Set(ended.map(({ id }) => id));
  const rest = callUuids.filter((id) => !done.has(id));
  // A batch that was undone has left its holds as they were.
  const marked = await markHolds(tx, { ...ending, callUuids: rest });
  return rest.filter((id) => !marked.has(id));
}

/** Those of the holds that are not just being resolved give back to the meter by themselves; answers which. */
async function markHolds(tx: Tx, { meterId, of, day, callUuids }: EndingCalls): Promise<Set<string>> {
  if (callUuids.length === 0) return new Set();
  const free = await tx
    .select({ id: ledgerHolds.id })
    .from(ledgerHolds)
    .where(isOneOfUuids(ledgerHolds.id, callUuids))
    .orderBy(ledgerHolds.id)
    .for('update', { skipLocked: true });
  const ids = free.map(({ id }) => id);
  const { meters, countedOn } = ledgerHolds;
  // The meter of a whole balance is the last of a hold's.
  const counted =
    of === 'key'
      ? {
          meters: sql`array_prepend(${meterId}::bigint, ${meters})`,
          countedOn: sql`array_prepend(${day}::date, ${countedOn})`,
        }
      : {
          meters: sql`array_append(${meters}, ${meterId}::bigint)`,
          countedOn: sql`array_append(${countedOn}, ${day}::date)`,
        };
  await tx.update(ledgerHolds).set(counted).where(isOneOfUuids(ledgerHolds.id, ids));
  return new Set(ids);
}

/** However many there are: as one parameter. */
function isOneOfUuids(column: typeof ledgerHolds.id | typeof ledgerJournal.id, uuids: string[]): SQL {
  return sql`${column} = ANY (${sql.param(uuids)}::uuid[])`;
}
