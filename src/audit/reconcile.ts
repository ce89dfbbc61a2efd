import { sql, type SQL } from 'drizzle-orm';
import type { Comparison } from '../db/compare.ts';

/**
 * A member of a receipt, whose names and texts have no quotes of their own; null where it has none. Cutting it
 * out costs a tenth of what a regular expression or reading the JSON does.
 */
export function receiptMember(name: string): SQL {
  return sql.raw(`nullif(split_part(split_part(payload, '"${name}":"', 2), '"', 1), '')`);
}

const PREV = receiptMember('prev');
const SEQ = sql.raw(`split_part(split_part(payload, '"seq":', 2), ',', 1)`);
const callId = sql`'call_' || replace(call_id::text, '-', '')`;

/** Every receipt beside the one before it in its chain. */
const links = sql`
  SELECT call_id, account_id, seq, ${SEQ} AS told_seq, ${PREV} AS prev,
    lag(seq) OVER chain AS seq_before,
    encode(sha256(convert_to(lag(payload) OVER chain, 'UTF8')), 'hex') AS hash_before
  FROM receipts WINDOW chain AS (PARTITION BY account_id ORDER BY seq)`;

/** What must be true of the receipts by themselves: each chain is whole, and ends where it is said to end. */
export const RECEIPT_COMPARISONS: readonly Comparison[] = [
  {
    what: 'receipt number',
    differences: () => sql`
      SELECT ${callId}, (coalesce(seq_before, 0) + 1)::text, concat_ws(' and ', seq, nullif(told_seq, seq::text))
      FROM (${links}) AS l
      WHERE seq <> coalesce(seq_before, 0) + 1 OR told_seq IS DISTINCT FROM seq::text`,
  },
  {
    what: 'receipt chain',
    differences: () => sql`
      SELECT ${callId}, coalesce(hash_before, repeat('0', 64)), coalesce(prev, 'none')
      FROM (${links}) AS l
      WHERE seq = coalesce(seq_before, 0) + 1 AND prev IS DISTINCT FROM coalesce(hash_before, repeat('0', 64))`,
  },
  {
    what: 'receipt chain end',
    differences: () => sql`
      SELECT coalesce(c.account_id, l.account_id)::text,
        coalesce(l.seq || ' ' || l.hash, 'no chain'), coalesce(c.seq || ' ' || encode(c.head, 'hex'), 'no chain')
      FROM receipt_chains c
      FULL JOIN (
        SELECT DISTINCT ON (account_id) account_id, seq, encode(sha256(convert_to(payload, 'UTF8')), 'hex') AS hash
        FROM receipts ORDER BY account_id, seq DESC
      ) l ON l.account_id = c.account_id
      WHERE l.seq IS DISTINCT FROM c.seq OR l.hash IS DISTINCT FROM encode(c.head, 'hex')`,
  },
];
