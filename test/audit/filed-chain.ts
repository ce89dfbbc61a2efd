import type { Pool } from 'pg';
import type { Caller } from '../../src/identity/caller.ts';
import { verifyChain, type KnownEnd } from '../../src/client/verify-chain.ts';
import { verifyReceipt, type ProvenReceipt } from '../../src/client/verify-receipt.ts';
import type { Process } from '../support/world.ts';
import { keys } from './receipt-book.ts';
import { readReceipt } from '../../src/audit/receipts.ts';

/** Every receipt of the caller's balance as its owner gets them, checked one by one and as a whole chain. */
export async function provenChain(process: Process, caller: Caller): Promise<ProvenReceipt[]> {
  const end = await process.receipts.findEnd(caller.accountId);
  if (!end) return [];
  const filed = await process.receipts.list(caller.accountId, 1, end.seq + 1);
  const proven = filed.map(readReceipt).map(({ jws, ...shown }) => verifyReceipt({ jws, shown }, keys));
  const known: KnownEnd = { kind: 'head', head: end.head };
  verifyChain(proven, [known]);
  return proven;
}

/** What is wrong between the journal's ends of holds and the receipts; nothing when each has exactly one. */
export async function receiptFaults(pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ fault: string }>(`
    SELECT concat(j.kind, ' of ', j.id, ' has no receipt, or another one') AS fault
    FROM ledger_journal j LEFT JOIN receipts r ON r.call_id = j.id AND r.account_id = j.debit
    WHERE j.kind IN ('settle', 'refund', 'expire') AND (r.call_id IS NULL
      OR (r.payload::json ->> 'charged')::numeric * 1000000 <> j.amount
      OR (r.payload::json ->> 'fee')::numeric * 1000000 <> j.fee
      OR (r.payload::json ->> 'held')::numeric * 1000000 <> j.held
      OR (r.payload::json ->> 'outcome' = 'settled') <> (j.kind = 'settle'))
    UNION ALL
    SELECT concat('receipt of ', r.call_id, ' is for no hold that ended') FROM receipts r
    WHERE NOT EXISTS (SELECT 1 FROM ledger_journal j
      WHERE j.id = r.call_id AND j.kind IN ('settle', 'refund', 'expire') AND j.debit = r.account_id)`);
  return rows.map(({ fault }) => fault);
}
