import { assertProven } from './not-verified.ts';
import type { ProvenReceipt } from './verify-receipt.ts';

/** Where a chain is known to end, or to have been at some time. */
export type KnownEnd = { kind: 'head'; head: string } | { kind: 'proof'; chain: ChainPlace };

/** One place in one chain. */
export type ChainPlace = { organizationId: string; currency: string; seq: number; head: string };

const NOTHING_BEFORE = '0'.repeat(64);

/**
 * Checks that these receipts are a whole chain in its order: from the first, each carrying the hash of the
 * one before. What is missing at the end does not show in the chain itself; a known end shows it.
 */
export function verifyChain(proven: readonly ProvenReceipt[], ends: readonly KnownEnd[] = []): void {
  let before: ProvenReceipt | undefined;
  for (const each of proven) {
    assertFollows(each, before);
    before = each;
  }
  assertProven(before, 'There is no receipt, so there is no chain.');
  for (const end of ends) assertReaches(proven, before, end);
}

function assertFollows({ receipt }: ProvenReceipt, before: ProvenReceipt | undefined): void {
  const { organization_id, currency, seq, call_id, prev } = receipt;
  const expected = (before?.receipt.seq ?? 0) + 1;
  assertProven(
    before === undefined ||
      (organization_id === before.receipt.organization_id && currency === before.receipt.currency),
    `The chain mixes receipts of ${before?.receipt.organization_id} (${before?.receipt.currency}) and ${organization_id} (${currency}).`,
  );
  assertProven(
    seq >= expected,
    `The chain has receipt ${seq} (${call_id}) where ${expected} is due: out of order, or twice.`,
  );
  assertProven(
    seq === expected,
    seq === expected + 1
      ? `Receipt ${expected} of the chain is missing.`
      : `Receipts ${expected} to ${seq - 1} of the chain are missing.`,
  );
  assertProven(
    prev === (before?.hash ?? NOTHING_BEFORE),
    before
      ? `Receipt ${seq} (${call_id}) does not follow the receipt before it: the chain was forked.`
      : `Receipt 1 (${call_id}) names one before it.`,
  );
}

function assertReaches(proven: readonly ProvenReceipt[], last: ProvenReceipt, end: KnownEnd): void {
  if (end.kind === 'head') {
    assertProven(
      last.hash === end.head,
      `The chain does not end where it should: receipt ${last.receipt.seq} is not the one with the hash given.`,
    );
    return;
  }
  const { organizationId, currency, seq, head } = end.chain;
  assertProven(
    last.receipt.organization_id === organizationId && last.receipt.currency === currency,
    `The proof is of the chain of ${organizationId} (${currency}), not of this one.`,
  );
  // Receipts that came after the proof are none of its business; the chain begins at 1 without a gap.
  const there = proven[seq - 1];
  assertProven(
    there,
    `The chain ends at receipt ${last.receipt.seq}; by the proof there were ${seq} on its day. The others are missing.`,
  );
  assertProven(
    there.hash === head,
    `Receipt ${seq} is not the one the proof was made over: the chain was rewritten.`,
  );
}
