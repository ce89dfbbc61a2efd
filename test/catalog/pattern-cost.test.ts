import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judgePattern, MAX_STEPS_PER_TEXT } from '../../src/catalog/pattern-cost.ts';

describe('patterns sellers really write are accepted', () => {
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
  ];
  for (const pattern of accepted) {
    it(`${pattern || '(empty)'} is accepted`, () => assert.equal(judgePattern(pattern).kind, 'ok'));
  }
});

describe('patterns that can stop the process are refused', () => {
  const refused: [pattern: string, why: RegExp][] = [
    ['(a+)+$', /repeats a group/],
    ['(a*)*', /repeats a group/],
    ['(a|a)*$', /repeats a group/],
    ['(a|ab)*c', /repeats a group/],
    ['(x+x+)+y', /repeats a group/],
    ['^(-a*a*)*$', /repeats a group/],
    ['^(.*,)*x$', /repeats a group/],
    ['([a-z]{1,50}){1,50}!', /repeats a group/],
    ['^(([a-z])+.)+[A-Z]([a-z])+$', /repeats a group/],
    ['^((a+)b?)*$', /repeats a group/],
    ['(?:|a)+$', /repeats a group/],
    ['.*.*.*=.*', /could take too long/],
    [`${'a?'.repeat(30)}${'a'.repeat(30)}`, /could take too long/],
    [`${'(a|a)'.repeat(40)}b`, /could take too long/],
    ['^(?=a)b', /lookaround/],
    ['(?<!a)b', /lookaround/],
    ['(a)\\1', /back-reference/],
    ['(?<x>a)\\k<x>', /back-reference/],
    ['(', /not a valid regular expression/],
    ['[z-a]', /not a valid regular expression/],
    ['a'.repeat(257), /longer than 256/],
  ];
  for (const [pattern, why] of refused) {
    it(`${pattern.slice(0, 40)} is refused`, () => {
      const verdict = judgePattern(pattern);
      assert.ok(verdict.kind === 'refused');
      assert.match(verdict.message, why);
    });
  }
});

it('the longest text a pattern is tried on stays within the steps one text may cost', () => {
  const verdict = judgePattern('\\s+$');
  assert.ok(verdict.kind === 'ok');
  assert.ok(verdict.steps(verdict.maxCharacters) <= MAX_STEPS_PER_TEXT);
  assert.ok(verdict.steps(verdict.maxCharacters + 1) > MAX_STEPS_PER_TEXT);
});
