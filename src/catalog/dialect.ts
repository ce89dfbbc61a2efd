import { isJsonObject, type Json, type JsonObject } from '../base/json.ts';
import { ANNOTATIONS, PUBLISHED, UNPUBLISHED } from './schema-words.ts';

/**
 * The draft of JSON Schema a document is written in. One that does not say is read as 2020-12, as MCP does, but the
 * words that only older drafts have keep their meaning there.
 */
export type Dialect = (typeof DIALECTS)[number] | 'undeclared';

const DIALECTS = ['draft-04', 'draft-06', 'draft-07', '2019-09', '2020-12'] as const;

/** The dialect `$schema` names; undefined when it names none that can be read. */
export function dialectOf(declared: Json | undefined): Dialect | undefined {
  // The latter is "whatever is the latest", which says as little.
  if (declared === undefined || declared === 'http://json-schema.org/schema#') return 'undeclared';
  if (typeof declared !== 'string') return undefined;
  const name = /^https?:\/\/json-schema\.org\/(draft-0[467]|draft\/20[12][0-9]-[01][0-9])\/schema#?$/.exec(
    declared,
  )?.[1];
  return DIALECTS.find((dialect) => dialect === name?.replace('draft/', ''));
}

/** One keyword with what stands under it, and the name it has in the document where that is another. */
export type Word = { keyword: string; value: Json; written: string };

/** What one schema says, in the words of 2020-12, and which of its words say nothing. */
export type Reading = { words: Word[]; ignored: { written: string; message: string }[] };

/** Reads the keywords of one schema object. What stands under them is left in its own dialect. */
export function readWords(node: JsonObject, dialect: Dialect): Reading {
  const reading: Reading = { words: [], ignored: [] };
  const isAlone = typeof node['$ref'] === 'string' && isBefore(dialect, '2019-09');
  for (const [written, value] of Object.entries(node)) {
    if (isAlone && PUBLISHED.has(written) && !ANNOTATIONS.has(written)) {
      reading.ignored.push({ written, message: `says nothing beside a $ref in ${dialect} and was left out` });
    } else if (isAlone && !PUBLISHED.has(written) && written !== '$ref' && !UNPUBLISHED.has(written)) {
      // Whatever it is, it would be ignored here.
    } else readWord(node, written, value, dialect, reading);
  }
  return reading;
}

function readWord(
  node: JsonObject,
  written: string,
  value: Json,
  dialect: Dialect,
  { words, ignored }: Reading,
): void {
  const is = (keyword: string, meaning = value) => words.push({ keyword, value: meaning, written });
  const ignore = (message: string) => ignored.push({ written, message });
  switch (written) {
    case 'items':
      if (Array.isArray(value) && dialect !== '2020-12') is('prefixItems');
      else is('items');
      return;
    case 'additionalItems':
      if (dialect === '2020-12') ignore(`is no word of 2020-12 and was left out; use prefixItems and items`);
      else if (Array.isArray(node['items'])) is('items');
      return;
    case 'dependencies':
      if (!isJsonObject(value)) return;
      if (dialect === '2019-09' || dialect === '2020-12') {
        ignore(`is no word of ${dialect} and was left out; use dependentRequired or dependentSchemas`);
      } else readDependencies(node, value, written, words);
      return;
    case 'dependentRequired':
    case 'dependentSchemas':
      // Said together with `dependencies`, where both are given.
      if (dialect === 'undeclared' && isJsonObject(node['dependencies'])) return;
      break;
    case 'minimum':
    case 'maximum': {
      const exclusive = `exclusiveM${written.slice(1)}`;
      if (dialect === 'draft-04' && node[exclusive] === true) is(exclusive);
      else is(written);
      return;
    }
    case 'exclusiveMinimum':
    case 'exclusiveMaximum':
      // In draft-04 it says how `minimum` is meant.
      if (dialect === 'draft-04' && typeof value === 'boolean') return;
      break;
    case 'id':
      if (dialect === 'draft-04') return;
      break;
    default:
  }
  const since = SINCE[written];
  if (since !== undefined && isBefore(dialect, since))
    ignore(`is no word of ${dialect}, says nothing there and was left out`);
  else is(written);
}

function readDependencies(node: JsonObject, dependencies: JsonObject, written: string, words: Word[]): void {
  const required: JsonObject = isJsonObject(node['dependentRequired'])
    ? { ...node['dependentRequired'] }
    : {};
  const schemas: JsonObject = isJsonObject(node['dependentSchemas']) ? { ...node['dependentSchemas'] } : {};
  for (const [name, needed] of Object.entries(dependencies)) {
    if (Array.isArray(needed)) {
      const others = required[name];
      required[name] = Array.isArray(others) ? [...new Set([...others, ...needed])] : needed;
    } else {
      const other = schemas[name];
      schemas[name] = other === undefined ? needed : { allOf: [other, needed] };
    }
  }
  if (Object.keys(required).length > 0)
    words.push({ keyword: 'dependentRequired', value: required, written });
  if (Object.keys(schemas).length > 0) words.push({ keyword: 'dependentSchemas', value: schemas, written });
}

function isBefore(dialect: Dialect, other: (typeof DIALECTS)[number]): boolean {
  return dialect !== 'undeclared' && DIALECTS.indexOf(dialect) < DIALECTS.indexOf(other);
}

/** The words that assert something, or hold schemas, and were not in draft-04. */
const SINCE: Record<string, (typeof DIALECTS)[number]> = {
  const: 'draft-06',
  contains: 'draft-06',
  propertyNames: 'draft-06',
  if: 'draft-07',
  // oxlint-disable-next-line unicorn/no-thenable -- JSON Schema's own keyword; nobody awaits a table
  then: 'draft-07',
  else: 'draft-07',
  dependentRequired: '2019-09',
  dependentSchemas: '2019-09',
  unevaluatedItems: '2019-09',
  unevaluatedProperties: '2019-09',
  maxContains: '2019-09',
  minContains: '2019-09',
  contentSchema: '2019-09',
  prefixItems: '2020-12',
};
