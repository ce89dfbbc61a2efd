import { isJsonObject, type Json, type JsonObject } from '../base/json.ts';
import type { Fault } from '../base/problem.ts';
import { dialectOf, readWords, type Dialect } from './dialect.ts';
import { findHiddenText } from './hidden-text.ts';
import { toHostForm } from './host-form.ts';
import { findUnsafeJson, pointerToken } from './json-shape.ts';
import { compilePattern } from './pattern.ts';
import { withoutNeedlessEscapes } from './pattern-syntax.ts';
import { resolvePointer } from './schema-pointer.ts';
import {
  ANNOTATIONS,
  ONE_SCHEMA,
  PUBLISHED,
  SCHEMA_LISTS,
  SCHEMA_MAPS,
  UNPUBLISHED,
} from './schema-words.ts';
import { suggestKeyword } from './suggest-keyword.ts';
import { checkSchemaForm, compileSchema } from './validator.ts';

export const MAX_SCHEMA_BYTES = 256 * 1024;
const MAX_SCHEMA_DEPTH = 32;
const MAX_SCHEMA_NODES = 5_000;
const MAX_ENUM_VALUES = 1_000;
const MAX_JSON_DEPTH = 100;
const MAX_FAULTS = 20;

// Compiling them takes about 0.2 s; they are compiled when published and when first called.
const MAX_PATTERN_STEPS = 200_000;

/** `warnings` name what was left out, because it asserts nothing; it is accepted all the same. */
export type PortableSchema =
  { kind: 'ok'; schema: JsonObject; warnings: Fault[] } | { kind: 'refused'; faults: Fault[] };

/**
 * The same schema as every host accepts it, in JSON Schema 2020-12: an object at the root without `oneOf/anyOf/allOf`
 * beside it (one such tool makes Anthropic's API refuse the whole request), local `$ref`s inlined (managed agents
 * refuse `$ref`), nothing remote, recursive or costly. It accepts exactly the objects the original accepts, read as the
 * draft its `$schema` names. `where` is the JSON Pointer of the schema in its document, so that faults point into that
 * document. Hosts restrict the names of an input's own members, and no others.
 */
export function makePortable(
  schema: unknown,
  where: string,
  role: 'input' | 'output' = 'input',
): PortableSchema {
  const unsafe = findUnsafeJson(schema, where, { maxDepth: MAX_JSON_DEPTH, maxBytes: MAX_SCHEMA_BYTES });
  if (unsafe.length > 0) return { kind: 'refused', faults: unsafe };
  if (!isJsonObject(schema))
    return { kind: 'refused', faults: [{ path: where, message: 'must be an object' }] };

  const dialect = dialectOf(schema['$schema']);
  if (dialect === undefined) {
    const message =
      'names a dialect that cannot be read; draft-04, draft-06, draft-07, 2019-09 and 2020-12 can, and without it the schema is read as 2020-12';
    return { kind: 'refused', faults: [{ path: `${where}/$schema`, message }] };
  }
  const malformed = checkSchemaForm(schema, dialect).map(({ path, message }) => ({
    path: where + path,
    message,
  }));
  if (malformed.length > 0) return { kind: 'refused', faults: malformed };

  const portable = inlineReferences(schema, where, dialect);
  if (portable.kind === 'refused') return portable;
  const faults = findRootFaults(portable.schema, where, role);
  if (faults.length > 0) return { kind: 'refused', faults };
  const { type } = portable.schema;
  const formed = toHostForm(type === undefined ? portable.schema : { ...portable.schema, type: 'object' });
  try {
    compileSchema(formed);
  } catch {
    return {
      kind: 'refused',
      faults: [{ path: where, message: 'is not a schema the validator can compile' }],
    };
  }
  return { ...portable, schema: formed };
}

function findRootFaults(schema: JsonObject, where: string, role: 'input' | 'output'): Fault[] {
  const faults: Fault[] = [];
  const { type, properties, required } = schema;
  // Arguments are always objects, so a root that also allows something else, or does not say, means the same.
  const types = Array.isArray(type) ? type : [type ?? 'object'];
  if (!types.includes('object') || (role === 'output' && types.length > 1)) {
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
  if (role === 'output') return faults;
  const message = 'hosts accept only names of 1 to 64 letters, digits, "_", "." and "-" for an argument';
  const declared = Object.keys(isJsonObject(properties) ? properties : {});
  for (const name of declared.filter(isOddName))
    faults.push({ path: `${where}/properties/${pointerToken(name)}`, message });
  // What is required is declared in the published form.
  for (const [index, name] of (Array.isArray(required) ? required : []).entries())
    if (typeof name === 'string' && isOddName(name) && !declared.includes(name))
      faults.push({ path: `${where}/required/${index}`, message });
  return faults.slice(0, MAX_FAULTS);
}

function isOddName(name: string): boolean {
  return !/^[A-Za-z0-9_.-]{1,64}$/.test(name);
}

type Walk = {
  root: JsonObject;
  dialect: Dialect;
  faults: Fault[];
  warnings: Fault[];
  moreWarnings: number;
  nodes: number;
  bytes: number;
  patternSteps: number;
  open: string[];
};

function inlineReferences(root: JsonObject, where: string, dialect: Dialect): PortableSchema {
  const walk: Walk = {
    root,
    dialect,
    faults: [],
    warnings: [],
    moreWarnings: 0,
    nodes: 0,
    bytes: 0,
    patternSteps: 0,
    open: [],
  };
  try {
    const schema = portableNode(root, where, 0, walk);
    if (walk.faults.length > 0 || !isJsonObject(schema)) return { kind: 'refused', faults: walk.faults };
    const more = { path: where, message: `${walk.moreWarnings} more keywords were left out` };
    return { kind: 'ok', schema, warnings: walk.moreWarnings > 0 ? [...walk.warnings, more] : walk.warnings };
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

/** Would change what is accepted, in every dialect that has them. */
const REFUSED: Record<string, string> = {
  $dynamicRef: 'is not accepted; write the schema out or use a local $ref',
  $recursiveRef: 'is not accepted; recursive schemas cannot be offered to hosts',
};

function portableNode(node: Json, path: string, depth: number, walk: Walk): Json {
  walk.nodes++;
  if (walk.nodes > MAX_SCHEMA_NODES)
    stop(walk, path, `the schema has more than ${MAX_SCHEMA_NODES} parts once its $refs are inlined`);
  if (depth > MAX_SCHEMA_DEPTH) stop(walk, path, `is nested more than ${MAX_SCHEMA_DEPTH} schemas deep`);
  if (!isJsonObject(node)) return node;

  const result: JsonObject = {};
  const { words, ignored } = readWords(node, walk.dialect);
  for (const { written, message } of ignored) warn(walk, `${path}/${pointerToken(written)}`, message);
  for (const { keyword, value, written } of words) {
    const here = `${path}/${pointerToken(written)}`;
    if (!checkKeyword(node, keyword, value, here, depth, walk)) continue;
    walk.bytes += keyword.length + 4;
    if (ONE_SCHEMA.has(keyword)) {
      result[keyword] = portableNode(value, here, depth + 1, walk);
    } else if (SCHEMA_LISTS.has(keyword) && Array.isArray(value)) {
      result[keyword] = value.map((inner, index) => portableNode(inner, `${here}/${index}`, depth + 1, walk));
    } else if (SCHEMA_MAPS.has(keyword) && isJsonObject(value)) {
      result[keyword] = portableMap(keyword, value, here, depth, walk);
    } else {
      const kept =
        keyword === 'pattern' && typeof value === 'string' ? checkPattern(value, here, walk) : value;
      walk.bytes += Buffer.byteLength(JSON.stringify(kept));
      result[keyword] = kept;
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
    const hidden = findHiddenText(name, { lines: false });
    if (hidden !== undefined) report(walk, here, `the name ${hidden}`);
    const kept = keyword === 'patternProperties' ? checkPattern(name, here, walk) : name;
    walk.bytes += Buffer.byteLength(name) + 4;
    result[kept] = portableNode(inner, here, depth + 1, walk);
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
  const fragment = localFragment(reference, walk.root);
  if (fragment === undefined) {
    report(walk, path, 'remote references are not followed; only "#/…" within this schema');
    return siblings;
  }
  const target = resolvePointer(walk.root, fragment);
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

/** The part of a reference from `#` on, if it stays in this schema: by itself, or behind the schema's own `$id`. */
function localFragment(reference: string, root: JsonObject): string | undefined {
  const own = root['$id'] ?? root['id'];
  const [before = '', fragment = ''] = reference.split(/#(.*)/s);
  if (before === '') return `#${fragment}`;
  return typeof own === 'string' && own.replace(/#$/, '') === before ? `#${fragment}` : undefined;
}

/** Whether the keyword stays in the published schema. What is wrong with it is reported. */
function checkKeyword(
  node: JsonObject,
  keyword: string,
  value: Json,
  path: string,
  depth: number,
  walk: Walk,
): boolean {
  const refusal = Object.hasOwn(REFUSED, keyword) ? REFUSED[keyword] : undefined;
  if (refusal !== undefined) {
    report(walk, path, refusal);
    return false;
  }
  switch (keyword) {
    case '$schema':
      if (depth > 0 && dialectOf(value) !== walk.dialect)
        report(walk, path, 'is accepted further down only where it names the dialect of the root');
      break;
    case '$id':
      // An `$id` further down would change what "#" means there. A bare fragment only names the place.
      if (depth > 0 && typeof value === 'string' && !value.startsWith('#') && holdsReference(node))
        report(walk, path, 'is accepted further down only where no $ref stands under it');
      break;
    case 'enum':
      if (Array.isArray(value) && value.length > MAX_ENUM_VALUES) {
        report(walk, path, `has more than ${MAX_ENUM_VALUES} values`);
      }
      break;
    case 'unevaluatedItems':
      // In 2020-12 `contains` counts as having seen an item, and before it did not.
      if (walk.dialect === '2019-09' && JSON.stringify(walk.root).includes('"contains"'))
        report(walk, path, 'has no exact form in 2020-12 beside contains; write the schema in 2020-12');
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
  if (PUBLISHED.has(keyword)) return true;
  if (keyword !== '$ref' && !UNPUBLISHED.has(keyword)) warnOfUnknown(node, keyword, path, walk);
  return false;
}

function holdsReference(node: JsonObject): boolean {
  return JSON.stringify(node).includes('"$ref"');
}

const MAX_WARNINGS = 20;

function warn(walk: Walk, path: string, message: string): void {
  if (walk.warnings.length < MAX_WARNINGS) walk.warnings.push({ path, message });
  else walk.moreWarnings++;
}

/** An unknown keyword asserts nothing. A misspelt one was meant to, so the right one is named where it would work. */
function warnOfUnknown(node: JsonObject, keyword: string, path: string, walk: Walk): void {
  const left = 'is not a JSON Schema keyword and was left out';
  if (walk.warnings.length >= MAX_WARNINGS) return warn(walk, path, left);
  if (keyword === 'nullable') {
    return warn(walk, path, `${left}; where null is to be accepted, write "type": ["…", "null"]`);
  }
  const meant = suggestKeyword(node, keyword, (schema) => {
    const form = checkSchemaForm(schema, walk.dialect);
    return form.length === 0 && isAccepted(schema, walk);
  });
  warn(walk, path, meant === undefined ? left : `${left}; did you mean "${meant}"?`);
}

/** Whether a part that would be added is accepted, references into the whole included. Nothing is suggested for it. */
function isAccepted(schema: JsonObject, { root, dialect, open }: Walk): boolean {
  const trial: Walk = {
    root,
    dialect,
    faults: [],
    warnings: Array.from({ length: MAX_WARNINGS }, () => ({ path: '', message: '' })),
    moreWarnings: 0,
    nodes: 0,
    bytes: 0,
    patternSteps: 0,
    open: [...open],
  };
  try {
    portableNode(schema, '', 1, trial);
  } catch (error) {
    if (!(error instanceof WalkStopped)) throw error;
  }
  return trial.faults.length === 0;
}

/** The pattern as it is published. */
function checkPattern(source: string, path: string, walk: Walk): string {
  const kept = withoutNeedlessEscapes(source);
  const pattern = compilePattern(kept);
  if (pattern.kind === 'refused') report(walk, path, `the pattern ${pattern.message}`);
  else walk.patternSteps += pattern.steps(0);
  if (walk.patternSteps > MAX_PATTERN_STEPS)
    stop(walk, path, 'the patterns of the schema are too large together');
  return kept;
}
