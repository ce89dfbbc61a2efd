import assert from 'node:assert/strict';
import { it } from 'node:test';
import {
  estimateTokens,
  formatAgentDetail,
  formatAgentSummary,
  formatPriceLine,
  formatToolDescription,
} from '../../src/catalog/describe.ts';
import { sampleAgent } from './sample-manifest.ts';

const metered = { '/pricing': { model: 'per_unit', unit: 'page', credits_per_unit: 0.5, max: 10 } };

it('the price line has its fixed form', () => {
  assert.equal(
    formatPriceLine(sampleAgent({ '/pricing/free_tier_calls': undefined })),
    'Cost: 15 credits ($0.15) per successful call; failed calls are free. Trust 87/100. Timeout 45 s.',
  );
  assert.equal(
    formatPriceLine(sampleAgent(metered)),
    'Cost: 0.5 credits ($0.005) per page, at most 10 credits ($0.10) a call; failed calls are free. Trust 87/100. Timeout 45 s.',
  );
  const timeout = (ms: number | undefined): string =>
    formatPriceLine(sampleAgent({ ...metered, '/endpoint/timeout_ms': ms }));
  assert.match(timeout(1500), /Timeout 1\.5 s\.$/);
  assert.match(timeout(undefined), /Timeout 30 s\.$/);
});

it('free calls are told behind the price line', () => {
  const lineOf = (calls: number): string =>
    formatPriceLine(sampleAgent({ '/pricing/free_tier_calls': calls }));
  assert.ok(lineOf(1).endsWith('Timeout 45 s. The first call a month is free.'));
  assert.ok(lineOf(5).endsWith('Timeout 45 s. The first 5 calls a month are free.'));
  assert.ok(lineOf(0).endsWith('Timeout 45 s.'));
});

it("a tool's description is the seller's words and ends in the price line", () => {
  const agent = sampleAgent();
  const text = formatToolDescription(agent);
  assert.ok(text.startsWith(agent.manifest.description));
  assert.ok(text.endsWith(formatPriceLine(agent)));
});

it('a summary says what an agent costs and does, with amounts as strings', () => {
  assert.deepEqual(formatAgentSummary(sampleAgent()), {
    agent_id: 'agt_pdf_summariser_v2',
    display_name: 'PDF Summariser',
    description: 'Reads a PDF from a URL and answers with a short list of bullet points about it.',
    seller: 'org_1',
    seller_name: 'Acme Documents',
    trust_score: 87,
    badge: 'standard',
    price: { model: 'per_call', credits_per_call: '15', usd: '0.15', free_tier_calls: 2 },
    category: 'document-analysis',
    tags: ['pdf', 'summary'],
    version: '2.1.0',
    timeout_ms: 45_000,
    capabilities: { streaming: true, idempotent: true, keep_running: false, a2a_invocable: true },
  });
  assert.deepEqual(formatAgentSummary(sampleAgent(metered)).price, {
    model: 'per_unit',
    unit: 'page',
    credits_per_unit: '0.5',
    usd: '0.005',
    max: '10',
    max_usd: '0.10',
    free_tier_calls: 0,
  });
});

it('neither form tells where the agent listens', () => {
  assert.doesNotMatch(JSON.stringify(formatAgentDetail(sampleAgent())), /agents\.acme\.example/);
});

it('the detail adds schemas, hash, examples and how data is handled', () => {
  const agent = sampleAgent();
  const detail = formatAgentDetail(agent);
  assert.equal(detail.input_schema, agent.manifest.input_schema);
  assert.equal(detail.manifest_hash, agent.manifestHash);
  assert.equal(detail.examples.length, 1);
  assert.equal(detail.data_handling?.residency, 'eu');
  assert.equal(detail.homepage, 'https://acme.example/pdf');
});

it('tokens are estimated from bytes', () => {
  assert.equal(estimateTokens(''), 0);
  assert.equal(estimateTokens('abcde'), 2);
  assert.equal(estimateTokens('要'), 1);
});
