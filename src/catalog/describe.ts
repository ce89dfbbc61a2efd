import { unreachable } from '../base/invariant.ts';
import type { JsonObject } from '../base/json.ts';
import { formatCredits, formatUsd } from '../base/money.ts';
import type { Agent, Badge, Category, Manifest, Price } from './agent.ts';

/**
 * The line every tool's description ends in. Its form is fixed, so that hosts, people and scripts can read it:
 * `Cost: 15 credits ($0.15) per successful call; failed calls are free. Trust 87/100. Timeout 45 s.`
 * An agent with free calls says so behind it.
 */
export function formatPriceLine(agent: Pick<Agent, 'price' | 'trustScore' | 'timeoutMs'>): string {
  return `Cost: ${formatCost(agent.price)}; failed calls are free. Trust ${agent.trustScore}/100. Timeout ${agent.timeoutMs / 1000} s.${formatFreeTier(agent.price)}`;
}

function formatFreeTier({ freeTierCalls }: Price): string {
  if (freeTierCalls === 0) return '';
  return freeTierCalls === 1
    ? ' The first call a month is free.'
    : ` The first ${freeTierCalls} calls a month are free.`;
}

/** The description a model reads: the seller's words, then the price line. */
export function formatToolDescription(agent: Agent): string {
  return `${agent.manifest.description.trim()}\n\n${formatPriceLine(agent)}`;
}

function formatCost(price: Price): string {
  switch (price.kind) {
    case 'per_call':
      return `${formatAmount(price.maxMicros)} per successful call`;
    case 'per_unit':
      return `${formatAmount(price.unitMicros)} per ${price.unit}, at most ${formatAmount(price.maxMicros)} a call`;
    default:
      return unreachable(price);
  }
}

function formatAmount(micros: bigint): string {
  return `${formatCredits(micros)} credits ($${formatUsd(micros)})`;
}

/** A price as clients read it. Amounts are decimal strings; `usd` is what the amount named beside it costs. */
export type PriceWords =
  | { model: 'per_call'; credits_per_call: string; usd: string; free_tier_calls: number }
  | {
      model: 'per_unit';
      unit: string;
      credits_per_unit: string;
      usd: string;
      max: string;
      max_usd: string;
      free_tier_calls: number;
    };

export function formatPrice(price: Price): PriceWords {
  switch (price.kind) {
    case 'per_call':
      return {
        model: 'per_call',
        credits_per_call: formatCredits(price.maxMicros),
        usd: formatUsd(price.maxMicros),
        free_tier_calls: price.freeTierCalls,
      };
    case 'per_unit':
      return {
        model: 'per_unit',
        unit: price.unit,
        credits_per_unit: formatCredits(price.unitMicros),
        usd: formatUsd(price.unitMicros),
        max: formatCredits(price.maxMicros),
        max_usd: formatUsd(price.maxMicros),
        free_tier_calls: price.freeTierCalls,
      };
    default:
      return unreachable(price);
  }
}

/** What a buyer sees of an agent in a list. Never the endpoint. */
export type AgentSummary = {
  agent_id: string;
  display_name: string;
  description: string;
  /** The selling organization, which the platform knows. */
  seller: string;
  /** What the seller calls itself; nobody checked it. */
  seller_name: string | null;
  trust_score: number;
  badge: Badge | null;
  price: PriceWords;
  category: Category;
  tags: string[];
  version: string;
  timeout_ms: number;
  capabilities: Required<NonNullable<Manifest['capabilities']>>;
};

export function formatAgentSummary(agent: Agent): AgentSummary {
  const { manifest } = agent;
  return {
    agent_id: agent.id,
    display_name: manifest.display_name,
    description: manifest.description,
    seller: agent.sellerId,
    seller_name: manifest.seller ?? null,
    trust_score: agent.trustScore,
    badge: agent.badge,
    price: formatPrice(agent.price),
    category: manifest.category,
    tags: manifest.tags ?? [],
    version: agent.version,
    timeout_ms: agent.timeoutMs,
    capabilities: {
      streaming: false,
      idempotent: false,
      keep_running: false,
      a2a_invocable: true,
      ...manifest.capabilities,
    },
  };
}

/** Everything a buyer may know before calling. */
export type AgentDetail = AgentSummary & {
  input_schema: JsonObject;
  output_schema: JsonObject | null;
  manifest_hash: string;
  examples: NonNullable<Manifest['examples']>;
  data_handling: NonNullable<Manifest['data_handling']> | null;
  homepage: string | null;
};

export function formatAgentDetail(agent: Agent): AgentDetail {
  const { manifest } = agent;
  return {
    ...formatAgentSummary(agent),
    input_schema: manifest.input_schema,
    output_schema: manifest.output_schema ?? null,
    manifest_hash: agent.manifestHash,
    examples: manifest.examples ?? [],
    data_handling: manifest.data_handling ?? null,
    homepage: manifest.homepage ?? null,
  };
}

/** About how many tokens a model spends on a text: four bytes each, a little more than English needs. */
export function estimateTokens(text: string): number {
  return Math.ceil(Buffer.byteLength(text) / 4);
}
