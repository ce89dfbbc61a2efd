import type { Currency } from './money.ts';

/**
 * What one call that had credits on hold cost and how it ended; a refund has one too, as the proof of not
 * having been charged. Amounts are decimal credit strings, hashes lower-case hex SHA-256 over RFC 8785
 * canonical JSON, times RFC 3339 in UTC. A number of the arguments or the answer that no double holds, for which
 * RFC 8785 has no form, stands in what is hashed as it was written (`canonical-json.ts`).
 */
export type ReceiptPayload = {
  agent_id: string;
  agent_version: string | null;
  call_id: string;
  charged: string;
  /** The problem code of a refund. */
  code?: string;
  currency: Currency;
  ended_at: string;
  fee: string;
  held: string;
  input_hash: string;
  key_id: string;
  manifest_hash: string | null;
  organization_id: string;
  outcome: 'settled' | 'refunded';
  /** Null where there was no valid answer. */
  output_hash: string | null;
  /** SHA-256 of the payload before it in the chain of this organization and currency; 64 zeros for the first. */
  prev: string;
  /** 1, 2, 3 … along that chain. */
  seq: number;
  started_at: string;
  v: 1;
};

/** A payload without its place in the chain: what stands before the hash of the one before it, and after its number. */
export type ReceiptTemplate = { before: string; after: string };
