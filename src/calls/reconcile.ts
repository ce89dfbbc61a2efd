import { sql } from 'drizzle-orm';
import { RECEIPT_COMPARISONS, receiptMember } from '../audit/reconcile.ts';
import type { Difference } from '../base/difference.ts';
import type { Log } from '../base/log.ts';
import { compareOnSnapshot, type Comparison } from '../db/compare.ts';
import type { Db } from '../db/db.ts';
import { credits, LEDGER_COMPARISONS, publicId } from '../ledger/reconcile.ts';

/** Records are written after the answer, and by recovery where a process died in between. */
const RECORDED_WITHIN_MS = 5 * 60_000;

// A meter counts a call at its hold, if there is a meter by then, and a new one begins with what was settled and held so
// far. A key's call may be placed in between by a process that has not heard of its meter. Ids begin with the call's milliseconds.
const wasUnderWay = sql`j.created_at > m.opened_at - interval '5 minutes'
  AND to_timestamp(('x' || substr(replace(j.id::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0) < m.opened_at + interval '1 minute'`;
const most = sql`coalesce(h.held, 0) + coalesce(s.settled, 0)`;
const least = sql`${most} - coalesce(s.uncounted, 0)`;
const isOutsideRange = sql`m.used_total NOT BETWEEN ${least} AND ${most}`;
const amountRange = sql`CASE WHEN coalesce(s.uncounted, 0) = 0 THEN ${credits(most)}
  ELSE ${credits(least)} || ' to ' || ${credits(most)} END`;

const callOfJournal = publicId('call', sql`j.id`);

/** What must be true of ledger, calls, receipts and keys together. */
const CALL_COMPARISONS: readonly Comparison[] = [
  {
    what: 'missing call record',
    differences: (now) => sql`
      SELECT ${callOfJournal}, 'a record of the call', 'none; the journal says ' || j.kind
      FROM ledger_journal j
      WHERE j.kind IN ('settle', 'refund', 'expire')
        AND j.created_at < ${new Date(now.getTime() - RECORDED_WITHIN_MS).toISOString()}::timestamptz
        AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.id = j.id)`,
  },
  {
    // A buyer who was refused while the ledger was slow had a hold all the same, for a moment.
    what: 'call record',
    differences: () => sql`
      SELECT ${callOfJournal},
        concat_ws(' ', j.kind, 'held', ${credits(sql`j.held`)}, 'charged', ${credits(sql`j.amount`)}, 'fee', ${credits(sql`j.fee`)}),
        concat_ws(' ', c.outcome, 'held', ${credits(sql`c.held_micros`)}, 'charged', ${credits(sql`c.charged_micros`)}, 'fee', ${credits(sql`c.fee_micros`)})
      FROM ledger_journal j JOIN calls c ON c.id = j.id
      WHERE j.kind IN ('settle', 'refund', 'expire') AND (
        c.charged_micros <> j.amount OR c.fee_micros <> j.fee
        OR (c.held_micros <> j.held AND c.outcome <> 'refused')
        OR c.outcome <> ALL (CASE j.kind WHEN 'settle' THEN ARRAY['settled'] ELSE ARRAY['refunded', 'refused'] END))`,
  },
  {
    what: 'call owner',
    differences: () => sql`
      SELECT ${callOfJournal}, concat_ws(' ', a.organization_id, a.currency), concat_ws(' ', c.organization_id, c.currency)
      FROM ledger_journal j JOIN calls c ON c.id = j.id JOIN ledger_accounts a ON a.id = j.debit
      WHERE c.organization_id <> a.organization_id OR c.currency <> a.currency`,
  },
  {
    what: 'call without movement',
    differences: () => sql`
      SELECT ${publicId('call', sql`c.id`)}, 'a journal row', 'none; the record says ' || c.outcome
      FROM calls c
      WHERE c.outcome IN ('settled', 'refunded') AND NOT EXISTS (SELECT 1 FROM ledger_journal j WHERE j.id = c.id)`,
  },
  {
    what: 'missing receipt',
    differences: () => sql`
      SELECT ${callOfJournal}, 'a receipt', 'none; the journal says ' || j.kind
      FROM ledger_journal j LEFT JOIN calls c ON c.id = j.id
      WHERE j.kind IN ('settle', 'refund', 'expire')
        AND (j.kind <> 'refund' OR c.outcome = 'refunded')
        AND j.id > (SELECT call_id FROM receipts ORDER BY call_id LIMIT 1)
        AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.call_id = j.id)`,
  },
  {
    what: 'receipt',
    differences: () => sql`
      SELECT ${publicId('call', sql`w.call_id`)}, coalesce(b.said, 'no movement'), w.said
      FROM (
        SELECT call_id, account_id::text || ' ' || ${receiptMember('call_id')} AS place, concat_ws(' ', ${receiptMember('organization_id')},
          ${receiptMember('currency')}, ${receiptMember('outcome')}, 'held', ${receiptMember('held')}, 'charged', ${receiptMember('charged')},
          'fee', ${receiptMember('fee')}) AS said
        FROM receipts
      ) w
      LEFT JOIN (
        SELECT j.id, a.id::text || ' ' || ${callOfJournal} AS place, concat_ws(' ', a.organization_id, a.currency,
          CASE j.kind WHEN 'settle' THEN 'settled' ELSE 'refunded' END, 'held', ${credits(sql`j.held`)},
          'charged', ${credits(sql`j.amount`)}, 'fee', ${credits(sql`j.fee`)}) AS said
        FROM ledger_journal j JOIN ledger_accounts a ON a.id = j.debit
      ) b ON b.id = w.call_id
      WHERE (w.said, w.place) IS DISTINCT FROM (b.said, b.place)`,
  },
  {
    what: 'hold of an ended call',
    differences: () => sql`
      SELECT ${publicId('call', sql`h.id`)}, 'no hold', ${credits(sql`h.amount`)} || ' on hold; the record says ' || c.outcome
      FROM ledger_holds h JOIN calls c ON c.id = h.id WHERE c.outcome IN ('settled', 'refunded')`,
  },
  {
    what: "key's meter",
    differences: () => sql`
      SELECT k.id, ${amountRange}, ${credits(sql`m.used_total`)}
      FROM api_keys k JOIN spend_meters m ON m.id = k.meter_id
      LEFT JOIN (SELECT unnest(meters) AS meter, sum(amount) AS held FROM ledger_holds GROUP BY 1) h ON h.meter = m.id
      LEFT JOIN (
        SELECT k.id, sum(j.amount) AS settled,
          sum(j.amount) FILTER (WHERE k.created_at < m.opened_at AND ${wasUnderWay}) AS uncounted
        FROM api_keys k JOIN spend_meters m ON m.id = k.meter_id
        JOIN ledger_journal j ON j.debit = k.account_id AND j.key_id = k.id AND j.kind = 'settle'
        GROUP BY k.id
      ) s ON s.id = k.id
      WHERE ${isOutsideRange}`,
  },
  {
    what: "organization's meter",
    differences: () => sql`
      SELECT a.organization_id || ' ' || a.currency, ${amountRange}, ${credits(sql`m.used_total`)}
      FROM ledger_accounts a JOIN spend_meters m ON m.id = a.meter_id
      LEFT JOIN (SELECT unnest(meters) AS meter, sum(amount) AS held FROM ledger_holds GROUP BY 1) h ON h.meter = m.id
      LEFT JOIN (
        SELECT a.id, sum(j.amount) AS settled, sum(j.amount) FILTER (WHERE ${wasUnderWay}) AS uncounted
        FROM ledger_accounts a JOIN spend_meters m ON m.id = a.meter_id
        JOIN ledger_journal j ON j.debit = a.id AND j.kind = 'settle'
        GROUP BY a.id
      ) s ON s.id = a.id
      WHERE ${isOutsideRange}`,
  },
];

/** A comparison with books that are not in our database, so not on its snapshot. */
export type OutsideComparison = {
  what: string;
  /** Undefined: those books are not ours to see here, because nothing of the kind is configured. */
  compare: (() => Promise<Difference[]>) | undefined;
};

export type Reconciliation = {
  checkedAt: Date;
  /** Every comparison that was made, and how many differences it found. */
  comparisons: { what: string; count: number }[];
  /** Every one that was not made. */
  notCompared: { what: string; why: 'not configured' | 'failed' }[];
  /** All differences that were found. */
  count: number;
  /** The differences themselves, at most `limit` of each comparison. */
  differences: Difference[];
};

/** Compares all books with each other; `limit` bounds the differences named for each comparison. */
export type Reconcile = (limit: number) => Promise<Reconciliation>;

/**
 * Our own books on one snapshot, so that a gateway at work is no difference; then those of others. One that
 * cannot be asked is logged and said not to be compared.
 */
export async function reconcile(
  deps: { db: Db; now: Date; outside: readonly OutsideComparison[]; log: Log },
  limit: number,
): Promise<Reconciliation> {
  const { db, now, outside, log } = deps;
  const compared = await compareOnSnapshot(db, COMPARISONS, { now, limit });
  const notCompared: Reconciliation['notCompared'] = [];
  for (const { what, compare } of outside) {
    if (!compare) {
      notCompared.push({ what, why: 'not configured' });
      continue;
    }
    try {
      const differences = await compare();
      compared.push({ what, count: differences.length, differences: differences.slice(0, limit) });
    } catch (error) {
      log('error', 'books could not be compared', { books: what, error: String(error) });
      notCompared.push({ what, why: 'failed' });
    }
  }
  return {
    checkedAt: now,
    comparisons: compared.map(({ what, count }) => ({ what, count })),
    notCompared,
    count: compared.reduce((sum, { count }) => sum + count, 0),
    differences: compared.flatMap(({ differences }) => differences),
  };
}

const COMPARISONS = [...LEDGER_COMPARISONS, ...RECEIPT_COMPARISONS, ...CALL_COMPARISONS];
