import { hashJson } from '../../src/base/canonical-json.ts';
import { isJsonObject, type Json, type JsonObject } from '../../src/base/json.ts';
import { invariant } from '../../src/base/invariant.ts';
import type { Agent } from '../../src/catalog/agent.ts';
import { parseManifest } from '../../src/catalog/manifest.ts';
import type { SearchEntry } from '../../src/catalog/search.ts';
import { makeCompiledSchemas, makeEntry } from '../../src/catalog/snapshot.ts';

/** A manifest without faults; `changes` replaces members by JSON Pointer, and `undefined` removes them. */
export function sampleManifest(changes: Record<string, Json | undefined> = {}): JsonObject {
  const manifest: JsonObject = {
    schema_version: '1.0',
    agent_id: 'agt_pdf_summariser_v2',
    display_name: 'PDF Summariser',
    description: 'Reads a PDF from a URL and answers with a short list of bullet points about it.',
    version: '2.1.0',
    seller: 'Acme Documents',
    homepage: 'https://acme.example/pdf',
    category: 'document-analysis',
    tags: ['pdf', 'summary'],
    pricing: { model: 'per_call', credits_per_call: 15, free_tier_calls: 2 },
    endpoint: { protocol: 'http', url: 'https://agents.acme.example/pdf', timeout_ms: 45_000 },
    input_schema: {
      type: 'object',
      properties: {
        url: { type: 'string', format: 'uri' },
        max_bullets: { type: 'integer', minimum: 1, maximum: 20 },
      },
      required: ['url'],
      additionalProperties: false,
    },
    output_schema: {
      type: 'object',
      properties: { bullets: { type: 'array', items: { type: 'string' } } },
      required: ['bullets'],
    },
    examples: [{ input: { url: 'https://acme.example/a.pdf' }, output: { bullets: ['It is short.'] } }],
    capabilities: { streaming: true, idempotent: true },
    data_handling: { pii_processed: false, data_retention_days: 0, residency: 'eu', subprocessors: [] },
  };
  for (const [pointer, value] of Object.entries(changes))
    replaceAt(manifest, pointer.split('/').slice(1), value);
  return manifest;
}

/** The agent a manifest becomes once it is verified with this score. */
export function sampleEntry(
  changes: Record<string, Json | undefined> = {},
  standing: { trustScore?: number; createdAt?: Date } = {},
): SearchEntry {
  const parsed = parseManifest(sampleManifest(changes));
  invariant(parsed.kind === 'ok', `the sample has no faults: ${JSON.stringify(parsed)}`);
  const { manifest } = parsed;
  return makeEntry(
    {
      manifest,
      manifestHash: hashJson(manifest as unknown as JsonObject),
      sellerId: 'org_1',
      trustScore: standing.trustScore ?? 87,
      createdAt: standing.createdAt ?? new Date(0),
    },
    makeCompiledSchemas(100),
  );
}

export function sampleAgent(changes: Record<string, Json | undefined> = {}, trustScore = 87): Agent {
  return sampleEntry(changes, { trustScore }).agent;
}

function replaceAt(target: Json | undefined, [name, ...rest]: string[], value: Json | undefined): void {
  invariant(isJsonObject(target) && name !== undefined, 'a change names a member of an object');
  if (rest.length > 0) replaceAt(target[name], rest, value);
  else if (value === undefined) delete target[name];
  else target[name] = value;
}
