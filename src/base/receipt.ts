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

/** Every member but the place in the chain, each as the JSON text of its value; without `code` for a settled call. */
export type ReceiptMembers = Record<Exclude<keyof ReceiptPayload, 'code' | 'prev' | 'seq' | 'v'>, string> & {
  code?: string | undefined;
};

/**
 * The form of a receipt: the only place that writes one. The members are in the order of RFC 8785, so what is signed
 * is canonical JSON without being sorted once more.
 */
export function writeReceipt(m: ReceiptMembers): ReceiptTemplate {
  const code = m.code === undefined ? '' : `"code":${m.code},`;
  return {
    before:
      `{"agent_id":${m.agent_id},"agent_version":${m.agent_version},"call_id":${m.call_id},"charged":${m.charged},` +
      `${code}"currency":${m.currency},"ended_at":${m.ended_at},"fee":${m.fee},"held":${m.held},` +
      `"input_hash":${m.input_hash},"key_id":${m.key_id},"manifest_hash":${m.manifest_hash},` +
      `"organization_id":${m.organization_id},"outcome":${m.outcome},"output_hash":${m.output_hash},"prev":"`,
    after: `,"started_at":${m.started_at},"v":1}`,
  };
}
