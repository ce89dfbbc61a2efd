import type { Clock } from '../base/clock.ts';
import { isJsonObject, type JsonObject } from '../base/json.ts';
import type { Log } from '../base/log.ts';
import type { CallDeps } from '../calls/deps.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { ChunkListener } from '../upstream/upstream.ts';
import type { Timing } from './pulse.ts';
import type { TermHeaders } from './purchase-terms.ts';
import type { Revision } from './revision.ts';

/** What the MCP endpoint works with; built once, in runtime/. */
export type McpDeps = {
  calls: CallDeps;
  catalog: Catalog;
  publicUrl: string;
  log: Log;
  clock: Clock;
  version: string;
  timing?: Partial<Timing>;
};

/** One `tools/call`, whichever transport it came over. */
export type ToolCall = {
  name: string;
  /** `params.arguments`; absent means none. */
  input: JsonObject;
  /** The same with the numbers that no double holds as they were written, where there are any. */
  exactInput?: JsonObject;
  meta: JsonObject | undefined;
  headers: TermHeaders;
  requestId: string;
  /** Aborted when the client cancelled or hung up. */
  signal: AbortSignal;
  onChunk: ChunkListener | undefined;
  /** What the client can read. */
  revision: Revision;
};

/** The parameters of `tools/call`, or what is wrong with them. */
export function parseCallParams(
  params: JsonObject | undefined,
  exactParams?: JsonObject,
): Pick<ToolCall, 'name' | 'input' | 'exactInput' | 'meta'> | { fault: string } {
  if (params === undefined) return { fault: '"params" must name a tool' };
  for (const name in params) {
    if (KNOWN_PARAMS.has(name) || !KNOWN_PARAMS.has(CANONICAL_PARAMS.get(name.toLowerCase()) ?? '')) continue;
    return {
      fault: `a parameter is named like "${CANONICAL_PARAMS.get(name.toLowerCase())}" in other letters`,
    };
  }
  const { name, arguments: input, _meta: meta } = params;
  if (typeof name !== 'string') return { fault: '"name" must be a text' };
  if (input !== undefined && !isJsonObject(input)) return { fault: '"arguments" must be a JSON object' };
  if (meta !== undefined && !isJsonObject(meta)) return { fault: '"_meta" must be a JSON object' };
  const exactInput = input === undefined ? undefined : exactParams?.['arguments'];
  return {
    name,
    input: input ?? {},
    ...(isJsonObject(exactInput) ? { exactInput } : {}),
    meta,
  };
}

// What the revisions define; others are not ours to judge and are never forwarded.
const KNOWN_PARAMS = new Set(['name', 'arguments', '_meta', 'task', 'inputResponses', 'requestState']);
const CANONICAL_PARAMS = new Map([...KNOWN_PARAMS].map((name) => [name.toLowerCase(), name]));
