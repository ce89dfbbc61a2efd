import { RE2JS } from 're2js';
import { formatCodePoints } from './code-points.ts';
import type { Branch, Item } from './pattern-syntax.ts';

/** A pattern as the linear engine matches it. */
export type LinearPattern = {
  test(text: string): boolean;
  /** How many instructions its programs have: each is visited at most once for each character of a text. */
  size: number;
};

/** The largest program that is accepted: `^.{1,1000}$` has about 2,000 instructions. */
const MAX_PROGRAM_SIZE = 5_000;
// The engine's own limit of one repetition and of those nested in each other.
const MAX_REPETITIONS = 1_000;

/**
 * Compiles a pattern for RE2, whose time grows with the text and never worse; undefined where RE2 cannot say it.
 * RE2 has no lookaheads, but those that stand directly behind `^` are conditions on the whole text, beside the rest:
 * `^(?!A)(?=B)C` matches exactly where `^A` does not, `^B` does and `^C` does.
 */
export function compileLinear(branches: Branch[]): LinearPattern | undefined {
  const plain = branches.filter((branch) => !branch.some(isLookahead));
  const alternatives = branches.filter((branch) => branch.some(isLookahead)).map(splitConditions);
  if (plain.length > 0) alternatives.unshift([{ branches: plain, negated: false }]);
  const conditions = alternatives.map((each) =>
    each.map(({ branches: parts, negated }) => ({ program: compileProgram(parts), negated })),
  );
  let size = 0;
  for (const { program } of conditions.flat()) {
    if (program === undefined) return undefined;
    size += program.size;
  }
  return {
    size,
    test: (text) =>
      conditions.some((all) => all.every(({ program, negated }) => program?.test(text) !== negated)),
  };
}

type Condition = { branches: Branch[]; negated: boolean };

function isLookahead({ node }: Item): boolean {
  return node.kind === 'lookahead';
}

/** The lookaheads behind the `^` of a branch and the rest of it, each as a condition on the whole text. */
function splitConditions(branch: Branch): Condition[] {
  const [start] = branch;
  if (start?.node.kind !== 'start') return [{ branches: [branch], negated: false }];
  let rest = 1;
  const conditions: Condition[] = [];
  for (; rest < branch.length; rest++) {
    const node = branch[rest]?.node;
    if (node?.kind !== 'lookahead') break;
    conditions.push({
      branches: node.branches.map((inner) => [start, ...inner]),
      negated: node.negated,
    });
  }
  return [...conditions, { branches: [[start, ...branch.slice(rest)]], negated: false }];
}

function compileProgram(branches: Branch[]): LinearPattern | undefined {
  const written = writeBranches(branches);
  if (written === undefined || written.size > MAX_PROGRAM_SIZE) return undefined;
  let program: RE2JS;
  try {
    program = RE2JS.compile(written.text);
  } catch {
    return undefined;
  }
  const size = program.programSize();
  let spent = 0;
  return {
    size,
    test: (text) => {
      // The engine remembers the states it has been in, up to several megabytes. Starting it afresh costs about 0.1 ms.
      spent += size * text.length;
      if (spent > MAX_REMEMBERED) {
        spent = 0;
        program = RE2JS.compile(written.text);
      }
      return program.test(text);
    },
  };
}

const MAX_REMEMBERED = 1_000_000;

/** RE2's spelling of a part, and about how many instructions it takes once its repetitions are unrolled. */
type Written = { text: string; size: number };

function writeBranches(branches: Branch[]): Written | undefined {
  return join(branches.map(writeBranch), '|');
}

function writeBranch(branch: Branch): Written | undefined {
  return join(branch.map(writeItem), '');
}

function join(parts: (Written | undefined)[], separator: string): Written | undefined {
  let size = 0;
  const texts: string[] = [];
  for (const part of parts) {
    if (part === undefined) return undefined;
    size += part.size + 1;
    texts.push(part.text);
  }
  return { text: texts.join(separator), size };
}

function writeItem({ node, min, max }: Item): Written | undefined {
  switch (node.kind) {
    case 'start':
      return { text: '\\A', size: 1 };
    case 'end':
      return { text: '\\z', size: 1 };
    case 'word':
      return { text: node.negated ? '\\B' : '\\b', size: 1 };
    case 'lookahead':
      return undefined;
    case 'atom':
      return writeRepeated({ text: formatCodePoints(node.source), size: 1 }, min, max);
    case 'group': {
      const inner = writeBranches(node.branches);
      return inner && writeRepeated({ ...inner, text: `(?:${inner.text})` }, min, max);
    }
  }
}

function writeRepeated({ text, size }: Written, min: number, max: number): Written | undefined {
  const unrolled = size * (max === Infinity ? min + 1 : max) + 1;
  if (unrolled > MAX_PROGRAM_SIZE) return undefined;
  if (min === 1 && max === 1) return { text, size };
  if (max === Infinity && min <= 1) return { text: `${text}${min === 0 ? '*' : '+'}`, size: unrolled };
  // x{1500,} is x{1000}x{500}x*, and so on.
  let written = '';
  for (let left = min; left > 0; left -= MAX_REPETITIONS)
    written += `${text}{${Math.min(left, MAX_REPETITIONS)}}`;
  if (max === Infinity) written += `${text}*`;
  else
    for (let left = max - min; left > 0; left -= MAX_REPETITIONS)
      written += `${text}{0,${Math.min(left, MAX_REPETITIONS)}}`;
  return { text: `(?:${written})`, size: unrolled };
}
