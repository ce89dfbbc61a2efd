import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { verifyChain, type KnownEnd } from '../../src/client/verify-chain.ts';
import { verifyReceipt, type ProvenReceipt } from '../../src/client/verify-receipt.ts';
import { receiptPayload, receiptTemplate } from '../../src/audit/receipts.ts';
import { chainOf, factsOf, hashOf, HEADER, jwsOf, keys, ORGANIZATION } from './receipt-book.ts';

const LENGTH = 8;
const prove = (payload: string): ProvenReceipt => verifyReceipt({ jws: jwsOf(HEADER, payload) }, keys);
const payloads = chainOf(LENGTH);
const chain = payloads.map(prove);
const head: KnownEnd = { kind: 'head', head: hashOf(payloads.at(-1)) };
const proofAt = (seq: number): KnownEnd => ({
  kind: 'proof',
  chain: { organizationId: ORGANIZATION, currency: 'live', seq, head: hashOf(payloads[seq - 1]) },
});

test('a whole chain is accepted, with and without its end being known', () => {
  verifyChain(chain);
  verifyChain(chain, [head]);
  for (let seq = 1; seq <= LENGTH; seq += 1) verifyChain(chain, [proofAt(seq), head]);
});

test('a chain with any one receipt removed is refused', () => {
  for (let at = 0; at < LENGTH - 1; at += 1) {
    const gap = chain.toSpliced(at, 1);
    assert.throws(() => verifyChain(gap), new RegExp(`Receipt ${at + 1} of the chain is missing`));
  }
  assert.throws(() => verifyChain(chain.toSpliced(2, 3)), /Receipts 3 to 5 of the chain are missing/);
});

test('a chain cut off at its end is refused where its end is known', () => {
  for (let length = 1; length < LENGTH; length += 1) {
    const cut = chain.slice(0, length);
    verifyChain(cut);
    assert.throws(() => verifyChain(cut, [head]), /does not end where it should/);
    assert.throws(() => verifyChain(cut, [proofAt(LENGTH)]), new RegExp(`by the proof there were ${LENGTH}`));
  }
  assert.throws(() => verifyChain([], [head]), /no receipt/);
});

test('a chain with any two receipts changed over, or one twice, is refused', () => {
  for (let one = 0; one < LENGTH; one += 1) {
    for (let other = 0; other < LENGTH; other += 1) {
      const receipt = chain[other] as ProvenReceipt;
      if (one !== other) assert.throws(() => verifyChain(chain.with(one, receipt).with(other, chain[one]!)));
      assert.throws(() => verifyChain(chain.toSpliced(one, 0, receipt)), `${other} once more at ${one}`);
    }
  }
  assert.throws(() => verifyChain([...chain, chain.at(-1)!]), /has number 8 twice: again .* where 9 is due/);
});

test('receipts that are all there in another order are said to be out of order, and which', () => {
  const of = (...numbers: number[]): ProvenReceipt[] => numbers.map((seq) => chain[seq - 1]!);
  for (const [list, words] of [
    [chain.toReversed(), /out of order: in place 1 stands number 8 \(call_.*\), and number 1 in place 8\./],
    [of(1, 3, 2, 4), /out of order: in place 2 stands number 3 \(call_.*\), and number 2 in place 3\./],
    [of(2, 3, 1), /out of order: in place 1 stands number 2 \(call_.*\), and number 1 in place 3\./],
    [of(1, 5, 4), /^Receipts 2 to 3 of the chain are missing\.$/],
    [of(1, 4, 3), /^Receipt 2 of the chain is missing\.$/],
    [of(3, 2), /^Receipt 1 of the chain is missing\.$/],
  ] as const) {
    assert.throws(() => verifyChain(list), { name: 'NotVerified', message: words });
  }
});

test('a receipt of another organization or currency does not fit into a chain', () => {
  const others = [{ organizationId: `org_${'9'.repeat(32)}` }, { currency: 'test' as const }];
  for (const changes of others) {
    for (let at = 1; at < LENGTH; at += 1) {
      const place = { prev: hashOf(payloads[at - 1]), seq: String(at + 1) };
      const foreign = prove(receiptPayload(receiptTemplate(factsOf(changes)), place));
      assert.throws(() => verifyChain(chain.with(at, foreign)), /mixes receipts/);
    }
    const strangers = chainOf(LENGTH, changes).map(prove);
    verifyChain(strangers);
    assert.throws(() => verifyChain(strangers, [proofAt(3)]), /not of this one/);
  }
});

test('a chain that was rewritten from some receipt on is refused', () => {
  for (let at = 1; at < LENGTH; at += 1) {
    // Another history, genuinely signed: what the platform itself could make.
    const fork = payloads.slice(0, at);
    for (let seq = at + 1; seq <= LENGTH; seq += 1) {
      const place = { prev: hashOf(fork.at(-1)), seq: String(seq) };
      fork.push(receiptPayload(receiptTemplate(factsOf()), place));
    }
    const forked = fork.map(prove);
    assert.throws(() => verifyChain(forked, [proofAt(LENGTH)]), /was rewritten/);
    assert.throws(() => verifyChain(forked, [head]), /does not end where it should/);
    // Two branches glued together.
    if (at < LENGTH - 1) {
      assert.throws(() => verifyChain([...forked.slice(0, at + 1), ...chain.slice(at + 1)]), /was forked/);
    }
  }
});

test('a first receipt that names one before it is refused', () => {
  const place = { prev: 'f'.repeat(64), seq: '1' };
  assert.throws(
    () => verifyChain([prove(receiptPayload(receiptTemplate(factsOf()), place))]),
    /names one before/,
  );
});

test('of all lists of genuine receipts of a chain, only its beginnings are chains', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: LENGTH - 1 }), { minLength: 1, maxLength: LENGTH }),
      (order) => {
        const list = order.map((at) => chain[at] as ProvenReceipt);
        const isBeginning = order.every((at, index) => at === index);
        if (isBeginning) verifyChain(list);
        else assert.throws(() => verifyChain(list));
      },
    ),
    { numRuns: 1_000 },
  );
});
