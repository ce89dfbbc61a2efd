import type pg from 'pg';
import { invariant } from '../../src/base/invariant.ts';
import type { JournalKind } from '../../src/ledger/tables.ts';

/** A movement to be in the journal, as if it had happened then. */
export type PastMovement = {
  kind: JournalKind;
  /** `out`: the account pays. */
  direction: 'in' | 'out';
  amountMicros: bigint;
  feeMicros?: bigint;
  at: Date;
  keyId?: string;
  agentId?: string;
  subject?: string;
};

/** Writes movements of an account, in this order, and what they come to on the accounts. */
export async function insertPast(
  pool: pg.Pool,
  accounts: { accountId: bigint; otherId: bigint; feesId?: bigint },
  movements: readonly PastMovement[],
): Promise<string[]> {
  const { accountId, otherId, feesId } = accounts;
  const { rows } = await pool.query<{ id: string }>(
    `WITH made AS (
       INSERT INTO ledger_journal (id, kind, debit, credit, fee_account, amount, fee, held, key_id, agent_id, subject, created_at)
       SELECT gen_random_uuid(), kind, CASE WHEN outgoing THEN $1::bigint ELSE $2 END, CASE WHEN outgoing THEN $2::bigint ELSE $1 END,
         CASE WHEN fee > 0 THEN $3::bigint END, amount, fee,
         CASE WHEN kind = 'settle' THEN amount WHEN kind IN ('refund', 'expire') THEN 1000000 ELSE 0 END, key_id, agent_id, subject, at
       FROM unnest($4::text[], $5::boolean[], $6::bigint[], $7::bigint[], $8::timestamptz[], $9::text[], $10::text[], $11::uuid[])
         WITH ORDINALITY AS w (kind, outgoing, amount, fee, at, key_id, agent_id, subject, ord)
       ORDER BY ord RETURNING id, debit, credit, fee_account, amount, fee
     ), legs AS (
       SELECT debit AS account, -amount AS change FROM made UNION ALL SELECT credit, amount - fee FROM made
       UNION ALL SELECT fee_account, fee FROM made WHERE fee > 0
     ), moved AS (
       UPDATE ledger_accounts a SET posted = posted + l.change
       FROM (SELECT account, sum(change)::bigint AS change FROM legs GROUP BY account) l WHERE a.id = l.account RETURNING 1
     ) SELECT id FROM made`,
    [
      accountId,
      otherId,
      feesId ?? null,
      movements.map(({ kind }) => kind),
      movements.map(({ direction }) => direction === 'out'),
      movements.map(({ amountMicros }) => amountMicros),
      movements.map(({ feeMicros }) => feeMicros ?? 0n),
      movements.map(({ at }) => at.toISOString()),
      movements.map(({ keyId }) => keyId ?? null),
      movements.map(({ agentId }) => agentId ?? null),
      movements.map(({ subject }) => subject ?? null),
    ],
  );
  invariant(rows.length === movements.length, 'every movement was written');
  return rows.map(({ id }) => id);
}
