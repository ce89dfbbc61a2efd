import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { divideClaim, partOf, sellersShare, type Paid } from '../../src/billing/dispute-amounts.ts';

/** Up to a trillion credits, fees of nothing and of everything among them. */
const paid = fc
  .tuple(
    fc.oneof(fc.bigInt(1n, 20n), fc.bigInt(1n, 1_000_000_000_000_000_000n)),
    fc.oneof(fc.constantFrom(0n, 300n, 10_000n), fc.bigInt(0n, 10_000n)),
  )
  .map(([totalMicros, points]): Paid => ({ totalMicros, feeMicros: (totalMicros * points) / 10_000n }));
const thousandths = fc.bigInt(0n, 1_000n);
const part = (whole: bigint, share: bigint): bigint => (whole * share) / 1_000n;

test('whatever is claimed and refunded, every micro-credit has exactly one owner', () => {
  fc.assert(
    fc.property(paid, thousandths, thousandths, (charge, claimed, refunded) => {
      const claim = partOf(charge, part(charge.totalMicros, claimed));
      const refundedMicros = part(claim.totalMicros, refunded);
      const { reversalMicros, feeReversalMicros, returnedMicros } = divideClaim(claim, refundedMicros);
      assert.equal(reversalMicros + feeReversalMicros, refundedMicros);
      assert.equal(reversalMicros + returnedMicros, sellersShare(claim));
      for (const each of [reversalMicros, feeReversalMicros, returnedMicros]) assert.ok(each >= 0n);
    }),
    { numRuns: 10_000 },
  );
});

test('neither seller nor platform is ever asked for more than they got', () => {
  fc.assert(
    fc.property(paid, thousandths, thousandths, (charge, claimed, refunded) => {
      const claim = partOf(charge, part(charge.totalMicros, claimed));
      assert.ok(claim.feeMicros <= charge.feeMicros);
      assert.ok(sellersShare(claim) <= sellersShare(charge));
      const { reversalMicros, feeReversalMicros } = divideClaim(claim, part(claim.totalMicros, refunded));
      assert.ok(feeReversalMicros <= claim.feeMicros);
      assert.ok(reversalMicros <= sellersShare(claim));
    }),
    { numRuns: 10_000 },
  );
});

test('all of a charge has all of its fee, and nothing has none', () => {
  fc.assert(
    fc.property(paid, (charge) => {
      assert.deepEqual(partOf(charge, charge.totalMicros), charge);
      assert.deepEqual(partOf(charge, 0n), { totalMicros: 0n, feeMicros: 0n });
      assert.equal(divideClaim(charge, charge.totalMicros).returnedMicros, 0n);
    }),
    { numRuns: 2_000 },
  );
});

const ROWS: [charge: bigint, fee: bigint, claimed: bigint, claimedFee: bigint][] = [
  [10_000_000n, 300_000n, 10_000_000n, 300_000n],
  [10_000_000n, 300_000n, 5_000_000n, 150_000n],
  // The share of the fee rounds down: the platform keeps the odd micro-credit, not the buyer.
  [10n, 3n, 5n, 1n],
  [3n, 1n, 2n, 0n],
  [3n, 3n, 1n, 1n],
  [1n, 0n, 1n, 0n],
];
for (const [totalMicros, feeMicros, claimed, claimedFee] of ROWS) {
  test(`of ${totalMicros} with a fee of ${feeMicros}, ${claimed} have a fee of ${claimedFee}`, () => {
    assert.deepEqual(partOf({ totalMicros, feeMicros }, claimed), {
      totalMicros: claimed,
      feeMicros: claimedFee,
    });
  });
}
