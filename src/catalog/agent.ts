import type { Fault } from '../base/problem.ts';
import type { JsonObject } from '../base/json.ts';

export const CATEGORIES = [
  'data-processing',
  'code-generation',
  'document-analysis',
  'web-research',
  'media',
  'finance',
  'productivity',
  'communication',
  'security',
  'other',
] as const;
export type Category = (typeof CATEGORIES)[number];

export const BADGES = ['basic', 'standard', 'premium'] as const;
export type Badge = (typeof BADGES)[number];

/** The JSON document an agent is published from (section 4 of the contract); immutable per version. */
export type Manifest = {
  schema_version: '1.0';
  agent_id: string;
  display_name: string;
  description: string;
  version: string;
  seller?: string;
  homepage?: string;
  category: Category;
  tags?: string[];
  pricing:
    | { model: 'per_call'; credits_per_call: string; free_tier_calls?: number }
    | { model: 'per_unit'; unit: string; credits_per_unit: string; max: string; free_tier_calls?: number };
  endpoint: {
    protocol: 'http' | 'mcp';
    url: string;
    tool?: string;
    session?: 'shared';
    timeout_ms?: number;
    max_payload_bytes?: number;
  };
  input_schema: JsonObject;
  output_schema?: JsonObject;
  examples?: { input: JsonObject; output?: unknown }[];
  capabilities?: {
    streaming?: boolean;
    idempotent?: boolean;
    keep_running?: boolean;
    a2a_invocable?: boolean;
  };
  data_handling?: {
    pii_processed?: boolean;
    data_retention_days?: number;
    residency?: string;
    subprocessors?: string[];
  };
};

/** What one call costs. `maxMicros` is what is held; a fixed price is its own maximum. */
export type Price =
  | { kind: 'per_call'; maxMicros: bigint; freeTierCalls: number }
  | { kind: 'per_unit'; unit: string; unitMicros: bigint; maxMicros: bigint; freeTierCalls: number };

/**
 * One agent as it is for sale now: the newest version of it, everything a call needs already computed.
 * Immutable; a change of any kind makes a new one.
 */
export type Agent = {
  id: string;
  version: string;
  manifest: Manifest;
  /** SHA-256 of the manifest's canonical JSON. */
  manifestHash: string;
  /** The selling organization. */
  sellerId: string;
  price: Price;
  /** Which of the prices it has had this is, from 1. A version at the price of the one before has its number. */
  priceNumber: number;
  /** Earlier prices by number, where one is in any case better for the buyer than today's; absent where none is. */
  betterPrices?: ReadonlyMap<number, Price>;
  timeoutMs: number;
  /** Of the arguments as JSON without blanks, and of the answer. */
  maxPayloadBytes: number;
  /** 0–100. */
  trustScore: number;
  badge: Badge | null;
  /** `sentinel_<agent id>`. */
  toolName: string;
  /** Every failing path of the input, or an empty list. */
  checkInput(input: unknown): Fault[];
  /** Every failing path of the output, or an empty list. An agent without `output_schema` accepts anything. */
  checkOutput(output: unknown): Fault[];
};

/** Which agents a connection wants to see. They bind calls exactly as they bind lists. */
export type AgentFilters = {
  /** Agents with this score or more. */
  minTrustScore: number;
  badge?: Badge;
  category?: Category;
  agents?: ReadonlySet<string>;
  maxPriceMicros?: bigint;
};

export const DEFAULT_FILTERS: AgentFilters = { minTrustScore: 50 };

/** The badge follows from the score. */
export function badgeOf(trustScore: number): Badge | null {
  if (trustScore >= 90) return 'premium';
  if (trustScore >= 75) return 'standard';
  if (trustScore >= 50) return 'basic';
  return null;
}

/** Does a call of this agent run to its end when its buyer leaves? Its answer is then kept for them. */
export function mayRunOn({ manifest }: Pick<Agent, 'manifest'>): boolean {
  return manifest.capabilities?.idempotent === true || manifest.capabilities?.keep_running === true;
}

export function matchesFilters(agent: Agent, filters: AgentFilters): boolean {
  return (
    agent.trustScore >= filters.minTrustScore &&
    (filters.badge === undefined || agent.badge === filters.badge) &&
    (filters.category === undefined || agent.manifest.category === filters.category) &&
    (filters.agents === undefined || filters.agents.has(agent.id)) &&
    (filters.maxPriceMicros === undefined || agent.price.maxMicros <= filters.maxPriceMicros)
  );
}
