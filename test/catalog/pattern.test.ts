import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { MAX_STEPS_PER_TEXT } from '../../src/catalog/pattern-cost.ts';
import { withoutNeedlessEscapes } from '../../src/catalog/pattern-syntax.ts';
import { compilePattern, type Pattern } from '../../src/catalog/pattern.ts';

describe('patterns sellers really write are matched in linear time', () => {
  const accepted = [
    '',
    '^.+$',
    '^[a-z]+(-[a-z]+)*$',
    '^([a-z0-9-]+\\.)+[a-z]{2,}$',
    '^[^@]+@[^@]+\\.[^@]+$',
    '^https?://.+\\.pdf$',
    '^\\d{4}-\\d{2}-\\d{2}$',
    '^(\\d{1,3}\\.){3}\\d{1,3}$',
    '^#[0-9a-f]{3,8}$',
    '^[A-Za-z0-9+/]*={0,2}$',
    '^(?:[01]\\d|2[0-3]):[0-5]\\d$',
    '^\\p{L}+$',
    '^v\\d+\\.\\d+\\.\\d+(-[a-z0-9.]+)?$',
    '^(?<year>\\d{4})$',
    '^[\\]\\\\-]+$',
    '^\\u{1F600}$',
    '(a+)+$',
    '^(([a-z])+.)+[A-Z]([a-z])+$',
    '.*.*.*=.*',
    '^(\\p{Extended_Pictographic}|\\p{Emoji_Component})+$',
    // A schema library's e-mail address, host name, UUID, date and IPv4 network.
    "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$",
    '^(?=.{1,253}\\.?$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{0,61}[0-9a-zA-Z])?)*\\.?$',
    '^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}|00000000-0000-0000-0000-000000000000)$',
    '^(?:(?:\\d\\d[2468][048]|\\d\\d[13579][26]|\\d\\d0[48]|[02468][048]00|[13579][26]00)-02-29|\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|(?:02)-(?:0[1-9]|1\\d|2[0-8])))$',
    '^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])\\/([0-9]|[1-2][0-9]|3[0-2])$',
  ];
  for (const pattern of accepted) {
    it(pattern.slice(0, 60) || '(empty)', () => assert.equal(engineOf(pattern), 'linear'));
  }
});

describe('what the linear engine cannot say is left to V8 where it is bounded', () => {
  const bounded = [
    // A schema library's ISO 8601 duration.
    '^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$',
    '(?=.*\\d)(?=.*[a-z]).{8,}',
    '^.{1,9000}$',
    '^\\p{ID_Start}\\p{ID_Continue}*$',
  ];
  for (const pattern of bounded) {
    it(pattern.slice(0, 60), () => {
      const compiled = compilePattern(pattern);
      assert.ok(compiled.kind === 'ok' && compiled.engine === 'backtracking');
      assert.ok(compiled.steps(Math.min(compiled.maxCharacters / 2, 1e6)) <= MAX_STEPS_PER_TEXT);
    });
  }
});

describe('a pattern that no engine can bound is refused by name', () => {
  const refused: [pattern: string, why: RegExp][] = [
    ['^((?!b)a+)*$', /lookahead .* repeats a group/],
    ['(?=(a+)+$)b', /lookahead .* repeats a group/],
    ['(?=.*.*.*.*=)', /lookahead .* could take too long/],
    ['(?<!a)b', /lookbehind/],
    ['(a)\\1', /back-reference/],
    ['(?<x>a)\\k<x>', /back-reference/],
    ['(?i:a)', /inline flag/],
    ['(', /not a valid regular expression/],
    ['[z-a]', /not a valid regular expression/],
    ['a'.repeat(4097), /longer than 4096/],
    [`${'('.repeat(200)}a${')'.repeat(200)}`, /nests more than 100/],
    ['((a{900}){900}b?)*', /repeats too much/],
  ];
  for (const [pattern, why] of refused) {
    it(pattern.slice(0, 40), () => {
      const verdict = compilePattern(pattern);
      assert.ok(verdict.kind === 'refused');
      assert.match(verdict.message, why);
    });
  }
});

const ATOMS = String.raw`a b . \d \D \w \W \s \S \p{L} \P{L} \p{Script=Greek} \p{Lowercase_Letter} [a-c] [^a] [] [^] [\s\d] [^\S_] [a\-z] [\w.-] \u{1F600} \uD83D\uDE00 😀 \x41 \cJ \n \0 [\b] \/ [\]\[] é [[:alpha:] [\u{1F600}-\u{1F64F}] [+--] [\p{L}\s]`;
const CHARACTERS = ['😀', '\uD800', '\uDC00'].concat(
  'abcA1_ \n\r\u2028\u00A0\uFEFF\véα-./][\0\b:\u0085\u180E+,'.split(''),
);

it('the linear engine finds exactly what ECMAScript finds under the flag u', () => {
  const atom = fc.constantFrom(...ATOMS.split(' '));
  const quantifier = fc.constantFrom('', '', '*', '+', '?', '{2}', '{1,3}', '{0}', '{2,}', '*?', '+?');
  const pieces = fc.letrec<{ branch: string; alternatives: string }>((tie) => ({
    branch: fc
      .array(
        fc.oneof(
          { maxDepth: 3 },
          fc.tuple(atom, quantifier).map(([one, times]) => one + times),
          fc.constantFrom('^', '$', '\\b', '\\B'),
          fc
            .tuple(fc.constantFrom('(?:', '('), tie('alternatives'), quantifier)
            .map(([open, inner, times]) => `${open}${inner})${times}`),
        ),
        { maxLength: 4 },
      )
      .map((parts) => parts.join('')),
    alternatives: fc.array(tie('branch'), { minLength: 1, maxLength: 3 }).map((each) => each.join('|')),
  }));
  const guarded = fc
    .tuple(
      fc.array(fc.tuple(fc.constantFrom('(?=', '(?!'), pieces.alternatives), { maxLength: 2 }),
      pieces.alternatives,
    )
    .map(([looks, rest]) => `^${looks.map(([open, inner]) => `${open}${inner})`).join('')}(?:${rest})`);
  const character = fc.constantFrom(...CHARACTERS);
  const text = fc.array(character, { maxLength: 6 }).map((each) => each.join(''));
  const found = { yes: 0, no: 0 };
  fc.assert(
    fc.property(
      fc.oneof(pieces.alternatives, guarded),
      fc.array(text, { minLength: 8, maxLength: 12 }),
      (pattern, texts) => {
        const compiled = accepted(pattern);
        assert.equal(compiled.engine, 'linear');
        const expression = new RegExp(pattern, 'u');
        for (const each of texts) {
          // V8 also looks for `\B` between the halves of a pair, where no search begins (ECMA-262 section 22.2.7.2).
          if (pattern.includes('\\B') && each.includes('😀')) continue;
          const expected = expression.test(each);
          found[expected ? 'yes' : 'no']++;
          assert.equal(compiled.test(each), expected, JSON.stringify([pattern, each]));
        }
      },
    ),
    { numRuns: 500 },
  );
  assert.ok(found.yes > 500 && found.no > 500, JSON.stringify(found));
});

it('a text that would stop a backtracking engine is matched in no time', () => {
  const started = performance.now();
  assert.equal(accepted('^(\\w+\\s?)*$').test(`${'a '.repeat(5_000)}!`), false);
  assert.equal(accepted('(a|a)*b|(a*)*c').test('a'.repeat(10_000)), false);
  assert.ok(performance.now() - started < 1_000);
});

it('escapes that mean nothing are taken out where the flag u forbids them', () => {
  assert.equal(withoutNeedlessEscapes('^\\"[\\w\\-\\@]+\\-\\"$'), '^"[\\w\\-@]+-"$');
  assert.equal(withoutNeedlessEscapes('^[\\w\\-]+\\.$'), '^[\\w\\-]+\\.$');
  assert.equal(withoutNeedlessEscapes('\\"('), '\\"(');
});

function accepted(pattern: string): Extract<Pattern, { kind: 'ok' }> {
  const compiled = compilePattern(pattern);
  assert.ok(compiled.kind === 'ok', JSON.stringify(compiled));
  return compiled;
}

function engineOf(pattern: string): string {
  return accepted(pattern).engine;
}
