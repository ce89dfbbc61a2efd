import { and, eq, ne, sql } from 'drizzle-orm';
import semver from 'semver';
import { hashJson } from '../base/canonical-json.ts';
import { isJsonObject, type JsonObject } from '../base/json.ts';
import { Problem, type Fault } from '../base/problem.ts';
import type { Tx } from '../db/db.ts';
import type { Manifest } from './agent.ts';
import { parseManifest } from './manifest.ts';
import { findLookalike } from './names.ts';
import { announceAgent } from './standing.ts';
import { agents, agentVersions } from './tables.ts';

/** What is wrong with where an endpoint's URL leads, in words for the seller. */
export type CheckEndpoint = (url: string) => string | undefined;

/** `warnings` are for the seller: what of the manifest was left out or changed. Absent where there is nothing to say. */
export type Published = { agentId: string; version: string; warnings?: Fault[] };

/**
 * Publishes a manifest as the newest version of its agent; once committed it is for sale if the agent is
 * verified. Publishing the current version's very manifest again changes nothing and succeeds.
 *
 * Throws Problem INVALID_INPUT with every fault, or CONFLICT when the id belongs to or resembles another
 * seller's, or the version does not rise.
 */
export async function publishAgent(
  tx: Tx,
  request: { organizationId: string; manifest: unknown; checkEndpoint: CheckEndpoint },
): Promise<Published> {
  const { manifest, warnings } = readManifest(request.manifest, request.checkEndpoint);
  const { agent_id: agentId, version } = manifest;
  const published = { agentId, version, ...(warnings.length > 0 ? { warnings } : {}) };
  const manifestHash = hashJson(manifest as unknown as JsonObject);

  // Two sellers who publish look-alike ids at the same moment would not see each other's row.
  await tx.execute(sql`select pg_advisory_xact_lock(hashtext('sentinel publish'))`);
  const current = await findCurrentVersion(tx, agentId);
  if (current === undefined) {
    await refuseLookalikes(tx, agentId, request.organizationId);
  } else {
    if (current.organizationId !== request.organizationId) throw new Problem('CONFLICT', takenText(agentId));
    if (current.version === version && isSameManifest(current, manifestHash)) return published;
    if (!semver.gt(version, current.version)) {
      throw new Problem(
        'CONFLICT',
        `Version ${version} of ${agentId} does not rise: ${current.version} is published and cannot change.`,
      );
    }
  }

  const shown = { category: manifest.category, displayName: manifest.display_name, currentVersion: version };
  await tx
    .insert(agents)
    .values({ id: agentId, organizationId: request.organizationId, status: 'published', ...shown })
    .onConflictDoUpdate({ target: agents.id, set: { ...shown, updatedAt: sql`now()` } });
  await tx.insert(agentVersions).values({ agentId, version, manifest, manifestHash });
  await announceAgent(tx, agentId);
  return published;
}

function readManifest(
  value: unknown,
  checkEndpoint: CheckEndpoint,
): { manifest: Manifest; warnings: Fault[] } {
  const parsed = parseManifest(value);
  const faults = parsed.kind === 'refused' ? parsed.faults : [];
  if (!faults.some(({ path }) => path === '/endpoint/url' || path === '')) {
    const message = checkEndpoint(endpointUrl(value));
    if (message !== undefined) faults.push({ path: '/endpoint/url', message });
  }
  if (parsed.kind === 'ok' && faults.length === 0) return parsed;
  const count = faults.length === 1 ? 'a fault' : `${faults.length} faults`;
  throw new Problem('INVALID_INPUT', `The manifest has ${count} and was not published.`, { faults });
}

function endpointUrl(value: unknown): string {
  const endpoint = isJsonObject(value) ? value['endpoint'] : undefined;
  return isJsonObject(endpoint) && typeof endpoint['url'] === 'string' ? endpoint['url'] : '';
}

type CurrentVersion = {
  organizationId: string;
  version: string;
  manifest: Manifest;
  manifestHash: string;
};

async function findCurrentVersion(tx: Tx, agentId: string): Promise<CurrentVersion | undefined> {
  const [row] = await tx
    .select({
      organizationId: agents.organizationId,
      version: agentVersions.version,
      manifest: agentVersions.manifest,
      manifestHash: agentVersions.manifestHash,
    })
    .from(agents)
    .innerJoin(
      agentVersions,
      and(eq(agentVersions.agentId, agents.id), eq(agentVersions.version, agents.currentVersion)),
    )
    .where(eq(agents.id, agentId));
  return row;
}

/** A manifest that an earlier release stored has its schemas in another form than the same document has today. */
function isSameManifest(stored: CurrentVersion, manifestHash: string): boolean {
  if (stored.manifestHash === manifestHash) return true;
  const parsed = parseManifest(stored.manifest);
  return parsed.kind === 'ok' && hashJson(parsed.manifest as unknown as JsonObject) === manifestHash;
}

async function refuseLookalikes(tx: Tx, agentId: string, organizationId: string): Promise<void> {
  const others = await tx
    .select({ id: agents.id })
    .from(agents)
    .where(ne(agents.organizationId, organizationId));
  for (const { id } of others) {
    const rule = findLookalike(agentId, id);
    // Which agent it resembles is not said: that one may be hidden.
    if (rule !== undefined) throw new Problem('CONFLICT', `The agent id ${agentId} cannot be had: ${rule}.`);
  }
}

function takenText(agentId: string): string {
  return `The agent id ${agentId} is taken.`;
}
