import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Price } from '../../src/catalog/agent.ts';
import { isBetter, priceInForce } from '../../src/catalog/price-in-force.ts';
import { makeCompiledSchemas, makeEntry, type AgentRow } from '../../src/catalog/snapshot.ts';
import { sampleEntry } from './sample-manifest.ts';

const fixed = (maxMicros: bigint, freeTierCalls = 0): Price => ({
  kind: 'per_call',
  maxMicros,
  freeTierCalls,
});
const metered = (unitMicros: bigint, maxMicros: bigint, unit = 'page'): Price => ({
  kind: 'per_unit',
  unit,
  unitMicros,
  maxMicros,
  freeTierCalls: 0,
});

const PAIRS: [title: string, listed: Price, today: Price, inForce: Price | 'changed'][] = [
  ['a price that rose stays what was shown', fixed(5n), fixed(9n), fixed(5n)],
  ['a price that fell is the new one', fixed(9n), fixed(5n), fixed(5n)],
  ['a metered price is the cheaper in each part', metered(3n, 10n), metered(2n, 20n), metered(2n, 10n)],
  ['another unit is another price', metered(3n, 10n), metered(3n, 10n, 'line'), 'changed'],
  [
    'work at a fixed price stays below it when metered within it',
    fixed(10n),
    metered(1n, 10n),
    metered(1n, 10n),
  ],
  ['work at a fixed price is not metered beyond it', fixed(10n), metered(1n, 11n), 'changed'],
  [
    'metered work may have come to nothing, so no fixed price is as cheap',
    metered(1n, 10n),
    fixed(1n),
    'changed',
  ],
  ['what was free stays free', fixed(5n, 3), fixed(5n), fixed(5n, 3)],
  ['what is free now is free', fixed(5n), fixed(5n, 3), fixed(5n, 3)],
];
describe('the price in force', () => {
  for (const [title, listed, today, inForce] of PAIRS) {
    test(title, () => {
      const found = priceInForce(listed, today);
      if (inForce === 'changed') assert.equal(found.hasChanged, true);
      else assert.deepEqual(found, { price: inForce, hasChanged: false });
    });
  }

  test('is never dearer than either, whatever is used', () => {
    const amount = fc.bigInt(1n, 50n);
    const price = fc.oneof(
      amount.map((max) => fixed(max)),
      fc
        .record({ unit: fc.constantFrom('page', 'line'), unitMicros: amount, more: fc.bigInt(0n, 50n) })
        .map(({ unit, unitMicros, more }) => metered(unitMicros, unitMicros + more, unit)),
    );
    // How much of each unit the same work comes to is nobody's to know.
    const used = fc.record({ page: fc.bigInt(0n, 100n), line: fc.bigInt(0n, 100n) });
    fc.assert(
      fc.property(price, price, used, (listed, today, work) => {
        const { price: inForce, hasChanged } = priceInForce(listed, today);
        if (hasChanged) return;
        assert.ok(chargeOf(inForce, work) <= chargeOf(listed, work));
        assert.ok(chargeOf(inForce, work) <= chargeOf(today, work));
      }),
      { numRuns: 5_000 },
    );
  });
});

function chargeOf(price: Price, used: Record<string, bigint>): bigint {
  if (price.kind === 'per_call') return price.maxMicros;
  const charge = price.unitMicros * (used[price.unit] ?? 0n);
  return charge < price.maxMicros ? charge : price.maxMicros;
}

/** An agent that has had these prices, in this order, with their free calls. */
function agentOf(...prices: [credits: string, freeTierCalls?: number][]) {
  const versions = prices.map(([credits, free], index) => ({
    version: `1.${index}.0`,
    pricing: {
      model: 'per_call' as const,
      credits_per_call: credits,
      ...(free === undefined ? {} : { free_tier_calls: free }),
    },
  }));
  const current = versions.pop();
  assert.ok(current);
  const { manifest } = sampleEntry().agent;
  const row: AgentRow = {
    manifest: { ...manifest, ...current },
    manifestHash: '',
    sellerId: 'org_1',
    trustScore: 80,
    createdAt: new Date(0),
    // As a database may answer: in no order.
    earlier: versions.toReversed(),
  };
  return makeEntry(row, makeCompiledSchemas(1)).agent;
}

describe('an agent knows the prices it has had', () => {
  test('they are numbered as they changed, and a version at the same price has no number of its own', () => {
    assert.equal(agentOf(['5']).priceNumber, 1);
    assert.equal(agentOf(['5'], ['5'], ['5']).priceNumber, 1);
    assert.equal(agentOf(['5'], ['6'], ['6'], ['5']).priceNumber, 3);
    const twelve = Array.from({ length: 12 }, (_, minor): [string] => [minor < 10 ? '5' : '6']);
    assert.equal(agentOf(...twelve).priceNumber, 2, 'version 1.10.0 comes after 1.9.0');
  });

  test('only those a buyer may insist on are kept', () => {
    assert.equal(agentOf(['5']).betterPrices, undefined);
    assert.equal(agentOf(['9'], ['7'], ['5']).betterPrices, undefined);
    assert.deepEqual(
      [...(agentOf(['5'], ['4'], ['9'], ['6']).betterPrices?.keys() ?? [])],
      [1, 2],
      'nine was never better than six',
    );
    assert.deepEqual([...(agentOf(['5', 2], ['5']).betterPrices?.keys() ?? [])], [1]);
  });

  test('a price is no better than itself', () => {
    for (const price of [fixed(5n, 1), metered(1n, 5n)]) assert.equal(isBetter(price, price), false);
  });
});
