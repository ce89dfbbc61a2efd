import { LRUCache } from 'lru-cache';
import type { Problem } from '../base/problem.ts';
import { parseFilters, type ConnectionFilters } from '../catalog/filters.ts';
import { filterKey } from '../catalog/search.ts';
import type { Caller } from '../identity/caller.ts';

/** What a URL's query lets its connection see; `key` is equal for queries that mean the same. */
export type View = ConnectionFilters & { key: string };

/** Who is connected, and what the filters of its URL let it see and call. */
export type Connection = { caller: Caller; view: View };

const MAX_CACHED_VIEWS = 500;
// Longer queries name hundreds of agents; parsing them anew costs less than keeping them.
const MAX_CACHED_QUERY = 2_000;

/** Reads a URL's filters. Throws Problem INVALID_INPUT; a query that holds a key is never kept. */
export function createViews(): (url: string) => View {
  const views = new LRUCache<string, View>({ max: MAX_CACHED_VIEWS });
  return (url) => {
    const mark = url.indexOf('?');
    const query = mark === -1 ? '' : url.slice(mark + 1);
    const known = views.get(query);
    if (known) return known;
    const parsed = parseFilters(new URLSearchParams(query));
    const view = { ...parsed, key: `${parsed.tools} ${parsed.maxListTokens} ${filterKey(parsed.filters)}` };
    if (query.length <= MAX_CACHED_QUERY) views.set(query, view);
    return view;
  };
}

/** `INVALID_INPUT` with what was expected of each parameter, in one sentence. */
export function explainFilterFault(problem: Problem): string {
  const faults = problem.extras.faults ?? [];
  const told = faults
    .filter(({ path }) => path !== '')
    .map(({ path, message }) => `${path.slice(1)} ${message}`);
  return told.length === 0 ? problem.message : `${problem.message} ${told.join('; ')}.`;
}
