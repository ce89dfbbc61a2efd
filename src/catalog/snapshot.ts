import { and, eq, sql } from 'drizzle-orm';
import { LRUCache } from 'lru-cache';
import semver from 'semver';
import { invariant } from '../base/invariant.ts';
import type { JsonObject } from '../base/json.ts';
import { parseCredits } from '../base/money.ts';
import type { Db } from '../db/db.ts';
import { badgeOf, type Agent, type Manifest, type Price } from './agent.ts';
import { DEFAULT_MAX_PAYLOAD_BYTES, DEFAULT_TIMEOUT_MS } from './manifest-schema.ts';
import { toolNameOf } from './agent-id.ts';
import { toHostForm } from './host-form.ts';
import { isBetter, isSamePrice } from './price-in-force.ts';
import { searchTextOf, type SearchEntry } from './search.ts';
import { agents, agentVersions } from './tables.ts';
import { compileSchema, type Check } from './validator.ts';

/** What is read of one agent for sale. */
export type AgentRow = {
  manifest: Manifest;
  manifestHash: string;
  sellerId: string;
  trustScore: number | null;
  createdAt: Date;
  /** What the versions before this one cost, in any order; null where there are none. */
  earlier?: EarlierVersion[] | null;
};

type EarlierVersion = { version: string; pricing: Manifest['pricing'] };

const EARLIER_VERSIONS = sql<EarlierVersion[] | null>`(
  SELECT json_agg(json_build_object('version', v.version, 'pricing', v.manifest -> 'pricing'))
  FROM ${agentVersions} v WHERE v.agent_id = ${agents.id} AND v.version <> ${agents.currentVersion})`;

/** Every agent for sale, or the one asked for if it is. */
export async function listAgentsForSale(db: Db, agentId?: string): Promise<AgentRow[]> {
  return db
    .select({
      manifest: agentVersions.manifest,
      manifestHash: agentVersions.manifestHash,
      sellerId: agents.organizationId,
      trustScore: agents.trustScore,
      createdAt: agents.createdAt,
      earlier: EARLIER_VERSIONS,
    })
    .from(agents)
    .innerJoin(
      agentVersions,
      and(eq(agentVersions.agentId, agents.id), eq(agentVersions.version, agents.currentVersion)),
    )
    .where(and(eq(agents.status, 'verified'), agentId === undefined ? undefined : eq(agents.id, agentId)));
}

/**
 * Compiled schemas, made when first used and at most `max` of them: ten thousand agents' would take 20 s to
 * compile and most are never called. Forgetting a replaced agent's frees it at once.
 */
export type CompiledSchemas = { check(schema: JsonObject): Check; forget(agent: Agent): void };

export function makeCompiledSchemas(max: number): CompiledSchemas {
  const compiled = new LRUCache<JsonObject, Check>({ max });
  return {
    check(schema) {
      let check = compiled.get(schema);
      if (check === undefined) {
        check = compileSchema(schema);
        compiled.set(schema, check);
      }
      return check;
    },
    forget({ manifest }) {
      compiled.delete(manifest.input_schema);
      if (manifest.output_schema !== undefined) compiled.delete(manifest.output_schema);
    },
  };
}

/** An agent for sale, with everything a call and a search need computed. */
export function makeEntry(row: AgentRow, schemas: CompiledSchemas): SearchEntry {
  const { manifestHash, sellerId, trustScore } = row;
  invariant(trustScore !== null, 'a verified agent has a trust score');
  const manifest = inHostForm(row.manifest);
  const { input_schema: inputSchema, output_schema: outputSchema } = manifest;
  const agent: Agent = Object.freeze({
    id: manifest.agent_id,
    version: manifest.version,
    manifest,
    manifestHash,
    sellerId,
    ...pricesOf(row),
    timeoutMs: manifest.endpoint.timeout_ms ?? DEFAULT_TIMEOUT_MS,
    maxPayloadBytes: manifest.endpoint.max_payload_bytes ?? DEFAULT_MAX_PAYLOAD_BYTES,
    trustScore,
    badge: badgeOf(trustScore),
    toolName: toolNameOf(manifest.agent_id),
    checkInput: (input: unknown) => schemas.check(inputSchema)(input),
    checkOutput:
      outputSchema === undefined ? () => [] : (output: unknown) => schemas.check(outputSchema)(output),
  });
  return { agent, createdAtMs: row.createdAt.getTime(), text: searchTextOf(manifest) };
}

/** What an earlier release stored may hold words that not every host takes. What is stored does not change. */
function inHostForm(stored: Manifest): Manifest {
  const { output_schema: outputSchema } = stored;
  return {
    ...stored,
    input_schema: toHostForm(stored.input_schema),
    ...(outputSchema === undefined ? {} : { output_schema: toHostForm(outputSchema) }),
  };
}

/** Whether what is stored is what the snapshot already has. */
export function isSame({ agent }: SearchEntry, row: AgentRow): boolean {
  return (
    agent.manifestHash === row.manifestHash &&
    agent.trustScore === row.trustScore &&
    agent.sellerId === row.sellerId
  );
}

/** Today's price, its number, and what a buyer who was shown an earlier one may insist on. */
function pricesOf({ manifest, earlier }: AgentRow): Pick<Agent, 'price' | 'priceNumber' | 'betterPrices'> {
  const price = priceOf(manifest.pricing);
  if (!earlier) return { price, priceNumber: 1 };
  const inOrder = [...earlier].sort((a, b) => semver.compare(a.version, b.version));
  const prices = inOrder.map(({ pricing }) => priceOf(pricing)).concat(price);
  const distinct = prices.filter((each, index) => {
    const before = prices[index - 1];
    return before === undefined || !isSamePrice(before, each);
  });
  const better = distinct.flatMap((each, index): [number, Price][] =>
    isBetter(each, price) ? [[index + 1, each]] : [],
  );
  return {
    price,
    priceNumber: distinct.length,
    ...(better.length === 0 ? {} : { betterPrices: new Map(better) }),
  };
}

function priceOf(pricing: Manifest['pricing']): Price {
  const freeTierCalls = pricing.free_tier_calls ?? 0;
  if (pricing.model === 'per_call') {
    return { kind: 'per_call', maxMicros: storedMicros(pricing.credits_per_call), freeTierCalls };
  }
  return {
    kind: 'per_unit',
    unit: pricing.unit,
    unitMicros: storedMicros(pricing.credits_per_unit),
    maxMicros: storedMicros(pricing.max),
    freeTierCalls,
  };
}

function storedMicros(credits: string): bigint {
  const micros = parseCredits(credits);
  invariant(micros !== undefined, 'a published price is a decimal amount');
  return micros;
}
