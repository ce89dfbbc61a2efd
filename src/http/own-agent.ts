import { Problem } from '../base/problem.ts';
import { formatAgentDetail, type AgentDetail } from '../catalog/describe.ts';
import type { Badge, Manifest } from '../catalog/agent.ts';
import { makeCompiledSchemas, makeEntry } from '../catalog/snapshot.ts';
import { getAgentRecord, type AgentRecord } from '../catalog/standing.ts';
import type { Caller } from '../identity/caller.ts';
import type { HttpDeps } from './deps.ts';

/** An agent as its seller sees it: the same detail, for sale or not, and how it stands. */
export type OwnAgent = Omit<AgentDetail, 'trust_score' | 'badge'> & {
  trust_score: number | null;
  badge: Badge | null;
  standing: {
    status: AgentRecord['status'];
    organization_id: string;
    endpoint: Manifest['endpoint'];
    created_at: string;
    updated_at: string;
  };
};

/** The agent, if the caller's organization sells it, or the caller is the operator. */
export async function findOwnAgent(
  deps: HttpDeps,
  caller: Caller,
  agentId: string,
): Promise<OwnAgent | undefined> {
  const record = await findRecord(deps, agentId);
  const isTheirs = record?.organizationId === caller.organizationId || caller.scopes.has('operator');
  if (record === undefined || !isTheirs) return undefined;
  const { manifest, manifestHash, organizationId, trustScore, badge, createdAt } = record;
  // The catalogue computes what an agent for sale is; one without a score yet is shown as if it had one.
  const entry = makeEntry(
    { manifest, manifestHash, sellerId: organizationId, trustScore: trustScore ?? 0, createdAt },
    makeCompiledSchemas(1),
  );
  return {
    ...formatAgentDetail(entry.agent),
    trust_score: trustScore,
    badge,
    standing: {
      status: record.status,
      organization_id: organizationId,
      endpoint: manifest.endpoint,
      created_at: createdAt.toISOString(),
      updated_at: record.updatedAt.toISOString(),
    },
  };
}

async function findRecord(deps: HttpDeps, agentId: string) {
  try {
    return await getAgentRecord(deps.database.db, agentId);
  } catch (error) {
    if (error instanceof Problem && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
