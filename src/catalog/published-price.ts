import { and, eq } from 'drizzle-orm';
import { parseCredits } from '../base/money.ts';
import type { Db } from '../db/db.ts';
import { agentVersions } from './tables.ts';

/** The most one call of that version could cost, as it was published. Undefined when there was no such version. */
export async function findPublishedPrice(
  db: Db,
  agentId: string,
  version: string,
): Promise<bigint | undefined> {
  const [published] = await db
    .select({ manifest: agentVersions.manifest })
    .from(agentVersions)
    .where(and(eq(agentVersions.agentId, agentId), eq(agentVersions.version, version)));
  if (!published) return undefined;
  const { pricing } = published.manifest;
  return parseCredits(pricing.model === 'per_call' ? pricing.credits_per_call : pricing.max);
}
