import { createHash } from 'node:crypto';
import { unreachable } from '../base/invariant.ts';
import { Problem } from '../base/problem.ts';
import { matchesFilters, type Agent, type AgentFilters, type Manifest } from './agent.ts';

export const SORTS = ['relevance', 'trust_score', 'price_asc', 'price_desc', 'newest'] as const;
export type Sort = (typeof SORTS)[number];

export type AgentSearch = {
  /** Words, each of which must begin a word of the name, the tags or the description. */
  q?: string;
  filters: AgentFilters;
  sort?: Sort;
  /** 1–100. */
  limit?: number;
  cursor?: string;
};

export type AgentPage = { items: Agent[]; nextCursor: string | null; total: number };

/** Words of an agent, each with a blank before and after, so that ` word` finds beginnings and ` word ` whole words. */
export type SearchText = { name: string; tags: string; description: string };
export type SearchEntry = { agent: Agent; createdAtMs: number; text: SearchText };

const DEFAULT_LIMIT = 20;
const MAX_WORDS = 10;

/**
 * One page of the agents that match. Ten thousand agents are scanned in a few milliseconds, so there is no
 * index to keep. The cursor holds the sort key of the last item, not a position: agents that come and go
 * between pages are neither repeated nor the reason another is missed.
 */
export function searchEntries(entries: readonly SearchEntry[], search: AgentSearch): AgentPage {
  const { q = '', filters, sort = 'relevance', limit = DEFAULT_LIMIT } = search;
  const words = wordsOf(q).slice(0, MAX_WORDS);
  const fingerprint = fingerprintOf(search, sort);
  const after = search.cursor === undefined ? undefined : parseCursor(search.cursor, fingerprint);

  const found: Hit[] = [];
  for (const entry of entries) {
    if (!matchesFilters(entry.agent, filters)) continue;
    const relevance = relevanceOf(entry.text, words);
    // A question without a single word in it finds nothing; no question finds all.
    if (relevance === 0 && q.trim() !== '') continue;
    found.push({ agent: entry.agent, key: sortKey(entry, relevance, sort) });
  }
  found.sort(compareHits);

  const start = after === undefined ? 0 : found.findIndex((hit) => compareHits(after, hit) < 0);
  const page = start === -1 ? [] : found.slice(start, start + limit);
  const last = page.at(-1);
  const isEnd = last === undefined || start + limit >= found.length;
  return {
    items: page.map(({ agent }) => agent),
    nextCursor: isEnd ? null : formatCursor(last, fingerprint),
    total: found.length,
  };
}

export function searchTextOf(manifest: Manifest): SearchText {
  const padded = (text: string): string => ` ${wordsOf(text).join(' ')} `;
  return {
    name: padded(`${manifest.display_name} ${manifest.agent_id}`),
    tags: padded([manifest.category, ...(manifest.tags ?? [])].join(' ')),
    description: padded(manifest.description),
  };
}

/** Lower-case words without accents: `Résumé-Parser` → `resume`, `parser`. */
function wordsOf(text: string): string[] {
  const plain = text.normalize('NFKD').replaceAll(/\p{M}/gu, '').toLowerCase();
  return plain.match(/[\p{L}\p{N}]+/gu) ?? [];
}

/** Name over tags over description, whole words over beginnings; 0 when a word is nowhere. */
function relevanceOf(text: SearchText, words: readonly string[]): number {
  let sum = 0;
  for (const word of words) {
    const score =
      scoreIn(text.name, word, 8) || scoreIn(text.tags, word, 4) || scoreIn(text.description, word, 1);
    if (score === 0) return 0;
    sum += score;
  }
  return sum;
}

function scoreIn(text: string, word: string, weight: number): number {
  if (!text.includes(` ${word}`)) return 0;
  return text.includes(` ${word} `) ? weight + weight / 2 : weight;
}

/** Compared in turn, smaller first; the id makes the order total. */
type SortKey = (number | bigint)[];
type Position = { agent: { id: string }; key: SortKey };
type Hit = Position & { agent: Agent };

function sortKey({ agent, createdAtMs }: SearchEntry, relevance: number, sort: Sort): SortKey {
  switch (sort) {
    case 'relevance':
      return [-relevance, -agent.trustScore];
    case 'trust_score':
      return [-agent.trustScore];
    case 'price_asc':
      return [agent.price.maxMicros, -agent.trustScore];
    case 'price_desc':
      return [-agent.price.maxMicros, -agent.trustScore];
    case 'newest':
      return [-createdAtMs];
    default:
      return unreachable(sort);
  }
}

function compareHits(a: Position, b: Position): number {
  for (const [index, value] of a.key.entries()) {
    // A cursor's numbers come back as bigint, which compares with a number but never equals one.
    const other = b.key[index] ?? 0;
    if (value < other) return -1;
    if (value > other) return 1;
  }
  return a.agent.id < b.agent.id ? -1 : a.agent.id > b.agent.id ? 1 : 0;
}

/** A cursor continues the search it came from; another question would make it meaningless. */
function fingerprintOf({ q, filters }: AgentSearch, sort: Sort): string {
  return createHash('sha256')
    .update(JSON.stringify([q ?? '', filterKey(filters), sort]))
    .digest('base64url')
    .slice(0, 12);
}

/** One text per set of filters that means the same. */
export function filterKey(filters: AgentFilters): string {
  const { minTrustScore, badge, category, agents, maxPriceMicros } = filters;
  return JSON.stringify([
    minTrustScore,
    badge ?? null,
    category ?? null,
    agents === undefined ? null : [...agents].sort(),
    maxPriceMicros === undefined ? null : String(maxPriceMicros),
  ]);
}

function formatCursor(last: Position, fingerprint: string): string {
  return Buffer.from(JSON.stringify([fingerprint, last.agent.id, ...last.key.map(String)])).toString(
    'base64url',
  );
}

function parseCursor(cursor: string, fingerprint: string): Position {
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    parts = undefined;
  }
  if (Array.isArray(parts) && parts.every((part) => typeof part === 'string')) {
    const [of, id, ...key] = parts;
    // Every key is a whole number or a half.
    if (of === fingerprint && id !== undefined && key.every((part) => /^-?[0-9]{1,24}(\.5)?$/.test(part))) {
      return { agent: { id }, key: key.map((part) => (part.includes('.') ? Number(part) : BigInt(part))) };
    }
  }
  const faults = [{ path: '/cursor', message: 'is not a cursor of this search; start again without it' }];
  throw new Problem('INVALID_INPUT', 'The cursor does not belong to this search.', { faults });
}
