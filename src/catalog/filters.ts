import { parseCredits } from '../base/money.ts';
import { Problem, type Fault } from '../base/problem.ts';
import { parseWholeNumber } from '../base/whole-number.ts';
import { BADGES, CATEGORIES, DEFAULT_FILTERS, type AgentFilters } from './agent.ts';
import { pointerToken } from './json-shape.ts';
import { slugOf } from './agent-id.ts';
import { SORTS, type AgentSearch } from './search.ts';

/** `direct`: every agent is a tool; `meta`: only search, describe, call and so on; `auto`: what fits. */
export const TOOL_MODES = ['direct', 'meta', 'auto'] as const;
export type ToolMode = (typeof TOOL_MODES)[number];

/** What a connection's URL asks for. */
export type ConnectionFilters = { filters: AgentFilters; tools: ToolMode; maxListTokens: number };

export const DEFAULT_MAX_LIST_TOKENS = 8_000;
const MAX_LIST_TOKENS = 1_000_000;
const MAX_NAMED_AGENTS = 200;
const MAX_QUESTION = 500;
const MAX_CURSOR = 1_000;

/**
 * Reads the filters of an MCP connection. Anything wrong is refused, never ignored: a filter that silently
 * fails shows more agents than were asked for. Throws Problem INVALID_INPUT naming each parameter.
 */
export function parseFilters(query: URLSearchParams): ConnectionFilters {
  const read = openQuery(query, [...FILTER_NAMES, 'tools', 'max_list_tokens']);
  const filters = readFilters(read);
  const tools = read.oneOf('tools', TOOL_MODES) ?? 'auto';
  const maxListTokens = read.integer('max_list_tokens', 0, MAX_LIST_TOKENS) ?? DEFAULT_MAX_LIST_TOKENS;
  read.finish();
  return { filters, tools, maxListTokens };
}

/** Reads a REST search: the same filters, and `q`, `sort`, `limit`, `cursor`. Throws like `parseFilters`. */
export function parseAgentSearch(query: URLSearchParams): AgentSearch {
  const read = openQuery(query, [...FILTER_NAMES, 'q', 'sort', 'limit', 'cursor']);
  const filters = readFilters(read);
  const q = read.text('q', MAX_QUESTION);
  const sort = read.oneOf('sort', SORTS);
  const limit = read.integer('limit', 1, 100);
  const cursor = read.text('cursor', MAX_CURSOR);
  read.finish();
  return {
    filters,
    ...(q === undefined ? {} : { q }),
    ...(sort === undefined ? {} : { sort }),
    ...(limit === undefined ? {} : { limit }),
    ...(cursor === undefined ? {} : { cursor }),
  };
}

const FILTER_NAMES = ['min_trust_score', 'badge', 'category', 'agents', 'max_price'];

function readFilters(read: QueryReader): AgentFilters {
  const badge = read.oneOf('badge', BADGES);
  const category = read.oneOf('category', CATEGORIES);
  const agents = read.value(
    'agents',
    `must be 1 to ${MAX_NAMED_AGENTS} agent ids, separated by commas`,
    parseAgentIds,
  );
  const maxPriceMicros = read.value(
    'max_price',
    'must be an amount of credits such as 15 or 0.5',
    parseCredits,
  );
  return {
    minTrustScore: read.integer('min_trust_score', 0, 100) ?? DEFAULT_FILTERS.minTrustScore,
    ...(badge === undefined ? {} : { badge }),
    ...(category === undefined ? {} : { category }),
    ...(agents === undefined ? {} : { agents }),
    ...(maxPriceMicros === undefined ? {} : { maxPriceMicros }),
  };
}

function parseAgentIds(text: string): ReadonlySet<string> | undefined {
  const ids = text.split(',');
  return ids.length <= MAX_NAMED_AGENTS && ids.every((id) => slugOf(id) !== undefined)
    ? new Set(ids)
    : undefined;
}

type QueryReader = {
  /** The parsed parameter, or undefined when it is absent or (reported) wrong. */
  value<Value>(name: string, expected: string, parse: (text: string) => Value | undefined): Value | undefined;
  oneOf<Value extends string>(name: string, allowed: readonly Value[]): Value | undefined;
  integer(name: string, min: number, max: number): number | undefined;
  text(name: string, maxLength: number): string | undefined;
  /** Throws everything that was wrong. */
  finish(): void;
};

function openQuery(query: URLSearchParams, known: readonly string[]): QueryReader {
  refuseKeys(query);
  const faults: Fault[] = [];
  const report = (name: string, message: string): void => {
    faults.push({ path: `/${pointerToken(name)}`, message });
  };
  for (const name of new Set(query.keys())) {
    if (!known.includes(name))
      report(printable(name), `is not a known parameter; known are ${known.join(', ')}`);
    else if (query.getAll(name).length > 1) report(name, 'must be given only once');
  }

  function value<Value>(
    name: string,
    expected: string,
    parse: (text: string) => Value | undefined,
  ): Value | undefined {
    const [text, repeated] = query.getAll(name);
    if (text === undefined || repeated !== undefined) return undefined;
    const parsed = parse(text);
    if (parsed === undefined) report(name, expected);
    return parsed;
  }

  return {
    value,
    oneOf: (name, allowed) =>
      value(name, `must be ${allowed.length > 1 ? 'one of ' : ''}${allowed.join(', ')}`, (text) =>
        allowed.find((each) => each === text),
      ),
    integer: (name, min, max) =>
      value(name, `must be a whole number from ${min} to ${max}`, (text) => {
        const number = parseWholeNumber(text);
        return number !== undefined && number >= min && number <= max ? number : undefined;
      }),
    text: (name, maxLength) =>
      value(name, `must have at most ${maxLength} characters`, (text) =>
        text.length <= maxLength ? text : undefined,
      ),
    finish() {
      if (faults.length === 0) return;
      const names = [...new Set(faults.map(({ path }) => path.slice(1)))].join(', ');
      throw new Problem('INVALID_INPUT', `The query has a parameter that cannot be understood: ${names}.`, {
        faults,
      });
    },
  };
}

const KEY_NAMES =
  /^(x[-_])?(sentinel[-_])?(api[-_]?key|key|token|access[-_]?token|auth|authorization|bearer|secret|password)$/i;
const KEY_VALUE = /(^|\s)sk_/i;
// The id of a key opens nothing, and lists are filtered by it.
const KEY_ID = /^key_[0-9a-f]{32}$/;

/** A URL ends up in logs, histories and referrers. Neither name nor value is repeated: either may be the key. */
export function refuseKeys(query: URLSearchParams): void {
  for (const [name, value] of query) {
    if (!KEY_NAMES.test(name) && !KEY_VALUE.test(name) && !KEY_VALUE.test(value)) continue;
    if (name === 'key' && KEY_ID.test(value)) continue;
    throw new Problem(
      'INVALID_INPUT',
      'An API key must not be in the URL: send it in the header "Authorization: Bearer …" or "X-API-Key", and revoke this one if it is real.',
      { faults: [{ path: '', message: 'the query contains what looks like an API key' }] },
    );
  }
}

function printable(name: string): string {
  return /^[\w.-]{1,40}$/.test(name) ? name : '?';
}
