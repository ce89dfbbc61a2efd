import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { newId } from '../base/ids.ts';
import { Problem, type Fault } from '../base/problem.ts';
import { publishAgent } from '../catalog/publish.ts';
import {
  getAgentRecord,
  listAgents,
  resumeAgent,
  suspendAgent,
  verifyAgent,
  type AgentRecord,
} from '../catalog/standing.ts';
import type { Caller } from '../identity/caller.ts';
import { findOrganization } from '../identity/organizations.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, jsonBody, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import {
  agentIdIn,
  badgeOut,
  cursorIn,
  moment,
  organizationIdIn,
  pageOf,
  toPage,
  wholeNumber,
} from './words.ts';

const STATUSES = ['published', 'verified', 'suspended'] as const;

const published = z.object({
  agent_id: z.string(),
  version: z.string(),
  warnings: z
    .array(z.object({ path: z.string(), message: z.string() }))
    .optional()
    .openapi({
      description:
        'What was left out or changed, and what is doubtful. Absent where there is nothing to say.',
    }),
});
const verified = z.object({ agent_id: z.string(), trust_score: z.number().int(), badge: badgeOut });
const standing = z.object({ agent_id: z.string(), status: z.enum(STATUSES) });
const record = z
  .object({
    agent_id: z.string(),
    organization_id: z.string(),
    display_name: z.string(),
    category: z.string(),
    version: z.string(),
    status: z.enum(STATUSES),
    trust_score: z.number().int().nullable(),
    badge: badgeOut,
    created_at: moment,
    updated_at: moment,
  })
  .openapi('AgentRecord');

export type PublishedAnswer = z.infer<typeof published>;
export type VerifiedAnswer = z.infer<typeof verified>;
export type StandingAnswer = z.infer<typeof standing>;
export type AgentRecordAnswer = z.infer<typeof record>;

const agentParams = z.object({ id: agentIdIn });

/** What sellers put up for sale, and what the operator lets them sell. */
export function publishingRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;

  const publish = createRoute({
    method: 'post',
    path: '/v1/agents',
    tags: ['publishing'],
    summary: 'Publish a manifest as the newest version of its agent',
    ...signedIn(deps, 'agents:publish'),
    request: {
      query: noQuery,
      body: jsonBody(
        z.strictObject({
          manifest: z.unknown().openapi({ type: 'object', description: 'See /schemas/manifest.json.' }),
          organization_id: organizationIdIn
            .optional()
            .openapi({ description: 'The seller, where the operator publishes for it.' }),
        }),
      ),
    },
    responses: { 201: json(published, 'Published; for sale once it is verified.'), ...refusals },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/agents',
    tags: ['publishing'],
    summary: "Your organization's agents, for sale or not; the operator's are everyone's",
    ...signedIn(deps, 'agents:read'),
    request: {
      query: z.strictObject({
        organization_id: organizationIdIn.optional(),
        limit: wholeNumber(1, 100, 20),
        cursor: cursorIn,
      }),
    },
    responses: { 200: json(pageOf(record), 'A page of agents by id.'), ...refusals },
  });
  const verify = createRoute({
    method: 'post',
    path: '/v1/agents/{id}/verification',
    tags: ['operator'],
    summary: 'Attest a trust score',
    ...signedIn(deps, 'operator'),
    request: {
      params: agentParams,
      query: noQuery,
      body: jsonBody(z.strictObject({ trust_score: z.number().int().min(0).max(100) })),
    },
    responses: { 200: json(verified, 'For sale from now on.'), ...refusals },
  });
  const suspend = createRoute({
    method: 'put',
    path: '/v1/agents/{id}/suspension',
    tags: ['operator'],
    summary: 'Take an agent off the market',
    ...signedIn(deps, 'operator'),
    request: { params: agentParams, query: noQuery },
    responses: { 200: json(standing, 'Not for sale. Running calls end as they would have.'), ...refusals },
  });
  const resume = createRoute({
    method: 'delete',
    path: '/v1/agents/{id}/suspension',
    tags: ['operator'],
    summary: 'End a suspension',
    ...signedIn(deps, 'operator'),
    request: { params: agentParams, query: noQuery },
    responses: { 200: json(standing, 'For sale again if it is verified.'), ...refusals },
  });

  return newRoutes()
    .openapi(publish, async (c) => {
      const { manifest, organization_id: asked } = c.req.valid('json');
      const organizationId = organizationMeant(c.get('caller'), asked);
      const { agentId, version, warnings } = await db.transaction(async (tx) => {
        if (asked !== undefined && !(await findOrganization(tx, asked))) throw noSuchOrganization(asked);
        return publishAgent(tx, { organizationId, manifest, checkEndpoint: deps.checkEndpoint });
      });
      // Other processes hear of it; whoever asked us next sees it here at once.
      await deps.catalog.refresh(agentId);
      const all = [...(warnings ?? []), ...(await tryEndpoint(deps, agentId, c.get('requestId')))];
      return c.json({ agent_id: agentId, version, ...(all.length > 0 ? { warnings: all } : {}) }, 201);
    })
    .openapi(list, async (c) => {
      const { organization_id: asked, limit, cursor } = c.req.valid('query');
      const caller = c.get('caller');
      const isEveryones = asked === undefined && caller.scopes.has('operator');
      const rows = await listAgents(db, {
        ...(isEveryones ? {} : { organizationId: organizationMeant(caller, asked) }),
        ...(cursor === undefined ? {} : { after: cursor }),
        limit: limit + 1,
      });
      return c.json(
        toPage(rows, limit, formatRecord, (row) => row.agentId),
        200,
      );
    })
    .openapi(verify, async (c) => {
      const { id } = c.req.valid('param');
      const { trust_score: score } = c.req.valid('json');
      const { trustScore, badge } = await db.transaction((tx) => verifyAgent(tx, { agentId: id, score }));
      await deps.catalog.refresh(id);
      return c.json({ agent_id: id, trust_score: trustScore, badge }, 200);
    })
    .openapi(suspend, async (c) => {
      const { id } = c.req.valid('param');
      await db.transaction((tx) => suspendAgent(tx, id));
      await deps.catalog.refresh(id);
      return c.json({ agent_id: id, status: 'suspended' as const }, 200);
    })
    .openapi(resume, async (c) => {
      const { id } = c.req.valid('param');
      await db.transaction((tx) => resumeAgent(tx, id));
      await deps.catalog.refresh(id);
      const { status } = await getAgentRecord(db, id);
      return c.json({ agent_id: id, status }, 200);
    });
}

/** What is doubtful about where the agent is to be called. It is published whatever comes of this. */
async function tryEndpoint(deps: HttpDeps, agentId: string, requestId: string): Promise<Fault[]> {
  const { manifest } = await getAgentRecord(deps.database.db, agentId);
  const trial = await deps.calls.upstream
    .tryEndpoint(manifest.endpoint, { callId: newId('call'), requestId })
    .catch((error: unknown) => {
      deps.log('error', 'an endpoint could not be tried', { agent: agentId, error: String(error) });
      return { kind: 'ok' as const };
    });
  return trial.kind === 'ok' ? [] : [{ path: `/endpoint/${trial.part}`, message: trial.message }];
}

/** Everybody acts for their own organization; only the operator may name another. */
function organizationMeant(caller: Caller, asked: string | undefined): string {
  if (asked === undefined || asked === caller.organizationId) return caller.organizationId;
  if (caller.scopes.has('operator')) return asked;
  throw new Problem('FORBIDDEN', 'Only the operator may act for another organization.');
}

function noSuchOrganization(id: string): Problem {
  return new Problem('NOT_FOUND', `There is no organization ${id}.`);
}

function formatRecord(row: AgentRecord): AgentRecordAnswer {
  return {
    agent_id: row.agentId,
    organization_id: row.organizationId,
    display_name: row.displayName,
    category: row.category,
    version: row.version,
    status: row.status,
    trust_score: row.trustScore,
    badge: row.badge,
    created_at: row.createdAt.toISOString(),
    updated_at: row.updatedAt.toISOString(),
  };
}
