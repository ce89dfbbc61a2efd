import { Ajv } from 'ajv';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { fullFormats } from 'ajv-formats/dist/formats.js';
import type { JsonObject } from '../base/json.ts';
import type { Fault } from '../base/problem.ts';
import type { Dialect } from './dialect.ts';
import { faultsOfErrors } from './validation-faults.ts';
import { compilePattern } from './pattern.ts';

/** Every failing place of a value, at most `MAX_FAULTS`; an empty list when it is valid. */
export type Check = (value: unknown) => Fault[];

export const MAX_FAULTS = 20;

/**
 * Compiles a JSON Schema (2020-12, formats on). The value is only looked at: no type is coerced and no
 * `default` filled in, because what was authorised is byte for byte what is forwarded. Throws when the schema
 * is not one `makePortable` accepts.
 *
 * Each compile has an Ajv of its own, since an Ajv keeps every pattern and schema it ever compiled in its
 * scope even after `removeSchema`; this way a replaced agent's validator is garbage once nobody holds it.
 */
export function compileSchema(schema: JsonObject, options: { maxFaults?: number } = {}): Check {
  // Stopping at the first fault bounds what a hostile value can cost. The validator that lists them all is
  // made when the first fault is found: most schemas of a large catalogue never need it.
  const isValid = makeAjv({ allErrors: false }).compile(schema);
  let listErrors: ValidateFunction | undefined;

  return (value) => {
    patternStepsLeft = MAX_PATTERN_STEPS;
    if (isValid(value)) return [];
    let errors = isValid.errors ?? [];
    if (patternStepsLeft < 0)
      return [{ path: '', message: 'has more text than its patterns can be checked against' }];
    if (hasFewerNodesThan(MAX_LISTED_NODES, value)) {
      listErrors ??= makeAjv({ allErrors: true }).compile(schema);
      patternStepsLeft = MAX_PATTERN_STEPS;
      listErrors(value);
      errors = listErrors.errors ?? errors;
    }
    return faultsOfErrors(errors, options.maxFaults ?? MAX_FAULTS);
  };
}

/** Judges a schema itself against the meta-schema of its dialect: misspelt types, negative lengths, and so on. */
export function checkSchemaForm(schema: JsonObject, dialect: Dialect): Fault[] {
  switch (dialect) {
    case '2020-12':
      return findFormFaults((meta2020 ??= new Ajv2020(META_OPTIONS)), DIALECT_2020, schema);
    case '2019-09':
      return findFormFaults((meta2019 ??= new Ajv2019(META_OPTIONS)), DIALECT_2019, schema);
    case 'undeclared': {
      const faults = checkSchemaForm(schema, '2020-12');
      // Only older drafts have tuples as a list under `items`.
      return faults.length > 0 && checkSchemaForm(schema, '2019-09').length === 0 ? [] : faults;
    }
    case 'draft-07':
    case 'draft-06':
    case 'draft-04': {
      const faults = findFormFaults((meta07 ??= new Ajv(META_OPTIONS)), DIALECT_07, schema);
      // Ajv has no meta-schema of draft-04, which differs in these two.
      return dialect === 'draft-04'
        ? faults.filter(({ path }) => !/\/exclusive(Minimum|Maximum)$/.test(path))
        : faults;
    }
  }
}

function findFormFaults(ajv: Ajv, metaSchema: string, schema: JsonObject): Fault[] {
  // Whatever it calls its dialect, it is judged as the one it is read in.
  if (ajv.validateSchema({ ...schema, $schema: metaSchema }) === true) return [];
  return faultsOfErrors(ajv.errors ?? [], MAX_FAULTS);
}

const META_OPTIONS = { strict: false, allErrors: true, verbose: true, logger: false, formats: {} } as const;

// A list of every fault of a large value could be larger than the value: beyond this many members and
// elements only the first fault is named.
const MAX_LISTED_NODES = 20_000;

// All patterns of one validation together: a long text, or a long list of texts, would otherwise hold up every other
// caller for seconds.
const MAX_PATTERN_STEPS = 200_000_000;
// Validation is synchronous, so one counter serves them all.
let patternStepsLeft = MAX_PATTERN_STEPS;

const DIALECT_2020 = 'https://json-schema.org/draft/2020-12/schema';
const DIALECT_2019 = 'https://json-schema.org/draft/2019-09/schema';
const DIALECT_07 = 'http://json-schema.org/draft-07/schema';
let meta2020: Ajv2020 | undefined;
let meta2019: Ajv2019 | undefined;
let meta07: Ajv | undefined;

function makeAjv({ allErrors }: { allErrors: boolean }): Ajv2020 {
  const ajv = new Ajv2020({
    strict: false,
    allErrors,
    verbose: true,
    logger: false,
    // Members named like something on Object.prototype count only when the value itself has them.
    ownProperties: true,
    // Schemas are judged once, when published.
    meta: false,
    validateSchema: false,
    addUsedSchema: false,
    formats: FORMATS,
    code: { regExp: guardedRegExp },
  });
  ajv.removeKeyword('uniqueItems');
  // Ajv's own compares each pair of objects: two million small arrays would take it days.
  ajv.addKeyword({ keyword: 'uniqueItems', type: 'array', schemaType: 'boolean', validate: hasUniqueItems });
  return ajv;
}

function hasUniqueItems(wanted: boolean, items: unknown[]): boolean {
  if (!wanted) return true;
  const seen = new Set<string>();
  for (const item of items) {
    let key: string;
    try {
      key = JSON.stringify(item, (_, inner: unknown) => (isPlainObject(inner) ? sortedByName(inner) : inner));
    } catch {
      // Nested too deep to compare.
      return false;
    }
    if (seen.has(key)) return false;
    seen.add(key);
  }
  return true;
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function sortedByName(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

// The longest text a format is checked on. The formats' own expressions are not all linear; no address, date
// or name is longer. `byte` (base64) is linear and may be a whole file.
const MAX_FORMAT_CHARACTERS = 4096;
const UNLIMITED_FORMATS = new Set(['byte', 'binary', 'password']);

const FORMATS = Object.fromEntries(
  Object.entries(fullFormats).map(([name, format]) => {
    if (typeof format !== 'object' && typeof format !== 'function') return [name, format];
    if (UNLIMITED_FORMATS.has(name)) return [name, format];
    const check =
      format instanceof RegExp || typeof format === 'function'
        ? format
        : 'validate' in format
          ? format.validate
          : undefined;
    const isNumeric = typeof format === 'object' && 'type' in format && format.type === 'number';
    if (check === undefined || isNumeric) return [name, format];
    const test = (text: string): boolean =>
      check instanceof RegExp
        ? check.test(text)
        : typeof check === 'function' && (check as (text: string) => boolean)(text);
    return [name, { validate: (text: string) => text.length <= MAX_FORMAT_CHARACTERS && test(text) }];
  }),
) as typeof fullFormats;

/** Ajv's way in for another regular expression engine: RE2, and V8's where it is bounded. */
const guardedRegExp = Object.assign(
  (source: string) => {
    const pattern = compilePattern(source);
    if (pattern.kind === 'refused') throw new Error(`the pattern ${source} ${pattern.message}`);
    return {
      test: (text: string): boolean => {
        if (text.length > pattern.maxCharacters) return false;
        patternStepsLeft -= pattern.steps(text.length);
        return patternStepsLeft >= 0 && pattern.test(text);
      },
      toString: () => `/${source}/u`,
    };
  },
  { code: 'new RegExp' },
);

function hasFewerNodesThan(limit: number, root: unknown): boolean {
  let count = 0;
  const values = [root];
  for (let value = values.pop(); value !== undefined; value = values.pop()) {
    if (typeof value !== 'object' || value === null) continue;
    const inner: unknown[] = Array.isArray(value) ? value : Object.values(value);
    count += inner.length;
    if (count >= limit) return false;
    for (const each of inner) values.push(each);
  }
  return true;
}
