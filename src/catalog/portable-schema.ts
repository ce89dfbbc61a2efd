import { isJsonObject, type Json, type JsonObject } from '../base/json.ts';
import type { Fault } from '../base/problem.ts';
import { nearestName } from './edit-distance.ts';
import { findHiddenText } from './hidden-text.ts';
import { findUnsafeJson, pointerToken } from './json-shape.ts';
import { judgePattern } from './pattern-cost.ts';
import { resolvePointer } from './schema-pointer.ts';
import { checkSchemaForm, compileSchema } from './validator.ts';

export const MAX_SCHEMA_BYTES = 256 * 1024;
const MAX_SCHEMA_DEPTH = 32;
const MAX_SCHEMA_NODES = 5_000;
const MAX_ENUM_VALUES = 1_000;
const MAX_JSON_DEPTH = 100;
const MAX_FAULTS = 20;

export type PortableSchema = { kind: 'ok'; schema: JsonObject } | { kind: 'refused'; faults: Fault[] };

/**
 * The same schema as every host accepts it: an object at the root without `oneOf/anyOf/allOf` beside it (one
 * such tool makes Anthropic's API refuse the whole request), local `$ref`s inlined (managed agents refuse
 * `$ref`), nothing remote, recursive or costly. It accepts exactly the values the original accepts. `where` is
 * the JSON Pointer of the schema in its document, so that faults point into that document.
 */
export function makePortable(schema: unknown, where: string): PortableSchema {
  const unsafe = findUnsafeJson(schema, where, { maxDepth: MAX_JSON_DEPTH, maxBytes: MAX_SCHEMA_BYTES });
  if (unsafe.length > 0) return { kind: 'refused', faults: unsafe };
  if (!isJsonObject(schema))
    return { kind: 'refused', faults: [{ path: where, message: 'must be an object' }] };

  const malformed = checkSchemaForm(schema).map(({ path, message }) => ({ path: where + path, message }));
  if (malformed.length > 0) return { kind: 'refused', faults: malformed };

  const portable = inlineReferences(schema, where);
  if (portable.kind === 'refused') return portable;
  const faults = findRootFaults(portable.schema, where);
  if (faults.length === 0) {
    try {
      compileSchema(portable.schema);
    } catch {
      faults.push({ path: where, message: 'is not a schema the validator can compile' });
    }
  }
  return faults.length > 0 ? { kind: 'refused', faults } : portable;
}

function findRootFaults(schema: JsonObject, where: string): Fault[] {
  const faults: Fault[] = [];
  if (schema['type'] !== 'object') {
    faults.push({
      path: `${where}/type`,
      message: 'must be "object": arguments and answers are JSON objects at the root',
    });
  }
  for (const keyword of ['oneOf', 'anyOf', 'allOf']) {
    if (!Object.hasOwn(schema, keyword)) continue;
    faults.push({
      path: `${where}/${keyword}`,
      message: `is not accepted at the root (hosts refuse the tool; a root $ref beside other keywords becomes allOf); move it into a property`,
    });
  }
  return faults;
}

type Walk = { root: JsonObject; faults: Fault[]; nodes: number; bytes: number; open: string[] };

function inlineReferences(root: JsonObject, where: string): PortableSchema {
  const walk: Walk = { root, faults: [], nodes: 0, bytes: 0, open: [] };
  try {
    const schema = portableNode(root, where, 0, walk);
    if (walk.faults.length > 0 || !isJsonObject(schema)) return { kind: 'refused', faults: walk.faults };
    return { kind: 'ok', schema };
  } catch (error) {
    if (error instanceof WalkStopped) return { kind: 'refused', faults: walk.faults };
    throw error;
  }
}

/** Ends a walk that must not go on: inlining can grow a small schema without bound. */
class WalkStopped extends Error {}

function report(walk: Walk, path: string, message: string): void {
  walk.faults.push({ path, message });
  if (walk.faults.length >= MAX_FAULTS) throw new WalkStopped();
}

function stop(walk: Walk, path: string, message: string): never {
  walk.faults.push({ path, message });
  throw new WalkStopped();
}

const ONE_SCHEMA = new Set([
  'additionalProperties',
  'unevaluatedProperties',
  'items',
  'unevaluatedItems',
  'contains',
  'propertyNames',
  'not',
  'if',
  'then',
  'else',
  'contentSchema',
]);
const SCHEMA_LISTS = new Set(['allOf', 'anyOf', 'oneOf', 'prefixItems']);
const SCHEMA_MAPS = new Set(['properties', 'patternProperties', 'dependentSchemas']);
/** Says nothing about the value: what may stand beside a `$ref` without changing what it means. */
const ANNOTATIONS = new Set([
  'title',
  'description',
  'default',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  '$comment',
]);
const ASSERTIONS = [
  'type enum const multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern',
  'maxItems minItems uniqueItems maxContains minContains maxProperties minProperties required dependentRequired',
  'format contentEncoding contentMediaType',
].flatMap((line) => line.split(' '));
/** Dropped: they only name things for references, or mean something to hosts that the gateway does not check. */
const DROPPED = new Set(['$defs', 'definitions', '$schema', '$id', '$anchor', 'x-mcp-header']);
const KNOWN = [
  ...ONE_SCHEMA,
  ...SCHEMA_LISTS,
  ...SCHEMA_MAPS,
  ...ANNOTATIONS,
  ...ASSERTIONS,
  ...DROPPED,
  '$ref',
];
const REFUSED: Record<string, string> = {
  $dynamicRef: 'is not accepted; write the schema out or use a local $ref',
  $dynamicAnchor: 'is not accepted; write the schema out or use a local $ref',
  $recursiveRef: 'is not accepted; recursive schemas cannot be offered to hosts',
  $recursiveAnchor: 'is not accepted; recursive schemas cannot be offered to hosts',
  $vocabulary: 'is not accepted',
  $async: 'is not accepted',
  id: 'is not accepted; this is JSON Schema 2020-12',
  nullable: 'is not JSON Schema; use "type": ["…", "null"]',
  additionalItems: 'is of an older draft; use prefixItems and items',
  dependencies: 'is of an older draft; use dependentRequired or dependentSchemas',
};
const DIALECT = /^https?:\/\/json-schema\.org\/draft\/2020-12\/schema#?$/;

function portableNode(node: Json, path: string, depth: number, walk: Walk): Json {
  walk.nodes++;
  if (walk.nodes > MAX_SCHEMA_NODES)
    stop(walk, path, `the schema has more than ${MAX_SCHEMA_NODES} parts once its $refs are inlined`);
  if (depth > MAX_SCHEMA_DEPTH) stop(walk, path, `is nested more than ${MAX_SCHEMA_DEPTH} schemas deep`);
  if (!isJsonObject(node)) return node;

  const result: JsonObject = {};
  for (const [keyword, value] of Object.entries(node)) {
    const here = `${path}/${pointerToken(keyword)}`;
    checkKeyword(keyword, value, here, depth, walk);
    if (DROPPED.has(keyword) || keyword === '$ref') continue;
    walk.bytes += keyword.length + 4;
    if (ONE_SCHEMA.has(keyword)) {
      result[keyword] = portableNode(value, here, depth + 1, walk);
    } else if (SCHEMA_LISTS.has(keyword) && Array.isArray(value)) {
      result[keyword] = value.map((inner, index) => portableNode(inner, `${here}/${index}`, depth + 1, walk));
    } else if (SCHEMA_MAPS.has(keyword) && isJsonObject(value)) {
      result[keyword] = portableMap(keyword, value, here, depth, walk);
    } else {
      walk.bytes += Buffer.byteLength(JSON.stringify(value));
      result[keyword] = value;
    }
    if (walk.bytes > MAX_SCHEMA_BYTES)
      stop(walk, path, `the schema is larger than ${MAX_SCHEMA_BYTES / 1024} KB once its $refs are inlined`);
  }
  const reference = node['$ref'];
  return typeof reference === 'string'
    ? withReference(result, reference, `${path}/$ref`, depth, walk)
    : result;
}

function portableMap(keyword: string, map: JsonObject, path: string, depth: number, walk: Walk): JsonObject {
  const result: JsonObject = {};
  for (const [name, inner] of Object.entries(map)) {
    const here = `${path}/${pointerToken(name)}`;
    if (keyword === 'patternProperties') checkPattern(name, here, walk);
    else if (!/^[A-Za-z0-9_.-]{1,64}$/.test(name)) {
      report(walk, here, 'hosts accept only property names of 1 to 64 letters, digits, "_", "." and "-"');
    }
    walk.bytes += Buffer.byteLength(name) + 4;
    result[name] = portableNode(inner, here, depth + 1, walk);
  }
  return result;
}

/** `$ref` applies beside its neighbours (2020-12 core section 8.2.3.1), so neighbours that assert need `allOf`. */
function withReference(
  siblings: JsonObject,
  reference: string,
  path: string,
  depth: number,
  walk: Walk,
): Json {
  if (!reference.startsWith('#')) {
    report(walk, path, 'remote references are not followed; only "#/…" within this schema');
    return siblings;
  }
  const target = resolvePointer(walk.root, reference);
  if (target === undefined) {
    report(walk, path, 'points to nothing in this schema (only "#/…" pointers, no anchors)');
    return siblings;
  }
  if (walk.open.includes(target.pointer)) {
    report(walk, path, 'is recursive, which hosts cannot be offered; write out the depth you need');
    return siblings;
  }
  walk.open.push(target.pointer);
  const inlined = portableNode(target.schema, path, depth + 1, walk);
  walk.open.pop();

  if (isJsonObject(inlined) && Object.keys(siblings).every((keyword) => ANNOTATIONS.has(keyword))) {
    return { ...inlined, ...siblings };
  }
  const others = Array.isArray(siblings['allOf']) ? siblings['allOf'] : [];
  return { ...siblings, allOf: [...others, inlined] };
}

function checkKeyword(keyword: string, value: Json, path: string, depth: number, walk: Walk): void {
  const refusal = Object.hasOwn(REFUSED, keyword) ? REFUSED[keyword] : undefined;
  if (refusal !== undefined) return report(walk, path, refusal);
  if (!KNOWN.includes(keyword)) {
    // An unknown keyword asserts nothing; a misspelt one was meant to.
    const nearest = keyword.startsWith('x-') ? undefined : nearestName(keyword, KNOWN);
    if (nearest !== undefined) report(walk, path, `is not a JSON Schema keyword; did you mean "${nearest}"?`);
    return;
  }
  switch (keyword) {
    case '$schema':
      if (typeof value !== 'string' || !DIALECT.test(value)) {
        report(walk, path, 'must be "https://json-schema.org/draft/2020-12/schema", or left out');
      }
      break;
    case '$id':
      // An `$id` further down would change what "#" means there.
      if (depth > 0) report(walk, path, 'is accepted only at the root');
      break;
    case 'pattern':
      if (typeof value === 'string') checkPattern(value, path, walk);
      break;
    case 'enum':
      if (Array.isArray(value) && value.length > MAX_ENUM_VALUES) {
        report(walk, path, `has more than ${MAX_ENUM_VALUES} values`);
      }
      break;
    case 'title':
    case 'description':
    case '$comment': {
      const hidden = typeof value === 'string' ? findHiddenText(value, { lines: true }) : undefined;
      if (hidden !== undefined) report(walk, path, hidden);
      break;
    }
    default:
  }
}

function checkPattern(source: string, path: string, walk: Walk): void {
  const verdict = judgePattern(source);
  if (verdict.kind === 'refused') report(walk, path, `the pattern ${verdict.message}`);
}
