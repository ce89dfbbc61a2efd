import { LRUCache } from 'lru-cache';
import type { Db } from '../db/db.ts';
import { matchesFilters, type Agent, type AgentFilters } from './agent.ts';
import { filterKey, searchEntries, type AgentPage, type AgentSearch, type SearchEntry } from './search.ts';
import { isSame, listAgentsForSale, makeCompiledSchemas, makeEntry, type AgentRow } from './snapshot.ts';

/** Every agent for sale, in memory. Nothing here asks the database but `refresh`. */
export type Catalog = {
  /** The agent, whatever a connection's filters say: whoever calls it applies `matchesFilters`. */
  find(agentId: string): Agent | undefined;
  findByToolName(toolName: string): Agent | undefined;
  /** Best trust first, then by id. The same array until the catalogue changes. */
  list(filters: AgentFilters): readonly Agent[];
  search(search: AgentSearch): AgentPage;
  /** The most any agent for sale takes as arguments. */
  readonly maxPayloadBytes: number;
  /** Rises whenever anything for sale changed. */
  readonly revision: number;
  /** Reads one agent again, or all of them. */
  refresh(agentId?: string): Promise<void>;
  /** Hears of every new revision; the answer stops it. */
  onChange(listener: () => void): () => void;
};

export type CatalogOptions = { maxCompiledSchemas?: number };

const MAX_COMPILED_SCHEMAS = 2_000;
const MAX_CACHED_LISTS = 256;
const TOOL_PREFIX = 'sentinel_';

/** Loads the snapshot; it is complete when this resolves. */
export async function loadCatalog(db: Db, options: CatalogOptions = {}): Promise<Catalog> {
  const schemas = makeCompiledSchemas(options.maxCompiledSchemas ?? MAX_COMPILED_SCHEMAS);
  const entries = new Map<string, SearchEntry>();
  const lists = new LRUCache<string, readonly Agent[]>({ max: MAX_CACHED_LISTS });
  const listeners = new Set<() => void>();
  let ordered: readonly SearchEntry[] = [];
  let maxPayloadBytes = 0;
  let revision = 0;
  let refreshing: Promise<void> = Promise.resolve();

  function replace(agentId: string, row: AgentRow | undefined): boolean {
    const known = entries.get(agentId);
    if (known === undefined && row === undefined) return false;
    if (known !== undefined && row !== undefined && isSame(known, row)) return false;
    if (known !== undefined) schemas.forget(known.agent);
    if (row === undefined) entries.delete(agentId);
    else entries.set(agentId, makeEntry(row, schemas));
    return true;
  }

  async function refreshNow(agentId: string | undefined): Promise<void> {
    const rows = await listAgentsForSale(db, agentId);
    const byId = new Map(rows.map((row) => [row.manifest.agent_id, row]));
    const ids = agentId === undefined ? new Set([...entries.keys(), ...byId.keys()]) : [agentId];
    let changed = false;
    for (const id of ids) changed = replace(id, byId.get(id)) || changed;
    if (!changed) return;
    ordered = [...entries.values()].sort(byTrustThenId);
    maxPayloadBytes = ordered.reduce((most, { agent }) => Math.max(most, agent.maxPayloadBytes), 0);
    lists.clear();
    revision++;
    for (const listener of listeners) listener();
  }

  function refresh(agentId?: string): Promise<void> {
    // One after the other: an answer read earlier must never replace one read later.
    const result = refreshing.then(() => refreshNow(agentId));
    refreshing = result.catch(() => {});
    return result;
  }

  await refresh();

  return {
    find: (agentId) => entries.get(agentId)?.agent,
    findByToolName: (toolName) =>
      toolName.startsWith(TOOL_PREFIX) ? entries.get(toolName.slice(TOOL_PREFIX.length))?.agent : undefined,
    list(filters) {
      const key = filterKey(filters);
      let list = lists.get(key);
      if (list === undefined) {
        list = Object.freeze(
          ordered.map(({ agent }) => agent).filter((agent) => matchesFilters(agent, filters)),
        );
        lists.set(key, list);
      }
      return list;
    },
    search: (search) => searchEntries(ordered, search),
    get maxPayloadBytes() {
      return maxPayloadBytes;
    },
    get revision() {
      return revision;
    },
    refresh,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function byTrustThenId(a: SearchEntry, b: SearchEntry): number {
  return b.agent.trustScore - a.agent.trustScore || (a.agent.id < b.agent.id ? -1 : 1);
}
