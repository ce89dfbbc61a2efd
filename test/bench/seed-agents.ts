import type pg from 'pg';
import { hashJson } from '../../src/base/canonical-json.ts';
import type { JsonObject } from '../../src/base/json.ts';

export type SeedAgent = { url: string; protocol: 'http' | 'mcp'; streaming?: boolean };

/** The id the n-th seeded agent has; the first one is what is called. */
export function seedId(n: number): string {
  return `agt_echo_${n}_v1`;
}

/**
 * Puts `count` verified agents into the catalogue. Straight into the tables: publishing ten thousand one by
 * one is not what is measured.
 */
export async function seedAgents(
  pool: pg.Pool,
  sellerId: string,
  count: number,
  agent: SeedAgent,
): Promise<void> {
  const manifests = Array.from({ length: count }, (_, n) => manifestOf(n, agent));
  await pool.query(
    `INSERT INTO agents (id, organization_id, category, display_name, trust_score, status, current_version)
     SELECT m->>'agent_id', $1, 'other', 'Echo', 80, 'verified', '1.0.0' FROM unnest($2::jsonb[]) AS m`,
    [sellerId, manifests.map((manifest) => JSON.stringify(manifest))],
  );
  await pool.query(
    `INSERT INTO agent_versions (agent_id, version, manifest, manifest_hash)
     SELECT m->>'agent_id', '1.0.0', m, h FROM unnest($1::jsonb[], $2::text[]) AS x (m, h)`,
    [manifests.map((manifest) => JSON.stringify(manifest)), manifests.map((manifest) => hashJson(manifest))],
  );
}

function manifestOf(n: number, agent: SeedAgent): JsonObject {
  return {
    schema_version: '1.0',
    agent_id: seedId(n),
    display_name: `Echo ${n}`,
    description: `Gives back the text it was given, unchanged. It is number ${n} of many that all do the same.`,
    version: '1.0.0',
    category: 'other',
    pricing: { model: 'per_call', credits_per_call: '0.001' },
    endpoint: {
      protocol: agent.protocol,
      url: agent.url,
      ...(agent.protocol === 'mcp' ? { tool: 'echo' } : {}),
      timeout_ms: 30_000,
    },
    input_schema: {
      type: 'object',
      properties: { text: { type: 'string', maxLength: 10_000, description: 'What to give back.' } },
      required: ['text'],
      additionalProperties: false,
    },
    ...(agent.protocol === 'http' ? { output_schema: { type: 'object' } } : {}),
    capabilities: { streaming: agent.streaming === true },
  };
}
