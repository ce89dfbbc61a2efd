import type { ErrorObject } from 'ajv/dist/2020.js';
import { isJsonObject } from '../base/json.ts';
import type { Fault } from '../base/problem.ts';
import { nearestName } from './edit-distance.ts';
import { pointerToken } from './json-shape.ts';

/**
 * Words for what Ajv found (`verbose: true`), each at the place to mend: a missing or unknown member is named
 * by its own path. At most `limit`; never the failing value itself, which may be a secret.
 */
export function faultsOfErrors(errors: readonly ErrorObject[], limit: number): Fault[] {
  const faults = new Map<string, Fault>();
  for (const error of withoutRepeats(errors)) {
    const fault = faultOf(error);
    if (fault === undefined) continue;
    faults.set(`${fault.path}\n${fault.message}`, fault);
    if (faults.size >= limit) break;
  }
  // Ajv found something, so there is always something to say.
  return faults.size > 0 ? [...faults.values()] : [{ path: '', message: 'does not match the schema' }];
}

/** The branches of a choice repeat what the choice says, unless they point deeper into the value. */
function withoutRepeats(errors: readonly ErrorObject[]): ErrorObject[] {
  const choices = errors.filter(({ keyword }) => keyword === 'anyOf' || keyword === 'oneOf');
  return errors.filter(
    (error) =>
      !choices.some(
        (choice) =>
          error !== choice &&
          error.schemaPath.startsWith(`${choice.schemaPath}/`) &&
          error.instancePath === choice.instancePath,
      ),
  );
}

function faultOf(error: ErrorObject): Fault | undefined {
  const { keyword, instancePath } = error;
  const params = error.params as Record<string, unknown>;
  const at = (message: string): Fault => ({ path: instancePath, message });
  const atMember = (member: unknown, message: string): Fault => ({
    path: `${instancePath}/${pointerToken(String(member))}`,
    message,
  });
  switch (keyword) {
    case 'required':
      return atMember(params['missingProperty'], 'is required');
    case 'dependentRequired':
    case 'dependencies':
      return atMember(params['missingProperty'], `is required when "${String(params['property'])}" is given`);
    case 'additionalProperties':
      return atMember(
        params['additionalProperty'],
        unknownMember(String(params['additionalProperty']), error),
      );
    case 'unevaluatedProperties':
      return atMember(
        params['unevaluatedProperty'],
        unknownMember(String(params['unevaluatedProperty']), error),
      );
    case 'propertyNames':
      return atMember(params['propertyName'], 'is not an allowed member name');
    case 'false schema':
      return at('is not allowed here');
    case 'if':
      // The branch that failed says what is wrong.
      return undefined;
    default:
      // Faults about a member's name would carry the path of the object around it.
      return error.propertyName === undefined ? at(messageOf(error, params)) : undefined;
  }
}

function unknownMember(name: string, error: ErrorObject): string {
  const properties = (error.parentSchema?.['properties'] ?? {}) as Record<string, unknown>;
  const known = Object.keys(properties).filter((each) => !isNothing(properties[each]));
  // Advice that leads to the next refusal is none: the field must take a value of that type.
  const given = (error.data as Record<string, unknown>)[name];
  const nearest = nearestName(
    name,
    known.filter((each) => takesType(properties[each], given)),
  );
  if (nearest !== undefined) return `is not a known field; did you mean "${nearest}"?`;
  if (known.length === 0 || known.length > MAX_SHOWN) return 'is not a known field';
  return `is not a known field; known are ${known.join(', ')}`;
}

/** `false` as it is published. */
function isNothing(schema: unknown): boolean {
  return schema === false || (isJsonObject(schema) && isEmptyObject(schema['not']));
}

function isEmptyObject(value: unknown): boolean {
  return isJsonObject(value) && Object.keys(value).length === 0;
}

function takesType(schema: unknown, value: unknown): boolean {
  const type = isJsonObject(schema) ? schema['type'] : undefined;
  if (type === undefined) return true;
  const types = Array.isArray(type) ? type : [type];
  const own = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
  return types.includes(own) || (types.includes('integer') && Number.isInteger(value));
}

function messageOf(error: ErrorObject, params: Record<string, unknown>): string {
  const limit = String(params['limit']);
  switch (error.keyword) {
    case 'type':
      return `must be ${typeWords(params['type'])}, not ${typeName(error.data)}`;
    case 'enum':
      return `must be one of ${shown(params['allowedValues'] as unknown[])}`;
    case 'const':
      return `must be ${shown([params['allowedValue']])}`;
    case 'minimum':
      return `must be at least ${limit}`;
    case 'maximum':
      return `must be at most ${limit}`;
    case 'exclusiveMinimum':
      return `must be more than ${limit}`;
    case 'exclusiveMaximum':
      return `must be less than ${limit}`;
    case 'multipleOf':
      return `must be a multiple of ${String(params['multipleOf'])}`;
    case 'minLength':
      return `must have at least ${limit} characters`;
    case 'maxLength':
      return `must have at most ${limit} characters`;
    case 'minItems':
      return `must have at least ${limit} items`;
    case 'maxItems':
    case 'items':
    case 'additionalItems':
      return `must have at most ${limit} items`;
    case 'unevaluatedItems':
      return 'has more items than allowed';
    case 'minProperties':
      return `must have at least ${limit} members`;
    case 'maxProperties':
      return `must have at most ${limit} members`;
    case 'uniqueItems':
      return 'must not contain the same item twice';
    case 'contains':
      return 'does not contain the items it must';
    case 'pattern':
      return `must match the pattern ${clip(String(params['pattern']))}`;
    case 'format':
      return `must be a valid ${String(params['format'])}`;
    case 'not':
      if (isEmptyObject(error.schema)) return 'is not allowed here';
      return 'matches what is not allowed here';
    case 'anyOf':
      return `matches none of the ${branchCount(error)} allowed forms${typesOfBranches(error)}`;
    case 'oneOf':
      return params['passingSchemas'] === null
        ? `matches none of the ${branchCount(error)} allowed forms${typesOfBranches(error)}`
        : `matches more than one of the ${branchCount(error)} allowed forms`;
    default:
      return error.message ?? 'does not match the schema';
  }
}

const MAX_SHOWN = 10;

function shown(values: readonly unknown[]): string {
  const words = values.slice(0, MAX_SHOWN).map((value) => clip(JSON.stringify(value)));
  const more = values.length - words.length;
  return words.join(', ') + (more > 0 ? ` or ${more} more` : '');
}

function clip(text: string): string {
  return text.length > 100 ? `${text.slice(0, 99)}…` : text;
}

function typeWords(type: unknown): string {
  const types = Array.isArray(type) ? type.map(String) : String(type).split(',');
  return types.map((each) => TYPE_WORDS[each] ?? each).join(' or ');
}

const TYPE_WORDS: Record<string, string> = {
  string: 'a string',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  object: 'an object',
  array: 'an array',
};

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'boolean') return 'a boolean';
  return TYPE_WORDS[typeof value] ?? typeof value;
}

function branchCount(error: ErrorObject): number {
  return Array.isArray(error.schema) ? error.schema.length : 0;
}

function typesOfBranches(error: ErrorObject): string {
  const types = (Array.isArray(error.schema) ? error.schema : []).map((branch: unknown) =>
    typeof branch === 'object' && branch !== null && 'type' in branch ? branch.type : undefined,
  );
  return types.length > 0 && types.every((type) => typeof type === 'string')
    ? ` (${[...new Set(types)].map((type) => typeWords(type)).join(' or ')})`
    : '';
}
