/**
 * What checking a `pattern` can cost. JavaScript's regular expressions backtrack, so one bad pattern and one
 * chosen text stop the whole process; this bounds the steps from the pattern's structure alone.
 */
export type PatternVerdict =
  /** `steps(n)` is at least the steps a text of n characters can take, rising in n. */
  | { kind: 'ok'; steps: (characters: number) => number; maxCharacters: number }
  | { kind: 'refused'; message: string };

/** More steps than this (tens of milliseconds) for one text are never tried. */
export const MAX_STEPS_PER_TEXT = 20_000_000;
const MAX_PATTERN_CHARACTERS = 256;
// A pattern that cannot even be afforded on texts of this length is of no use to anybody.
const MIN_USEFUL_CHARACTERS = 200;

type Item = { node: Node; min: number; max: number };
type Node =
  /** One character out of a set, as a bit mask over `SAMPLES`. */
  | { kind: 'atom'; set: bigint }
  | { kind: 'start' }
  | { kind: 'end' }
  | { kind: 'word' }
  | { kind: 'group'; branches: Item[][] };

/**
 * Judges a pattern as `pattern` and `patternProperties` use it (flag `u`). Nested repetition is accepted only
 * where one separator makes it unambiguous (`^[a-z]+(-[a-z]+)*$`, `^([a-z]+\.)+[a-z]+$`); lookarounds and
 * back-references are refused. It errs on the refusing side: the step bound is an upper one.
 */
export function judgePattern(source: string): PatternVerdict {
  if (source.length > MAX_PATTERN_CHARACTERS) {
    return { kind: 'refused', message: `is longer than ${MAX_PATTERN_CHARACTERS} characters` };
  }
  if (!isExpression(source)) {
    return { kind: 'refused', message: 'is not a valid regular expression (ECMAScript, flag u)' };
  }
  let branches: Item[][];
  try {
    branches = parsePattern(source);
    measure([{ node: { kind: 'group', branches }, min: 1, max: 1 }], 0n, 1);
  } catch (error) {
    if (error instanceof PatternRefused) return { kind: 'refused', message: error.message };
    throw error;
  }
  const anchored = branches.every((branch) => branch[0]?.node.kind === 'start');
  const steps = (characters: number): number => {
    const { cost } = measure([{ node: { kind: 'group', branches }, min: 1, max: 1 }], 0n, characters);
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

function isExpression(source: string): boolean {
  try {
    return new RegExp(source, 'u').unicode;
  } catch {
    return false;
  }
}

/** Leaves the parser and the measuring at the first construct that is not accepted. */
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
    const choices = (node.set & follow) === 0n ? 1 : Math.min(max - min + 1, n + 1);
    return { ways: choices, cost: Math.min(max, n) + 1 };
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
  const endsOpen = last?.node.kind === 'atom' && last.min !== last.max && (last.node.set & follow) !== 0n;
  return { ways: endings * (endsOpen ? n + 1 : 1), cost: (n + 1) * (length + 1) };
}

function isFixedAtom({ node, min, max }: Item): boolean {
  return node.kind === 'atom' && min === max && max > 0;
}

function largestCount(branches: Item[][]): number {
  return Math.max(...branches.flat().map(({ max }) => max));
}

function isSeparated(body: Item[]): boolean {
  const atoms = body.map(({ node }) => (node.kind === 'atom' ? node.set : undefined));
  if (atoms.includes(undefined) || body.filter(({ min, max }) => min !== max).length !== 1) return false;
  return [0, body.length - 1].some((place) => {
    const separator = body[place];
    if (separator === undefined || separator.min !== 1 || separator.max !== 1) return false;
    return atoms.every((set, index) => index === place || ((set ?? ALL) & (atoms[place] ?? ALL)) === 0n);
  });
}

/** Which characters a sequence may begin with; `follow` when all of it may be empty. */
function firstSet(items: Item[], follow: bigint): bigint {
  let set = 0n;
  for (const { node, min } of items) {
    if (node.kind === 'end') return set;
    if (node.kind === 'start' || node.kind === 'word') continue;
    if (node.kind === 'atom') {
      set |= node.set;
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

function characterSet(source: string): bigint {
  if (/\\[pPuxc]|[\u0100-\u{10FFFF}]/u.test(source)) return ALL;
  const matcher = new RegExp(`^${source}$`, 'u');
  let set = 0n;
  for (const [bit, sample] of SAMPLES.entries()) if (matcher.test(sample)) set |= 1n << BigInt(bit);
  return set;
}

// The source is known to be valid, so the parser only has to tell the parts apart.
const TOKEN =
  /\\[pPk][{<][^}>]*[}>]|\\u\{[^}]*\}|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\c[A-Za-z]|\\[\s\S]|\[(?:\\[\s\S]|[^\]\\])*\]|\(\?(?:<(?![=!])[^>]*>|[^)]?)|[\s\S]/uy;
const QUANTIFIER = /(?:[*+?]|\{(\d+)(,?)(\d*)\})\??/uy;

function parsePattern(source: string): Item[][] {
  let at = 0;
  const parseBranches = (): Item[][] => {
    const branches: Item[][] = [[]];
    while (at < source.length && source[at] !== ')') {
      if (source[at] === '|') {
        branches.push([]);
        at++;
      } else {
        const node = parseNode();
        branches.at(-1)?.push({ node, ...parseQuantifier() });
      }
    }
    return branches;
  };
  const parseNode = (): Node => {
    TOKEN.lastIndex = at;
    const token = TOKEN.exec(source)?.[0] ?? '';
    at += token.length;
    if (token === '^') return { kind: 'start' };
    if (token === '$') return { kind: 'end' };
    if (token === String.raw`\b` || token === String.raw`\B`) return { kind: 'word' };
    if (/^\\[k1-9]/.test(token)) throw new PatternRefused('uses a back-reference, which is not accepted');
    if (!token.startsWith('(')) return { kind: 'atom', set: characterSet(token) };
    if (token !== '(' && token !== '(?:' && !token.startsWith('(?<')) {
      throw new PatternRefused('uses a lookaround or an inline flag, which is not accepted');
    }
    if (token === '(?<')
      throw new PatternRefused('uses a lookaround or an inline flag, which is not accepted');
    const branches = parseBranches();
    at++;
    return { kind: 'group', branches };
  };
  const parseQuantifier = (): { min: number; max: number } => {
    QUANTIFIER.lastIndex = at;
    const match = QUANTIFIER.exec(source);
    if (match === null) return { min: 1, max: 1 };
    at += match[0].length;
    const sign = match[0][0];
    if (sign === '*') return { min: 0, max: Infinity };
    if (sign === '+') return { min: 1, max: Infinity };
    if (sign === '?') return { min: 0, max: 1 };
    const min = Number(match[1]);
    return { min, max: match[2] === '' ? min : match[3] === '' ? Infinity : Number(match[3]) };
  };
  return parseBranches();
}
