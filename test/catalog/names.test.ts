import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { editDistance, nearestName } from '../../src/catalog/edit-distance.ts';
import { findLookalike } from '../../src/catalog/names.ts';

describe("an id that reads like another seller's is refused", () => {
  const cases: [id: string, other: string, rule: RegExp | undefined][] = [
    ['agt_pdf_reader_v2', 'agt_pdf_reader_v1', /another major/],
    ['agt_pdf_readers_v1', 'agt_pdf_reader_v1', /one character/],
    ['agt_pdf_raeder_v1', 'agt_pdf_reader_v1', /one character/],
    ['agt_pdfreader_v1', 'agt_pdf_reader_v1', /one character/],
    ['agt_p_d_f_reader_v1', 'agt_pdf_reader_v1', /look-alike/],
    ['agt_g00gle_mail_v1', 'agt_google_mail_v1', /look-alike/],
    ['agt_ernai1_tool_v1', 'agt_email_tool_v1', /look-alike/],
    ['agt_reader_pdf_v1', 'agt_pdf_reader_v1', /another order/],
    ['agt_acme_tracker_h0a1b2c_v1', 'agt_acme_tracker_hf9e8d7_v1', /shortened to the same words/],
    ['agt_acme_tracker_h0a1b2c_v1', 'agt_acme_planner_hf9e8d7_v1', undefined],
    ['agt_pdf_writer_v1', 'agt_pdf_reader_v1', undefined],
    ['agt_csv_profiler_v1', 'agt_pdf_reader_v1', undefined],
  ];
  for (const [id, other, rule] of cases) {
    it(`${id} beside ${other}: ${rule?.source ?? 'accepted'}`, () => {
      const found = findLookalike(id, other);
      if (rule === undefined) assert.equal(found, undefined);
      else assert.match(found ?? '', rule);
    });
  }
});

it('edit distance counts insertions, deletions, replacements and swaps, up to its limit', () => {
  assert.equal(editDistance('kitten', 'sitting', 5), 3);
  assert.equal(editDistance('ab', 'ba', 5), 1);
  assert.equal(editDistance('', 'abc', 5), 3);
  assert.equal(editDistance('abcdef', 'uvwxyz', 2), 3);
});

it('a suggestion is only made when the word is near enough to have been meant', () => {
  assert.equal(nearestName('maxLenght', ['minLength', 'maxLength']), 'maxLength');
  assert.equal(nearestName('x', ['y']), undefined);
  assert.equal(nearestName('colour', ['tags', 'version']), undefined);
});
