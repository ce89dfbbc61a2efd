import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decideMovements, type Lot, type Movement } from '../../src/billing/contested-lots.ts';

const sum = (of: readonly bigint[]): bigint => of.reduce((total, each) => total + each, 0n);
const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);
/** What `a` is above `b`. */
const excess = (a: bigint, b: bigint): bigint => (a > b ? a - b : 0n);

/** A lot as it may stand, also when a refund has just failed: never more of it at all than there is. */
const lot = fc
  .record({
    size: fc.bigInt({ min: 1n, max: 50n }),
    due: fc.nat(100),
    contested: fc.nat(100),
    reversed: fc.nat(100),
    frozen: fc.nat(100),
  })
  .map(({ size, due, contested, reversed, frozen }): Omit<Lot, 'id'> => {
    const share = (of: bigint, percent: number): bigint => (of * BigInt(percent)) / 100n;
    const dueMicros = share(size, due);
    const reversedMicros = share(size, reversed);
    return {
      dueMicros,
      contestedMicros: share(size - dueMicros, contested),
      reversedMicros,
      frozenMicros: share(size - reversedMicros, frozen),
    };
  });
const lots = fc
  .array(lot, { maxLength: 4 })
  .map((all) => all.map((each, index) => ({ ...each, id: String(index) })));

/** Carries the movements out, one after the other, as the ledger would: nothing may go below zero. */
function carryOut(before: readonly Lot[], available: bigint, movements: readonly Movement[]): bigint {
  const frozen = new Map(before.map(({ id, frozenMicros }) => [id, frozenMicros]));
  let balance = available;
  for (const { lotId, kind, from, amountMicros } of movements) {
    assert.ok(amountMicros > 0n);
    const had = frozen.get(lotId) ?? 0n;
    if (from === 'frozen') frozen.set(lotId, had - amountMicros);
    if (from === 'balance') balance -= amountMicros;
    if (kind === 'freeze') frozen.set(lotId, had + amountMicros);
    if (kind === 'unfreeze' || kind === 'restore') balance += amountMicros;
    assert.equal(from === 'funding', kind === 'restore');
    assert.ok(balance >= 0n && (frozen.get(lotId) ?? 0n) >= 0n, 'nothing is overdrawn on the way');
  }
  return balance;
}

test('whatever is contested: no credit is made or lost, debts come first, and nothing is done twice', () => {
  fc.assert(
    fc.property(lots, fc.bigInt({ min: 0n, max: 120n }), (before, available) => {
      const { movements, lots: after } = decideMovements(before, available);
      const balance = carryOut(before, available, movements);
      const restored = sum(before.map(({ dueMicros, reversedMicros }) => excess(reversedMicros, dueMicros)));
      const has = available + restored + sum(before.map(({ frozenMicros }) => frozenMicros));
      const due = sum(before.map(({ dueMicros, reversedMicros }) => excess(dueMicros, reversedMicros)));
      const contested = sum(before.map(({ contestedMicros }) => contestedMicros));
      const taken = least(has, due);
      assert.equal(
        sum(after.map(({ reversedMicros }) => reversedMicros)),
        sum(before.map(({ reversedMicros }) => reversedMicros)) - restored + taken,
      );
      assert.equal(sum(after.map(({ owedMicros }) => owedMicros)), due - taken);
      assert.equal(sum(after.map(({ frozenMicros }) => frozenMicros)), least(has - taken, contested));
      assert.equal(balance, has - taken - least(has - taken, contested));
      for (const each of after) {
        assert.ok(each.reversedMicros <= each.dueMicros);
        assert.ok(each.frozenMicros <= each.contestedMicros);
        assert.equal(each.owedMicros, each.dueMicros - each.reversedMicros);
      }
      assert.deepEqual(decideMovements(after, balance).movements, []);
    }),
    { numRuns: 2_000 },
  );
});

test('what was taken back of one lot is taken from its own frozen credits before anything else', () => {
  const before = [
    { id: 'a', dueMicros: 10n, contestedMicros: 0n, reversedMicros: 0n, frozenMicros: 6n },
    { id: 'b', dueMicros: 0n, contestedMicros: 5n, reversedMicros: 0n, frozenMicros: 5n },
  ];
  assert.deepEqual(decideMovements(before, 3n).movements, [
    { lotId: 'a', kind: 'reverse', from: 'frozen', amountMicros: 6n },
    { lotId: 'b', kind: 'unfreeze', from: 'frozen', amountMicros: 1n },
    { lotId: 'a', kind: 'reverse', from: 'balance', amountMicros: 4n },
  ]);
});

test('what a failed refund took comes back once, and pays what other lots owe before anything is free', () => {
  const before = [
    { id: 'a', dueMicros: 2n, contestedMicros: 0n, reversedMicros: 7n, frozenMicros: 0n },
    { id: 'b', dueMicros: 4n, contestedMicros: 0n, reversedMicros: 1n, frozenMicros: 0n },
  ];
  const decided = decideMovements(before, 0n);
  assert.deepEqual(decided.movements, [
    { lotId: 'a', kind: 'restore', from: 'funding', amountMicros: 5n },
    { lotId: 'b', kind: 'reverse', from: 'balance', amountMicros: 3n },
  ]);
  assert.deepEqual(decideMovements(decided.lots, 2n).movements, []);
});
