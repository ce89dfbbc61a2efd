import { LRUCache } from 'lru-cache';
import type { Branch, Item } from './pattern-syntax.ts';

/**
 * What matching a pattern with V8's own engine can cost. It backtracks, so one bad pattern and one chosen text stop
 * the whole process; this bounds the steps from the pattern's structure alone.
 */
export type PatternCost =
  /** `steps(n)` is at least the steps a text of n characters can take, rising in n. */
  | { kind: 'ok'; steps: (characters: number) => number; maxCharacters: number }
  | { kind: 'refused'; message: string };

/** More steps than this (tens of milliseconds) for one text are never tried. */
export const MAX_STEPS_PER_TEXT = 20_000_000;
// Measuring takes time that grows with the square of the pattern.
const MAX_PARTS = 1_024;
// A pattern that cannot even be afforded on texts of this length is of no use to anybody.
const MIN_USEFUL_CHARACTERS = 200;

/**
 * Bounds a pattern. Nested repetition is accepted only where one separator makes it unambiguous
 * (`^[a-z]+(-[a-z]+)*$`, `^([a-z]+\.)+[a-z]+$`). It errs on the refusing side: the step bound is an upper one.
 */
export function measurePattern(branches: Branch[]): PatternCost {
  if (countParts(branches) > MAX_PARTS)
    return { kind: 'refused', message: `has more than ${MAX_PARTS} parts` };
  const whole = [{ node: { kind: 'group' as const, branches }, min: 1, max: 1 }];
  try {
    measure(whole, 0n, 1);
  } catch (error) {
    if (error instanceof PatternRefused) return { kind: 'refused', message: error.message };
    throw error;
  }
  const anchored = branches.every((branch) => branch[0]?.node.kind === 'start');
  const steps = (characters: number): number => {
    const { cost } = measure(whole, 0n, characters);
    return anchored ? cost : cost * (characters + 1);
  };
  const maxCharacters = largestAffordable(steps);
  if (maxCharacters < MIN_USEFUL_CHARACTERS) {
    return {
      kind: 'refused',
      message: `could take too long on a text of ${MIN_USEFUL_CHARACTERS} characters; make it less ambiguous`,
    };
  }
  return { kind: 'ok', steps, maxCharacters };
}

function countParts(branches: Branch[]): number {
  return branches
    .flat()
    .reduce((sum, { node }) => sum + 1 + ('branches' in node ? countParts(node.branches) : 0), 0);
}

/** Leaves the measuring at the first construct that has no bound. */
class PatternRefused extends Error {}

function largestAffordable(steps: (characters: number) => number): number {
  let affordable = 0;
  for (let stride = 2 ** 26; stride >= 1; stride /= 2) {
    if (steps(affordable + stride) <= MAX_STEPS_PER_TEXT) affordable += stride;
  }
  return affordable;
}

/**
 * `cost`: steps to try everything in the sequence; `ways`: how often what follows may be tried again after it
 * failed. `follow` is the set of characters that may come next: a repetition that shares none with it can end
 * in one place only.
 */
function measure(items: Item[], follow: bigint, n: number): { ways: number; cost: number } {
  let ways = 1;
  let cost = 0;
  for (const [index, item] of items.entries()) {
    const next = firstSet(items.slice(index + 1), follow);
    const part = measureItem(item, next, n);
    cost += ways * part.cost;
    ways *= part.ways;
  }
  return { ways, cost };
}

function measureItem({ node, min, max }: Item, follow: bigint, n: number): { ways: number; cost: number } {
  if (node.kind === 'atom') {
    const choices = (characterSet(node.source) & follow) === 0n ? 1 : Math.min(max - min + 1, n + 1);
    return { ways: choices, cost: Math.min(max, n) + 1 };
  }
  if (node.kind === 'lookahead') {
    // Whatever follows inside it ends it, and once it has ended it is not tried again (ECMA-262 section 22.2.2.4).
    const tried = node.branches.map((branch) => measure(branch, ALL, n).cost);
    return { ways: 1, cost: tried.reduce((sum, each) => sum + each, 1) };
  }
  if (node.kind !== 'group') return { ways: 1, cost: 1 };
  if (max > 1) return measureRepeatedGroup(node.branches, { min, max }, follow, n);

  const parts = node.branches.map((branch) => measure(branch, follow, n));
  const tried = parts.map(({ ways }) => ways);
  const distinct = areDisjoint(node.branches.map((branch) => firstSet(branch, follow)));
  const ways = distinct ? Math.max(...tried) : tried.reduce((sum, each) => sum + each, 0);
  const cost = parts.reduce((sum, part) => sum + part.cost, 1);
  const skippable = min === 0 && (firstSet([{ node, min: 1, max: 1 }], follow) & follow) !== 0n;
  return { ways: skippable ? ways + 1 : ways, cost };
}

function measureRepeatedGroup(
  branches: Item[][],
  { min, max }: { min: number; max: number },
  follow: bigint,
  n: number,
): { ways: number; cost: number } {
  const first = branches.reduce((set, branch) => set | firstSet(branch, ALL), 0n);
  const endings = (first & follow) === 0n ? 1 : Math.min(max - min + 1, n + 1);
  const length = branches.flat().length;
  const distinct = areDisjoint(branches.map((branch) => firstSet(branch, ALL)));
  if (distinct && branches.every((branch) => branch.length > 0 && branch.every(isFixedAtom))) {
    return { ways: endings, cost: (Math.min(max, n) + 1) * length * largestCount(branches) };
  }
  const [body] = branches;
  if (body === undefined || branches.length > 1 || !isSeparated(body)) {
    throw new PatternRefused(
      'repeats a group that itself repeats or has overlapping alternatives, which can take exponential time',
    );
  }
  // A separator marks where each round begins or ends, and only one part of a round varies, so a text splits into
  // rounds in one way. Only the last round may end early.
  const last = body.at(-1);
  const endsOpen =
    last?.node.kind === 'atom' && last.min !== last.max && (characterSet(last.node.source) & follow) !== 0n;
  return { ways: endings * (endsOpen ? n + 1 : 1), cost: (n + 1) * (length + 1) };
}

function isFixedAtom({ node, min, max }: Item): boolean {
  return node.kind === 'atom' && min === max && max > 0;
}

function largestCount(branches: Item[][]): number {
  return Math.max(...branches.flat().map(({ max }) => max));
}

function isSeparated(body: Item[]): boolean {
  const atoms = body.map(({ node }) => (node.kind === 'atom' ? characterSet(node.source) : undefined));
  if (atoms.includes(undefined) || body.filter(({ min, max }) => min !== max).length !== 1) return false;
  return [0, body.length - 1].some((place) => {
    const separator = body[place];
    if (separator === undefined || separator.min !== 1 || separator.max !== 1) return false;
    return atoms.every((set, index) => index === place || ((set ?? ALL) & (atoms[place] ?? ALL)) === 0n);
  });
}

/** Which characters a sequence may begin with, as a bit mask over `SAMPLES`; `follow` when all of it may be empty. */
function firstSet(items: Item[], follow: bigint): bigint {
  let set = 0n;
  for (const { node, min } of items) {
    if (node.kind === 'end') return set;
    if (node.kind !== 'atom' && node.kind !== 'group') continue;
    if (node.kind === 'atom') {
      set |= characterSet(node.source);
      if (min > 0) return set;
      continue;
    }
    const inner = node.branches.map((branch) => firstSet(branch, 0n));
    set |= inner.reduce((union, each) => union | each, 0n);
    if (min > 0 && !node.branches.some(isNullable)) return set;
  }
  return set | follow;
}

function isNullable(items: Item[]): boolean {
  return items.every(
    ({ node, min }) =>
      min === 0 || (node.kind !== 'atom' && (node.kind !== 'group' || node.branches.some(isNullable))),
  );
}

function areDisjoint(sets: bigint[]): boolean {
  let seen = 0n;
  for (const set of sets) {
    if ((set & seen) !== 0n) return false;
    seen |= set;
  }
  return true;
}

// Latin-1 and one of each larger kind. An atom that names anything beyond Latin-1 counts as matching everything.
const SAMPLES = [
  ...Array.from({ length: 256 }, (_, code) => String.fromCodePoint(code)),
  '\u0100',
  '\u0301',
  '\u2028',
  '\u3042',
  '\u4E00',
  '\u{1F600}',
];
const ALL = (1n << BigInt(SAMPLES.length)) - 1n;

const characterSets = new LRUCache<string, bigint>({ max: 1_000 });

function characterSet(source: string): bigint {
  let set = characterSets.get(source);
  if (set === undefined) {
    set = findCharacters(source);
    characterSets.set(source, set);
  }
  return set;
}

function findCharacters(source: string): bigint {
  if (/\\[pPuxc]|[\u0100-\u{10FFFF}]/u.test(source)) return ALL;
  const matcher = new RegExp(`^${source}$`, 'u');
  let set = 0n;
  for (const [bit, sample] of SAMPLES.entries()) if (matcher.test(sample)) set |= 1n << BigInt(bit);
  return set;
}
