import { type Json, type JsonObject, isJsonObject } from '../base/json.ts';
import { claimedVersion } from './message.ts';

/** An argument that 2026-07-28 wants repeated in a header: where it is, and under which name. */
type HeaderParameter = { path: string[]; name: string };

/** Remembers which tools want arguments in headers, as their listed schemas say (`x-mcp-header`). */
export type ToolHeaders = {
  /** Learns from one page of `tools/list` and returns the page a host may see. */
  learn(
    result: JsonObject,
  ): { kind: 'unchanged' } | { kind: 'reduced'; result: JsonObject; dropped: string[] };
  /** The headers that a message of the stateless era derives from its body; none for older hosts. */
  headersOf(method: string, params: JsonObject): Record<string, string>;
};

/** Which member of the params `Mcp-Name` repeats. */
const NAME_MEMBER = new Map([
  ['tools/call', 'name'],
  ['prompts/get', 'name'],
  ['resources/read', 'uri'],
  ['tasks/get', 'taskId'],
  ['tasks/update', 'taskId'],
  ['tasks/cancel', 'taskId'],
]);

export function rememberToolHeaders(): ToolHeaders {
  const known = new Map<string, HeaderParameter[]>();
  return {
    learn(result) {
      const tools = Array.isArray(result['tools']) ? result['tools'] : [];
      const dropped: string[] = [];
      const kept = tools.filter((tool) => {
        if (!isJsonObject(tool) || typeof tool['name'] !== 'string') return true;
        const found = findHeaderParameters(tool['inputSchema']);
        if (found === undefined) dropped.push(tool['name']);
        else known.set(tool['name'], found);
        return found !== undefined;
      });
      return dropped.length === 0
        ? { kind: 'unchanged' }
        : { kind: 'reduced', result: { ...result, tools: kept }, dropped };
    },

    headersOf(method, params) {
      const version = claimedVersion(params);
      if (version === undefined) return {};
      const headers: Record<string, string> = {
        'mcp-protocol-version': encodeHeader(version),
        'mcp-method': encodeHeader(method),
      };
      const name = params[NAME_MEMBER.get(method) ?? ''];
      if (typeof name === 'string') headers['mcp-name'] = encodeHeader(name);
      if (method !== 'tools/call' || typeof name !== 'string') return headers;
      for (const parameter of known.get(name) ?? []) {
        const value = formatPrimitive(valueAt(params['arguments'], parameter.path));
        if (value !== undefined) headers[`mcp-param-${parameter.name}`] = encodeHeader(value);
      }
      return headers;
    },
  };
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const PRIMITIVE_TYPES: unknown[] = ['string', 'integer', 'boolean'];
const MAX_DEPTH = 64;

/**
 * The header parameters of one input schema, or undefined when a declaration breaks the rules of
 * 2026-07-28 (SEP-2243): a client must then act as if the tool did not exist.
 */
function findHeaderParameters(schema: Json | undefined): HeaderParameter[] | undefined {
  const found: HeaderParameter[] = [];
  return collect(schema, [], true, found) ? found : undefined;
}

/** `reachable`: only `properties` lie between here and the root, so an argument's value has one known place. */
function collect(
  node: Json | undefined,
  path: string[],
  reachable: boolean,
  found: HeaderParameter[],
): boolean {
  if (Array.isArray(node)) return node.every((item) => collect(item, [...path, ''], false, found));
  if (!isJsonObject(node)) return true;
  if (path.length > MAX_DEPTH) return false;

  const name = node['x-mcp-header'];
  if (name !== undefined) {
    if (!reachable || path.length === 0) return false;
    if (typeof name !== 'string' || !TOKEN.test(name) || !PRIMITIVE_TYPES.includes(node['type']))
      return false;
    if (found.some((other) => other.name.toLowerCase() === name.toLowerCase())) return false;
    found.push({ path, name });
  }
  return Object.entries(node).every(([keyword, child]) => {
    if (keyword === 'properties' && isJsonObject(child)) {
      return Object.entries(child).every(([key, sub]) => collect(sub, [...path, key], reachable, found));
    }
    // Sample values may hold anything, also a member that happens to have this name.
    if (['const', 'enum', 'default', 'examples'].includes(keyword)) return true;
    return collect(child, [...path, ''], false, found);
  });
}

function valueAt(root: Json | undefined, path: string[]): Json | undefined {
  let value = root;
  for (const key of path) {
    if (!isJsonObject(value) || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}

/** Null, missing and unrepresentable values get no header: the gateway then judges by the body alone. */
function formatPrimitive(value: Json | undefined): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return String(value);
  return typeof value === 'number' && (Number.isSafeInteger(value) || !Number.isInteger(value))
    ? String(value)
    : undefined;
}

/** Plain where a header can carry the text, `=?base64?…?=` of its UTF-8 otherwise, as the transport says. */
function encodeHeader(text: string): string {
  const plain = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(text) && !/^=\?base64\?.*\?=$/.test(text);
  return plain ? text : `=?base64?${Buffer.from(text, 'utf8').toString('base64')}?=`;
}
