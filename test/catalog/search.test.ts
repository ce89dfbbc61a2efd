import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { searchEntries, SORTS, type AgentSearch } from '../../src/catalog/search.ts';
import { sampleEntry } from './sample-manifest.ts';

const filters = { minTrustScore: 50 };
const description = (words: string): string =>
  `${words}. ${'This agent exists to be found by those who look. '.repeat(2)}`;

const ENTRIES = [
  sampleEntry(
    {
      '/agent_id': 'agt_invoice_v1',
      '/display_name': 'Invoice Reader',
      '/tags': ['pdf'],
      '/description': description('Reads résumés'),
      '/pricing/credits_per_call': 5,
    },
    { trustScore: 60, createdAt: new Date(3000) },
  ),
  sampleEntry(
    {
      '/agent_id': 'agt_pdf_v1',
      '/display_name': 'PDF Tool',
      '/tags': ['reader'],
      '/description': description('Handles invoices'),
      '/pricing/credits_per_call': 20,
    },
    { trustScore: 95, createdAt: new Date(1000) },
  ),
  sampleEntry(
    {
      '/agent_id': 'agt_mail_v1',
      '/display_name': 'Mailer',
      '/tags': ['post'],
      '/description': description('Sends a pdf by mail'),
      '/pricing/credits_per_call': 0.5,
    },
    { trustScore: 80, createdAt: new Date(2000) },
  ),
  sampleEntry(
    { '/agent_id': 'agt_shady_v1', '/display_name': 'PDF Shady', '/tags': ['pdf'] },
    { trustScore: 20 },
  ),
];

const found = (search: Partial<AgentSearch>): string[] =>
  searchEntries(ENTRIES, { filters, ...search }).items.map(({ id }) => id);

describe('relevance', () => {
  const cases: [q: string, ids: string[]][] = [
    ['pdf', ['agt_pdf_v1', 'agt_invoice_v1', 'agt_mail_v1']],
    ['PD', ['agt_pdf_v1', 'agt_invoice_v1', 'agt_mail_v1']],
    ['invoice', ['agt_invoice_v1', 'agt_pdf_v1']],
    ['read', ['agt_invoice_v1', 'agt_pdf_v1']],
    ['resume', ['agt_invoice_v1']],
    ['pdf mail', ['agt_mail_v1']],
    ['pdf nothing', []],
    ['df', []],
    ['!!!', []],
    ['', ['agt_pdf_v1', 'agt_mail_v1', 'agt_invoice_v1']],
  ];
  for (const [q, ids] of cases)
    it(`"${q}" finds ${ids.join(', ') || 'nothing'}`, () => assert.deepEqual(found({ q }), ids));
});

it('each sort has its order', () => {
  assert.deepEqual(found({ sort: 'trust_score' }), ['agt_pdf_v1', 'agt_mail_v1', 'agt_invoice_v1']);
  assert.deepEqual(found({ sort: 'price_asc' }), ['agt_mail_v1', 'agt_invoice_v1', 'agt_pdf_v1']);
  assert.deepEqual(found({ sort: 'price_desc' }), ['agt_pdf_v1', 'agt_invoice_v1', 'agt_mail_v1']);
  assert.deepEqual(found({ sort: 'newest' }), ['agt_invoice_v1', 'agt_mail_v1', 'agt_pdf_v1']);
});

it('the filters hide what they hide everywhere', () => {
  assert.deepEqual(found({ q: 'shady' }), []);
  assert.deepEqual(found({ q: 'shady', filters: { minTrustScore: 0 } }), ['agt_shady_v1']);
  assert.deepEqual(found({ filters: { minTrustScore: 0, maxPriceMicros: 5_000_000n } }), [
    'agt_mail_v1',
    'agt_invoice_v1',
  ]);
});

for (const sort of SORTS) {
  it(`pages by ${sort} hold every agent once, even when agents come and go between them`, () => {
    const many = Array.from({ length: 23 }, (_, index) =>
      sampleEntry(
        { '/agent_id': `agt_n${index}_v1`, '/pricing/credits_per_call': (index % 4) + 0.5 },
        { trustScore: 50 + (index % 3), createdAt: new Date(index % 5) },
      ),
    );
    const whole = searchEntries(many, { filters, sort, q: 'pdf', limit: 100 });
    const seen: string[] = [];
    let cursor: string | null | undefined;
    for (let page = 0; page < 10 && cursor !== null; page++) {
      const answer = searchEntries(many, {
        filters,
        sort,
        q: 'pdf',
        limit: 5,
        ...(cursor === undefined ? {} : { cursor }),
      });
      assert.ok(answer.items.length > 0);
      seen.push(...answer.items.map(({ id }) => id));
      cursor = answer.nextCursor;
      // The agent the cursor stands on leaves the market.
      if (page === 1)
        many.splice(
          many.findIndex(({ agent }) => agent.id === seen.at(-1)),
          1,
        );
    }
    assert.equal(cursor, null);
    assert.equal(whole.total, 23);
    assert.deepEqual(
      seen,
      whole.items.map(({ id }) => id),
    );
  });
}

it('a cursor of another search, or none of ours, is refused', () => {
  const { nextCursor } = searchEntries(ENTRIES, { filters, limit: 1 });
  assert.ok(nextCursor);
  const foreign = [
    nextCursor,
    'abc',
    '',
    Buffer.from('[1,2]').toString('base64url'),
    Buffer.from('{}').toString('base64url'),
  ];
  for (const cursor of foreign) {
    assert.throws(() => searchEntries(ENTRIES, { filters, q: 'pdf', cursor }), { code: 'INVALID_INPUT' });
  }
});
