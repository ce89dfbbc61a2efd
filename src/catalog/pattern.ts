import { compileLinear } from './linear-pattern.ts';
import { measurePattern } from './pattern-cost.ts';
import { parsePattern } from './pattern-syntax.ts';

/** A `pattern` ready to be matched, in time that is known before. */
export type Pattern =
  | {
      kind: 'ok';
      engine: 'linear' | 'backtracking';
      /** The text must not be longer than `maxCharacters`. */
      test(text: string): boolean;
      /** The most steps a text of that many characters can take; a step is a few nanoseconds. */
      steps(characters: number): number;
      maxCharacters: number;
    }
  | { kind: 'refused'; message: string };

// Measured: up to 80 ns for each instruction and character while the engine still meets new states, against the few
// nanoseconds of one backtracking step.
const STEPS_PER_INSTRUCTION = 10;

/**
 * Compiles a pattern as `pattern` and `patternProperties` use it (flag `u`). RE2 matches it in linear time where it
 * can: everything but lookaheads in the middle, very long repetitions and rare Unicode properties. Those are left to
 * V8 where the structure bounds what it may cost, and otherwise refused, in words for the seller.
 */
export function compilePattern(source: string): Pattern {
  const parsed = parsePattern(source);
  if (parsed.kind === 'refused') return parsed;
  const linear = compileLinear(parsed.branches);
  if (linear !== undefined) {
    return {
      kind: 'ok',
      engine: 'linear',
      test: linear.test,
      steps: (characters) => STEPS_PER_INSTRUCTION * linear.size * (characters + 1),
      maxCharacters: Infinity,
    };
  }
  const cost = measurePattern(parsed.branches);
  if (cost.kind === 'refused') {
    return { kind: 'refused', message: `${WHY_NOT_LINEAR}, and it ${cost.message}` };
  }
  const expression = new RegExp(source, 'u');
  // Upper bounds for lengths up to each power of two, so that a test costs one look-up.
  const stepsByMagnitude = Array.from({ length: 32 }, (_, magnitude) => cost.steps(2 ** magnitude));
  return {
    kind: 'ok',
    engine: 'backtracking',
    test: (text) => expression.test(text),
    steps: (characters) => stepsByMagnitude[32 - Math.clz32(characters)] ?? Infinity,
    maxCharacters: cost.maxCharacters,
  };
}

const WHY_NOT_LINEAR =
  'cannot be matched in linear time (it has a lookahead that does not stand directly behind "^", repeats too much, or names a rare Unicode property)';
