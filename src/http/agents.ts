import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { Problem } from '../base/problem.ts';
import { BADGES, CATEGORIES, matchesFilters } from '../catalog/agent.ts';
import { formatAgentDetail, formatAgentSummary } from '../catalog/describe.ts';
import { parseAgentSearch } from '../catalog/filters.ts';
import { SORTS } from '../catalog/search.ts';
import { findOwnAgent } from './own-agent.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, newRoutes, refusals, signedIn } from './route.ts';
import { agentIdIn, badgeOut, moment } from './words.ts';

// The catalogue reads the query itself, so that both wires refuse the same things in the same words; this
// is the description of it.
const text = (openapi: Record<string, unknown>) => z.string().optional().openapi(openapi);

/** Which agents are meant; the same filters an MCP connection has. */
export const filterQuery = {
  min_trust_score: text({ type: 'integer', minimum: 0, maximum: 100, default: 50 }),
  badge: text({ enum: [...BADGES] }),
  category: text({ enum: [...CATEGORIES] }),
  agents: text({ description: 'Agent ids, separated by commas.' }),
  max_price: text({ example: '25', description: 'The most a call may cost, in credits.' }),
};

const searchQuery = z
  .object({
    q: text({ description: 'Words, each of which must begin a word of the name, tags or description.' }),
    ...filterQuery,
    sort: text({ enum: [...SORTS], default: 'relevance' }),
    limit: text({ type: 'integer', minimum: 1, maximum: 100, default: 20 }),
    cursor: text({ description: 'The `next_cursor` of the page before.' }),
  })
  .loose();

const jsonObject = z.record(z.string(), z.unknown());

const priceOut = z
  .union([
    z.object({
      model: z.literal('per_call'),
      credits_per_call: z.string(),
      usd: z.string(),
      free_tier_calls: z.number(),
    }),
    z.object({
      model: z.literal('per_unit'),
      unit: z.string(),
      credits_per_unit: z.string(),
      usd: z.string(),
      max: z.string(),
      max_usd: z.string(),
      free_tier_calls: z.number(),
    }),
  ])
  .openapi('Price');

const agentSummary = z
  .object({
    agent_id: z.string(),
    display_name: z.string(),
    description: z.string(),
    seller: z.string(),
    seller_name: z.string().nullable(),
    trust_score: z.number().int().nullable(),
    badge: badgeOut,
    price: priceOut,
    category: z.enum(CATEGORIES),
    tags: z.array(z.string()),
    version: z.string(),
    timeout_ms: z.number().int(),
    capabilities: z.object({
      streaming: z.boolean(),
      idempotent: z.boolean(),
      keep_running: z.boolean(),
      a2a_invocable: z.boolean(),
    }),
  })
  .openapi('AgentSummary');

const agentDetail = agentSummary
  .extend({
    input_schema: jsonObject,
    output_schema: jsonObject.nullable(),
    manifest_hash: z.string(),
    examples: z.array(z.unknown()),
    data_handling: z.unknown(),
    homepage: z.string().nullable(),
    free_remaining: z
      .number()
      .int()
      .openapi({ description: "How many of this month's free calls your organization has left." }),
    standing: z
      .object({
        status: z.enum(['published', 'verified', 'suspended']),
        organization_id: z.string(),
        endpoint: z.unknown(),
        created_at: moment,
        updated_at: moment,
      })
      .optional()
      .openapi({ description: 'Only for the seller and the operator.' }),
  })
  .openapi('Agent');

const searchPage = z.object({
  items: z.array(agentSummary),
  next_cursor: z.string().nullable(),
  total: z.number().int(),
});

export type AgentSearchAnswer = z.infer<typeof searchPage>;
export type AgentDetailAnswer = z.infer<typeof agentDetail>;

/** What is for sale. */
export function agentRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const search = createRoute({
    method: 'get',
    path: '/v1/agents/search',
    tags: ['agents'],
    summary: 'Find agents for sale',
    ...signedIn(deps, 'agents:read'),
    request: { query: searchQuery },
    responses: { 200: json(searchPage, 'A page of agents, best first.'), ...refusals },
  });
  const detail = createRoute({
    method: 'get',
    path: '/v1/agents/{id}',
    tags: ['agents'],
    summary: 'Everything a buyer may know of an agent',
    description: 'The seller and the operator also find agents that are not for sale, and their standing.',
    ...signedIn(deps, 'agents:read'),
    request: { params: z.object({ id: agentIdIn }), query: z.strictObject(filterQuery) },
    responses: { 200: json(agentDetail, 'The agent.'), ...refusals },
  });

  return newRoutes()
    .openapi(search, async (c) => {
      const page = deps.catalog.search(parseAgentSearch(new URL(c.req.url).searchParams));
      await deps.calls.prices.show(c.get('caller').keyId, page.items);
      const items = page.items.map(formatAgentSummary);
      return c.json({ items, next_cursor: page.nextCursor, total: page.total }, 200);
    })
    .openapi(detail, async (c) => {
      const { id } = c.req.valid('param');
      const { filters } = parseAgentSearch(new URL(c.req.url).searchParams);
      const caller = c.get('caller');
      const agent = deps.catalog.find(id);
      const own = await findOwnAgent(deps, caller, id);
      const shown = agent && (own || matchesFilters(agent, filters)) ? agent : undefined;
      if (shown) await deps.calls.prices.show(caller.keyId, [shown]);
      const detail = own ?? (shown && formatAgentDetail(shown));
      if (!detail) throw noSuchAgent();
      const tier = { accountId: caller.accountId, agentId: id, at: new Date(deps.clock.now()) };
      const freeRemaining = await deps.calls.freeCalls.countLeft(tier, detail.price.free_tier_calls);
      return c.json({ ...detail, free_remaining: freeRemaining } as AgentDetailAnswer, 200);
    });
}

/** Hidden, suspended, filtered out or never there: the answer is the same, so it tells nothing. */
function noSuchAgent(): Problem {
  return new Problem('NOT_FOUND', 'There is no such agent here. Search with GET /v1/agents/search.');
}
