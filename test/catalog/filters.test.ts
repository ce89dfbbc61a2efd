import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Problem } from '../../src/base/problem.ts';
import { parseAgentSearch, parseFilters } from '../../src/catalog/filters.ts';

function refusal(query: string, parse: (query: URLSearchParams) => unknown = parseFilters): Problem {
  try {
    parse(new URLSearchParams(query));
  } catch (error) {
    assert.ok(error instanceof Problem);
    assert.equal(error.code, 'INVALID_INPUT');
    return error;
  }
  return assert.fail(`${query} is refused`);
}

it('a connection without filters sees what is worth 50 or more', () => {
  assert.deepEqual(parseFilters(new URLSearchParams()), {
    filters: { minTrustScore: 50 },
    tools: 'auto',
    maxListTokens: 8000,
  });
});

it('every filter is read', () => {
  const query =
    'min_trust_score=80&badge=standard&category=finance&agents=agt_a_v1,agt_b_v2,agt_a_v1&max_price=12.5&tools=meta&max_list_tokens=500';
  assert.deepEqual(parseFilters(new URLSearchParams(query)), {
    filters: {
      minTrustScore: 80,
      badge: 'standard',
      category: 'finance',
      agents: new Set(['agt_a_v1', 'agt_b_v2']),
      maxPriceMicros: 12_500_000n,
    },
    tools: 'meta',
    maxListTokens: 500,
  });
});

describe('a filter that cannot be understood is refused by name, never ignored', () => {
  const cases: [query: string, path: string, message: RegExp][] = [
    ['min_trust_score=abc', '/min_trust_score', /from 0 to 100/],
    ['min_trust_score=', '/min_trust_score', /from 0 to 100/],
    ['min_trust_score=50.5', '/min_trust_score', /from 0 to 100/],
    ['min_trust_score=-1', '/min_trust_score', /from 0 to 100/],
    ['min_trust_score=101', '/min_trust_score', /from 0 to 100/],
    ['min_trust_score=1e1', '/min_trust_score', /from 0 to 100/],
    ['min_trust_score=050', '/min_trust_score', /from 0 to 100/],
    ['min_trust_score=%2050', '/min_trust_score', /from 0 to 100/],
    ['badge=gold', '/badge', /basic, standard, premium/],
    ['badge=Premium', '/badge', /basic, standard, premium/],
    ['badge=', '/badge', /basic, standard, premium/],
    ['category=all', '/category', /data-processing/],
    ['agents=', '/agents', /agent ids/],
    ['agents=agt_a_v1,', '/agents', /agent ids/],
    ['agents=sentinel_agt_a_v1', '/agents', /agent ids/],
    ['max_price=-1', '/max_price', /amount of credits/],
    ['max_price=1e9', '/max_price', /amount of credits/],
    ['max_price=0.1234567', '/max_price', /amount of credits/],
    ['tools=all', '/tools', /direct, meta, auto/],
    ['max_list_tokens=many', '/max_list_tokens', /whole number/],
    ['badge=basic&badge=premium', '/badge', /only once/],
    ['min_trust=80', '/min_trust', /not a known parameter/],
    ['MIN_TRUST_SCORE=80', '/MIN_TRUST_SCORE', /not a known parameter/],
    ['constructor=1', '/constructor', /not a known parameter/],
    ['%00%3Cscript%3E=1', '/?', /not a known parameter/],
  ];
  for (const [query, path, message] of cases) {
    it(query, () => {
      const fault = refusal(query).extras.faults?.find((each) => each.path === path);
      assert.match(fault?.message ?? '', message);
    });
  }
});

it('all faults of a query are named together', () => {
  assert.equal(refusal('badge=gold&tools=all&x=1').extras.faults?.length, 3);
});

describe('a key in the URL is refused and never repeated', () => {
  const queries = [
    'api_key=hunter2',
    'API-KEY=hunter2',
    'key=hunter2',
    'token=hunter2',
    'access_token=hunter2',
    'x-api-key=hunter2',
    'badge=sk_live_hunter2',
    'sk_live_hunter2=1',
    'anything=sk_test_hunter2',
    'a=Bearer%20sk_live_hunter2',
  ];
  for (const query of queries) {
    it(query, () => {
      const problem = refusal(query);
      assert.match(problem.message, /must not be in the URL/);
      assert.doesNotMatch(JSON.stringify([problem.message, problem.extras]), /hunter2/);
    });
  }
});

it('a search reads its own parameters and refuses those of a connection', () => {
  assert.deepEqual(
    parseAgentSearch(new URLSearchParams('q=pdf&sort=price_asc&limit=5&cursor=abc&min_trust_score=0')),
    {
      filters: { minTrustScore: 0 },
      q: 'pdf',
      sort: 'price_asc',
      limit: 5,
      cursor: 'abc',
    },
  );
  for (const query of ['limit=0', 'limit=101', 'sort=popular', 'tools=meta', `q=${'x'.repeat(501)}`]) {
    assert.equal(refusal(query, parseAgentSearch).extras.faults?.length, 1);
  }
});
