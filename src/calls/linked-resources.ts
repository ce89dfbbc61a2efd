import { createHash } from 'node:crypto';
import { and, eq, gt, lt, sql } from 'drizzle-orm';
import { idOfUuid, newId, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import type { Json } from '../base/json.ts';
import { Problem } from '../base/problem.ts';
import type { Db } from '../db/db.ts';
import { removeInBatches } from '../db/remove-in-batches.ts';
import { decide } from '../governance/decide.ts';
import { loadFacts } from '../governance/facts.ts';
import { assertScope } from '../identity/authenticate.ts';
import type { Caller } from '../identity/caller.ts';
import { ledgerJournal } from '../ledger/tables.ts';
import type { ContentBlock } from '../upstream/upstream.ts';
import type { CallDeps } from './deps.ts';
import { judge } from './outcome.ts';
import { linkedResources } from './tables.ts';

export type ReadRequest = { uri: string; requestId: string; signal: AbortSignal };

/**
 * Reads a resource that an answer this key has bought links to, from the server of the agent that gave it and in the
 * session of the organization that bought it. Free, within the limits of the key. Throws Problem; `NOT_FOUND` for whatever
 * no answer of the last 24 hours linked to.
 */
export async function readLinkedResource(
  { uri, requestId, signal }: ReadRequest,
  caller: Caller,
  deps: CallDeps,
): Promise<Json> {
  assertScope(caller, 'agents:invoke');
  const link = await findLink(deps.db, caller.keyId, uri);
  const agent = link && deps.catalog.find(link.agentId);
  if (!link || agent?.manifest.endpoint.protocol !== 'mcp') {
    throw new Problem(
      'NOT_FOUND',
      'No answer that this key bought in the last 24 hours links to this resource.',
    );
  }
  using loaded = await loadFacts(
    {
      caller,
      callId: newId('call'),
      priceMaxMicros: 0n,
      requestMaxMicros: undefined,
      ttlMs: agent.timeoutMs + GATE_MARGIN_MS,
    },
    deps.gate,
  );
  const decision = decide(loaded.facts);
  if (decision.kind !== 'allow') throw decision.problem;
  const reading = deps.upstream.prepare({
    endpoint: agent.manifest.endpoint,
    input: {},
    resourceUri: uri,
    callId: link.callId,
    requestId,
    organizationId: caller.organizationId,
    timeoutMs: agent.timeoutMs,
    maxBytes: agent.maxPayloadBytes,
    isOutputPromised: false,
    signal,
  });
  const outcome = await reading.send();
  if (outcome.kind === 'answer') return outcome.output;
  const verdict = judge(outcome, agent);
  invariant(verdict.kind === 'refund', 'what is no answer is not paid');
  throw verdict.problem;
}

/** Remembers what an answer links to; nothing to do for most. */
export async function keepLinkedResources(
  db: Db,
  call: { callId: string; keyId: string; agentId: string },
  content: ContentBlock[] | undefined,
): Promise<void> {
  const hashes = new Set((content ?? []).flatMap(serverUriOf).map(hashOf));
  if (hashes.size === 0) return;
  const callId = uuidOfId('call', call.callId);
  invariant(callId !== undefined, `${call.callId} is not a call id`);
  const bought = { callId, agentId: call.agentId, expiresAt: sql`now() + interval '24 hours'` };
  const rows = [...hashes].slice(0, MAX_LINKS).map((uriHash) => ({ keyId: call.keyId, uriHash, ...bought }));
  await db
    .insert(linkedResources)
    .values(rows)
    .onConflictDoUpdate({ target: [linkedResources.keyId, linkedResources.uriHash], set: bought });
}

export async function removeExpiredLinks(db: Db): Promise<void> {
  await removeInBatches(db, linkedResources, lt(linkedResources.expiresAt, sql`now()`));
}

/** Of one answer; who links to more than that has a list to embed. */
const MAX_LINKS = 1_000;
const GATE_MARGIN_MS = 60_000;

/** A link to the web is there for the client to fetch itself, as the protocol says of `https://`. */
function serverUriOf({ type, uri }: ContentBlock): string[] {
  return type === 'resource_link' && typeof uri === 'string' && !/^https?:/i.test(uri) ? [uri] : [];
}

async function findLink(
  db: Db,
  keyId: string,
  uri: string,
): Promise<{ callId: string; agentId: string } | undefined> {
  const isPaid = sql`EXISTS (SELECT 1 FROM ${ledgerJournal}
    WHERE ${ledgerJournal.id} = ${linkedResources.callId} AND ${ledgerJournal.kind} = 'settle')`;
  const [row] = await db
    .select()
    .from(linkedResources)
    .where(
      and(
        eq(linkedResources.keyId, keyId),
        eq(linkedResources.uriHash, hashOf(uri)),
        gt(linkedResources.expiresAt, sql`now()`),
        isPaid,
      ),
    );
  return row && { callId: idOfUuid('call', row.callId), agentId: row.agentId };
}

function hashOf(uri: string): string {
  return createHash('sha256').update(uri).digest('hex');
}
