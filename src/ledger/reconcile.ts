import { sql, type SQL } from 'drizzle-orm';
import type { Comparison } from '../db/compare.ts';

/** A hold past its expiry is swept within seconds while any gateway runs. */
const SWEPT_WITHIN_MS = 10 * 60_000;

/** Micro-credits as people read them. */
export function credits(micros: SQL): SQL {
  return sql`trim_scale((${micros})::numeric / 1000000)::text`;
}

/** The id a UUID stands for, as it leaves the house. */
export function publicId(prefix: string, uuid: SQL): SQL {
  return sql`${sql.raw(`'${prefix}_'`)} || replace((${uuid})::text, '-', '')`;
}

const journalId = sql`CASE WHEN j.kind IN ('settle', 'refund', 'expire') THEN ${publicId('call', sql`j.id`)}
  ELSE ${publicId('txn', sql`j.id`)} END`;

/** What must be true of the ledger by itself. */
export const LEDGER_COMPARISONS: readonly Comparison[] = [
  {
    what: 'journal total',
    differences: () => sql`
      SELECT a.currency, '0', ${credits(sql`sum(e.amount)`)}
      FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account
      GROUP BY a.currency HAVING sum(e.amount) <> 0`,
  },
  {
    what: 'balance total',
    differences: () => sql`
      SELECT currency, '0', ${credits(sql`sum(posted)`)}
      FROM ledger_accounts GROUP BY currency HAVING sum(posted) <> 0`,
  },
  {
    what: 'account balance',
    differences: () => sql`
      SELECT a.id::text, ${credits(sql`coalesce(e.amount, 0)`)}, ${credits(sql`a.posted`)}
      FROM ledger_accounts a
      LEFT JOIN (SELECT account, sum(amount) AS amount FROM ledger_entries GROUP BY account) e ON e.account = a.id
      WHERE a.posted <> coalesce(e.amount, 0)`,
  },
  {
    what: 'account on hold',
    differences: () => sql`
      SELECT a.id::text, ${credits(sql`coalesce(h.amount, 0)`)}, ${credits(sql`a.held`)}
      FROM ledger_accounts a
      LEFT JOIN (SELECT buyer, sum(amount) AS amount FROM ledger_holds GROUP BY buyer) h ON h.buyer = a.id
      WHERE a.held <> coalesce(h.amount, 0)`,
  },
  {
    what: 'journal account',
    differences: () => sql`
      SELECT ${journalId}, 'accounts that exist', 'none with id ' || e.account
      FROM ledger_entries e JOIN ledger_journal j ON j.id = e.id
      WHERE NOT EXISTS (SELECT 1 FROM ledger_accounts a WHERE a.id = e.account)`,
  },
  {
    what: 'hold account',
    differences: () => sql`
      SELECT ${publicId('call', sql`h.id`)}, 'accounts that exist', 'none with id ' || w.account
      FROM ledger_holds h CROSS JOIN LATERAL (VALUES (h.buyer), (h.seller), (h.fees)) AS w (account)
      WHERE NOT EXISTS (SELECT 1 FROM ledger_accounts a WHERE a.id = w.account)`,
  },
  {
    what: 'journal currency',
    differences: () => sql`
      SELECT ${journalId}, 'one currency', concat_ws(', ', d.currency, c.currency, f.currency)
      FROM ledger_journal j
      JOIN ledger_accounts d ON d.id = j.debit
      JOIN ledger_accounts c ON c.id = j.credit
      LEFT JOIN ledger_accounts f ON f.id = j.fee_account
      WHERE d.currency <> c.currency OR d.currency <> f.currency`,
  },
  {
    what: 'hold currency',
    differences: () => sql`
      SELECT ${publicId('call', sql`h.id`)}, 'one currency', concat_ws(', ', b.currency, s.currency, f.currency)
      FROM ledger_holds h
      JOIN ledger_accounts b ON b.id = h.buyer
      JOIN ledger_accounts s ON s.id = h.seller
      JOIN ledger_accounts f ON f.id = h.fees
      WHERE b.currency <> s.currency OR b.currency <> f.currency`,
  },
  {
    what: 'resolved hold',
    differences: () => sql`
      SELECT ${publicId('call', sql`h.id`)}, 'open or resolved', 'open, and in the journal as ' || j.kind
      FROM ledger_holds h JOIN ledger_journal j ON j.id = h.id`,
  },
  {
    what: 'expired hold',
    differences: (now) => sql`
      SELECT ${publicId('call', sql`h.id`)}, 'given back', ${credits(sql`h.amount`)} || ' on hold past its expiry'
      FROM ledger_holds h WHERE h.expires_at < ${new Date(now.getTime() - SWEPT_WITHIN_MS).toISOString()}::timestamptz`,
  },
];
