import { isJsonObject, type Json, type JsonObject } from '../base/json.ts';
import { findHiddenText } from './hidden-text.ts';
import { DANGEROUS_NAMES } from './json-shape.ts';
import { ONE_SCHEMA, SCHEMA_LISTS, SCHEMA_MAPS } from './schema-words.ts';

/**
 * The same portable schema in the words that every host and model provider takes. It accepts exactly the same objects.
 * Applied twice it changes nothing more, and what needs no change stays the same object.
 *
 * - `true` and `false` become `{}` and `{"not": {}}`: clients of SDK 1.x refuse a whole list in which a property is one.
 * - An array says `items`, an object `properties`, and what is required is declared: strict providers refuse others.
 * - An enum of several types is told in the description: hosts turn it into strings.
 */
export function toHostForm(root: JsonObject): JsonObject {
  let words: string | undefined;
  const evaluates: Evaluates = (keyword) => (words ??= JSON.stringify(root)).includes(`"${keyword}"`);
  const typed = root['type'] === undefined ? { type: 'object', ...root } : root;
  const formed = formNode(typed, evaluates);
  return isJsonObject(formed) ? formed : root;
}

/** Whether the schema asks anywhere what `items` or `properties` have seen: then neither may be added. */
type Evaluates = (keyword: 'unevaluatedItems' | 'unevaluatedProperties') => boolean;

function formNode(node: Json, evaluates: Evaluates): Json {
  if (node === true) return {};
  if (node === false) return { not: {} };
  if (!isJsonObject(node)) return node;
  const inner = formInner(node, evaluates);
  const additions = {
    ...itemsFor(inner, evaluates),
    ...propertiesFor(inner, evaluates),
    ...descriptionFor(inner),
  };
  return Object.keys(additions).length > 0 ? { ...inner, ...additions } : inner;
}

/** Where a boolean is what everybody writes and takes. */
const LITERAL = new Set(['additionalProperties', 'unevaluatedProperties', 'unevaluatedItems']);

function formInner(node: JsonObject, evaluates: Evaluates): JsonObject {
  const form = (inner: Json): Json => formNode(inner, evaluates);
  return replaced(node, (value, keyword) => {
    if (LITERAL.has(keyword) && typeof value === 'boolean') return value;
    if (ONE_SCHEMA.has(keyword)) return form(value);
    if (SCHEMA_LISTS.has(keyword) && Array.isArray(value)) return value.map(form);
    if (SCHEMA_MAPS.has(keyword) && isJsonObject(value)) return replaced(value, form);
    return value;
  });
}

function replaced(object: JsonObject, replace: (value: Json, name: string) => Json): JsonObject {
  let isChanged = false;
  const entries = Object.entries(object).map(([name, value]): [string, Json] => {
    const next = replace(value, name);
    const isSame =
      next === value ||
      (Array.isArray(next) && Array.isArray(value) && next.every((each, index) => each === value[index]));
    isChanged ||= !isSame;
    return [name, isSame ? value : next];
  });
  return isChanged ? Object.fromEntries(entries) : object;
}

function isOfType(node: JsonObject, type: string): boolean {
  return node['type'] === type || (Array.isArray(node['type']) && node['type'].includes(type));
}

function itemsFor(node: JsonObject, evaluates: Evaluates): JsonObject {
  const isOpen = isOfType(node, 'array') && node['items'] === undefined;
  return isOpen && !evaluates('unevaluatedItems') ? { items: {} } : {};
}

function propertiesFor(node: JsonObject, evaluates: Evaluates): JsonObject {
  const { properties, required } = node;
  if (!isOfType(node, 'object') && !isJsonObject(properties)) return {};
  const declared = isJsonObject(properties) ? properties : {};
  const missing = (Array.isArray(required) ? required : []).filter(
    (name) => typeof name === 'string' && !Object.hasOwn(declared, name) && !DANGEROUS_NAMES.has(name),
  );
  const undeclared =
    missing.length > 0 && !evaluates('unevaluatedProperties')
      ? undeclaredSchema(node, missing.length)
      : undefined;
  if (undeclared !== undefined) {
    const added = missing.map((name) => [name, undeclared]);
    return { properties: { ...declared, ...Object.fromEntries(added) } };
  }
  return isJsonObject(properties) ? {} : { properties: {} };
}

const MAX_REPEATED_CHARACTERS = 16 * 1_024;

/** What a member that is not declared has to match; undefined where it cannot be said for each by itself. */
function undeclaredSchema(node: JsonObject, times: number): Json | undefined {
  const rest = node['additionalProperties'];
  if (rest === undefined || rest === true) return {};
  if (node['patternProperties'] !== undefined) return undefined;
  const schema = rest === false ? { not: {} } : rest;
  return JSON.stringify(schema).length * times <= MAX_REPEATED_CHARACTERS ? schema : undefined;
}

function descriptionFor(node: JsonObject): JsonObject {
  const { enum: values, description } = node;
  if (!Array.isArray(values) || new Set(values.map(typeName)).size < 2) return {};
  const words = describeValues(values);
  if (words === undefined || findHiddenText(words, { lines: true }) !== undefined) return {};
  if (typeof description !== 'string' || description.trim() === '') return { description: words };
  if (description.includes(words)) return {};
  const said = description.trimEnd();
  return { description: `${said}${/[.!?:]$/.test(said) ? '' : '.'} ${words}` };
}

function typeName(value: Json): string {
  return value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
}

const MAX_TOLD_CHARACTERS = 500;

function describeValues(values: Json[]): string | undefined {
  let told = '';
  for (const [index, value] of values.entries()) {
    const next = `${index === 0 ? '' : ', '}${JSON.stringify(value)}`;
    if (told.length + next.length > MAX_TOLD_CHARACTERS)
      return told === '' ? undefined : `One of ${told} and ${values.length - index} more.`;
    told += next;
  }
  return `One of ${told}.`;
}
