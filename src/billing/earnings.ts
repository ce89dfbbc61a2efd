import { and, eq, gt, sql } from 'drizzle-orm';
import { newId, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import type { Currency } from '../base/money.ts';
import { readDatabaseClock } from '../db/database-clock.ts';
import type { Db, Tx } from '../db/db.ts';
import { lockAccounts, openAccount, transfer } from '../ledger/accounts.ts';
import { ledgerAccounts, ledgerJournal } from '../ledger/tables.ts';
import type { BillingDeps } from './deps.ts';
import { disputableUntil, DISPUTE_WINDOW_MS } from './dispute-window.ts';
import { earningReleases, payouts } from './tables.ts';

type EarningsAccount = { id: bigint; organizationId: string | null; currency: Currency };

/**
 * Moves what can no longer be disputed from every seller's `earnings` to its `payable` account. How far it came
 * is written in the same transaction as the movement, so any number of workers may run it, and be killed in it.
 * One seller whose books contradict themselves is logged and does not keep the others waiting.
 */
export async function releaseEarnings(
  deps: Pick<BillingDeps, 'db' | 'log'>,
): Promise<{ sellers: number; releasedMicros: bigint }> {
  const { db, log } = deps;
  const through = new Date((await readDatabaseClock(db)).getTime() - DISPUTE_WINDOW_MS);
  const accounts = await db
    .select({
      id: ledgerAccounts.id,
      organizationId: ledgerAccounts.organizationId,
      currency: ledgerAccounts.currency,
    })
    .from(ledgerAccounts)
    .where(and(eq(ledgerAccounts.kind, 'earnings'), gt(ledgerAccounts.posted, 0n)))
    .orderBy(ledgerAccounts.id);
  let sellers = 0;
  let releasedMicros = 0n;
  for (const account of accounts) {
    try {
      const released = await db.transaction((tx) => releaseThrough(tx, account, through));
      releasedMicros += released;
      if (released > 0n) sellers += 1;
    } catch (error) {
      log('error', 'the earnings of a seller could not be released', {
        organization: account.organizationId,
        currency: account.currency,
        error: String(error),
      });
    }
  }
  return { sellers, releasedMicros };
}

/** One journal row, or none when there is nothing to release. */
async function releaseThrough(tx: Tx, account: EarningsAccount, through: Date): Promise<bigint> {
  const from = await lockRelease(tx, account.id);
  if (from >= through) return 0n;
  const payable = await openAccount(tx, account.organizationId, account.currency, 'payable');
  // So long ago that nothing is added any more: it is summed before the lock that settling calls wait for.
  const settled = await sumSettled(tx, account.id, from, through);
  await lockAccounts(tx, [account.id, payable]);
  const amountMicros = settled - (await sumSetAside(tx, account.id, from, through));
  invariant(amountMicros >= 0n, 'no more is set aside for a call than the seller got for it');
  if (amountMicros > 0n) {
    const uuid = uuidOfId('txn', newId('txn'));
    invariant(uuid !== undefined, 'a new id is one of its kind');
    await transfer(tx, { uuid, kind: 'release', debit: account.id, credit: payable, amountMicros });
  }
  await tx
    .update(earningReleases)
    .set({ releasedThrough: through })
    .where(eq(earningReleases.accountId, account.id));
  return amountMicros;
}

/** How far it had come, and the lock that makes two workers come one after the other. */
async function lockRelease(tx: Tx, accountId: bigint): Promise<Date> {
  await tx
    .insert(earningReleases)
    .values({ accountId, releasedThrough: new Date(0) })
    .onConflictDoNothing();
  const [release] = await tx
    .select()
    .from(earningReleases)
    .where(eq(earningReleases.accountId, accountId))
    .for('update');
  invariant(release, 'a row that was just made exists');
  return release.releasedThrough;
}

async function sumSettled(tx: Tx, accountId: bigint, after: Date, through: Date): Promise<bigint> {
  const { rows } = await tx.execute<{ sum: string }>(
    sql`SELECT coalesce(sum(amount - fee), 0)::bigint AS sum FROM ${ledgerJournal}
    WHERE credit = ${accountId} AND kind = 'settle' AND created_at > ${after.toISOString()} AND created_at <= ${through.toISOString()}`,
  );
  return BigInt(rows[0]?.sum ?? 0);
}

/** What disputes took out of the earnings and did not bring back, of the calls that were settled then. */
async function sumSetAside(tx: Tx, accountId: bigint, after: Date, through: Date): Promise<bigint> {
  const { rows } = await tx.execute<{ sum: string }>(
    sql`SELECT coalesce(sum(CASE d.kind WHEN 'dispute' THEN d.amount ELSE -d.amount END), 0)::bigint AS sum
    FROM ${ledgerJournal} d JOIN ${ledgerJournal} s ON s.id = d.subject
    WHERE (d.debit = ${accountId} AND d.kind = 'dispute' OR d.credit = ${accountId} AND d.kind = 'dispute_rejected')
      AND s.created_at > ${after.toISOString()} AND s.created_at <= ${through.toISOString()}`,
  );
  return BigInt(rows[0]?.sum ?? 0);
}

/** What a seller made in one currency, at one moment. Lifetime = available + pending + in dispute + paid out. */
export type Earnings = {
  /** May be paid out now. */
  availableMicros: bigint;
  /** Buyers may still dispute it. */
  pendingMicros: bigint;
  /** Set aside for open disputes. */
  inDisputeMicros: bigint;
  /** Left for the seller's bank, what is on its way included and what came back not. */
  paidOutMicros: bigint;
  /** Went back to buyers. */
  reversedMicros: bigint;
  /** All proceeds there ever were, less what was reversed. */
  lifetimeMicros: bigint;
  /** When the oldest of what is pending becomes available. */
  nextReleaseAt: Date | undefined;
};

/**
 * The lifetime is a sum of balances and not one over the journal, so it costs the same for a seller of ten calls
 * and of ten million. One statement, so that nothing is counted twice or missed while it moves.
 */
export async function getEarnings(db: Db, organizationId: string, currency: Currency): Promise<Earnings> {
  const { rows } = await db.execute<{
    available: string;
    pending: string;
    in_dispute: string;
    paid_out: string;
    reversed: string;
    oldest: string | null;
  }>(sql`
    WITH own AS (
      SELECT id, kind, posted FROM ${ledgerAccounts}
      WHERE organization_id = ${organizationId} AND currency = ${currency}
    )
    SELECT
      coalesce((SELECT posted FROM own WHERE kind = 'payable'), 0)::bigint AS available,
      coalesce((SELECT posted FROM own WHERE kind = 'earnings'), 0)::bigint AS pending,
      coalesce((SELECT posted FROM own WHERE kind = 'disputed'), 0)::bigint AS in_dispute,
      (SELECT coalesce(sum(amount_micros - returned_micros), 0)::bigint FROM ${payouts}
        WHERE organization_id = ${organizationId} AND currency = ${currency}) AS paid_out,
      (SELECT coalesce(sum(j.amount), 0)::bigint FROM ${ledgerJournal} j
        WHERE j.debit = (SELECT id FROM own WHERE kind = 'disputed') AND j.kind = 'reversal') AS reversed,
      -- The first by number, which is the first by time to a moment, so that the rest need not be read.
      (SELECT j.created_at FROM own e
        LEFT JOIN ${earningReleases} r ON r.account_id = e.id
        CROSS JOIN LATERAL (SELECT coalesce(r.released_through, '-infinity') AS at) released
        CROSS JOIN LATERAL (SELECT ledger_first_seq(e.id, released.at) AS seq OFFSET 0) first
        CROSS JOIN LATERAL (
          SELECT j.created_at FROM ${ledgerJournal} j
          WHERE j.credit = e.id AND j.seq >= first.seq AND j.kind = 'settle' AND j.created_at > released.at
            AND j.amount - j.fee > coalesce((SELECT sum(CASE d.kind WHEN 'dispute' THEN d.amount ELSE -d.amount END)
              FROM ${ledgerJournal} d WHERE d.subject = j.id
                AND (d.kind = 'dispute' OR d.kind = 'dispute_rejected' AND d.credit = j.credit)), 0)
          ORDER BY j.seq LIMIT 1) j
        WHERE e.kind = 'earnings' AND e.posted > 0) AS oldest`);
  const [row] = rows;
  invariant(row, 'a SELECT without FROM has one row');
  const [available, pending, inDispute, paidOut] = [row.available, row.pending, row.in_dispute, row.paid_out];
  return {
    availableMicros: BigInt(available),
    pendingMicros: BigInt(pending),
    inDisputeMicros: BigInt(inDispute),
    paidOutMicros: BigInt(paidOut),
    reversedMicros: BigInt(row.reversed),
    lifetimeMicros: BigInt(available) + BigInt(pending) + BigInt(inDispute) + BigInt(paidOut),
    nextReleaseAt: row.oldest === null ? undefined : disputableUntil(new Date(row.oldest)),
  };
}
