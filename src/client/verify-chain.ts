import { assertProven, NotVerified } from './not-verified.ts';
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
  const places = new Map(proven.map(({ receipt }, index) => [receipt.seq, index + 1]));
  for (const each of proven) {
    assertFollows(each, before, places);
    before = each;
  }
  assertProven(before, 'There is no receipt, so there is no chain.');
  for (const end of ends) assertReaches(proven, before, end);
}

/** `places`: where each number stands, the first in place 1. */
function assertFollows(
  { receipt }: ProvenReceipt,
  before: ProvenReceipt | undefined,
  places: ReadonlyMap<number, number>,
): void {
  const { organization_id, currency, seq, call_id, prev } = receipt;
  const expected = (before?.receipt.seq ?? 0) + 1;
  assertProven(
    before === undefined ||
      (organization_id === before.receipt.organization_id && currency === before.receipt.currency),
    `The chain mixes receipts of ${before?.receipt.organization_id} (${before?.receipt.currency}) and ${organization_id} (${currency}).`,
  );
  assertProven(
    seq >= expected,
    `The chain has number ${seq} twice: again (${call_id}) where ${expected} is due.`,
  );
  // What is due and stands somewhere else is not missing.
  const place = places.get(expected);
  assertProven(
    seq === expected || place === undefined,
    `The receipts are out of order: in place ${expected} stands number ${seq} (${call_id}), and number ${expected} in place ${place}. Sort them by seq, from 1 on.`,
  );
  if (seq !== expected) throw missing(expected, places);
  assertProven(
    prev === (before?.hash ?? NOTHING_BEFORE),
    before
      ? `Receipt ${seq} (${call_id}) does not follow the receipt before it: the chain was forked.`
      : `Receipt 1 (${call_id}) names one before it.`,
  );
}

/** Everything from `first` up to the next number there is. */
function missing(first: number, places: ReadonlyMap<number, number>): NotVerified {
  const next = [...places.keys()].reduce(
    (least, number) => (number > first ? Math.min(least, number) : least),
    Infinity,
  );
  return new NotVerified(
    next === first + 1
      ? `Receipt ${first} of the chain is missing.`
      : `Receipts ${first} to ${next - 1} of the chain are missing.`,
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
