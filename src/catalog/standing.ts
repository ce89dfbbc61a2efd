import { and, asc, eq, gt, sql, type SQL } from 'drizzle-orm';
import { Problem } from '../base/problem.ts';
import type { Db, Tx } from '../db/db.ts';
import { badgeOf, type Badge, type Manifest } from './agent.ts';
import { agents, agentVersions } from './tables.ts';

/** An agent as its seller and the operator see it, for sale or not. */
export type AgentRecord = {
  agentId: string;
  organizationId: string;
  displayName: string;
  category: string;
  version: string;
  status: 'published' | 'verified' | 'suspended';
  trustScore: number | null;
  badge: Badge | null;
  createdAt: Date;
  updatedAt: Date;
};

/** Attests a trust score. The agent is for sale from then on, unless it is suspended. */
export async function verifyAgent(
  tx: Tx,
  request: { agentId: string; score: number },
): Promise<{ trustScore: number; badge: Badge | null }> {
  const { agentId, score } = request;
  if (!Number.isInteger(score) || score < 0 || score > 100) {
    const faults = [{ path: '/score', message: 'must be a whole number from 0 to 100' }];
    throw new Problem('INVALID_INPUT', 'A trust score is a whole number from 0 to 100.', { faults });
  }
  await updateStanding(tx, agentId, {
    trustScore: score,
    status: sql`case ${agents.status} when 'suspended' then 'suspended' else 'verified' end`,
  });
  return { trustScore: score, badge: badgeOf(score) };
}

/** Takes an agent off the market. Running calls end as they would have. */
export async function suspendAgent(tx: Tx, agentId: string): Promise<void> {
  await updateStanding(tx, agentId, { status: sql`'suspended'` });
}

/** Ends a suspension: the agent is for sale again if it had been verified. */
export async function resumeAgent(tx: Tx, agentId: string): Promise<void> {
  await updateStanding(tx, agentId, {
    status: sql`case when ${agents.trustScore} is null then 'published' else 'verified' end`,
  });
}

async function updateStanding(
  tx: Tx,
  agentId: string,
  standing: { status: SQL; trustScore?: number },
): Promise<void> {
  const updated = await tx
    .update(agents)
    .set({ ...standing, updatedAt: sql`now()` })
    .where(eq(agents.id, agentId))
    .returning({ id: agents.id });
  if (updated.length === 0) throw noSuchAgent(agentId);
  await announceAgent(tx, agentId);
}

/** Tells every process, at commit, to read the agent again. */
export async function announceAgent(tx: Tx, agentId: string): Promise<void> {
  await tx.execute(sql`select pg_notify('sentinel_changes', ${`agent:${agentId}`})`);
}

/** One page of all agents by id, or of one seller's; `after` is the last id of the page before. */
export async function listAgents(
  db: Db,
  page: { organizationId?: string; after?: string; limit: number },
): Promise<AgentRecord[]> {
  return db
    .select(RECORD_COLUMNS)
    .from(agents)
    .where(
      and(
        page.organizationId === undefined ? undefined : eq(agents.organizationId, page.organizationId),
        page.after === undefined ? undefined : gt(agents.id, page.after),
      ),
    )
    .orderBy(asc(agents.id))
    .limit(page.limit)
    .then((rows) => rows.map(withBadge));
}

/** The whole record of one agent with the manifest in force. Throws Problem NOT_FOUND. */
export async function getAgentRecord(
  db: Db,
  agentId: string,
): Promise<AgentRecord & { manifest: Manifest; manifestHash: string; publishedAt: Date }> {
  const [row] = await db
    .select({
      ...RECORD_COLUMNS,
      manifest: agentVersions.manifest,
      manifestHash: agentVersions.manifestHash,
      publishedAt: agentVersions.publishedAt,
    })
    .from(agents)
    .innerJoin(
      agentVersions,
      and(eq(agentVersions.agentId, agents.id), eq(agentVersions.version, agents.currentVersion)),
    )
    .where(eq(agents.id, agentId));
  if (row === undefined) throw noSuchAgent(agentId);
  return withBadge(row);
}

const RECORD_COLUMNS = {
  agentId: agents.id,
  organizationId: agents.organizationId,
  displayName: agents.displayName,
  category: agents.category,
  version: agents.currentVersion,
  status: agents.status,
  trustScore: agents.trustScore,
  createdAt: agents.createdAt,
  updatedAt: agents.updatedAt,
};

function withBadge<Row extends { trustScore: number | null }>(row: Row): Row & { badge: Badge | null } {
  return { ...row, badge: row.trustScore === null ? null : badgeOf(row.trustScore) };
}

function noSuchAgent(agentId: string): Problem {
  return new Problem('NOT_FOUND', `There is no agent ${agentId.slice(0, 64)}.`);
}
