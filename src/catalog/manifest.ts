import semver from 'semver';
import { findReadableForNothing } from './readable-for-nothing.ts';
import { isJsonObject, type Json, type JsonObject } from '../base/json.ts';
import { invariant } from '../base/invariant.ts';
import { formatCredits, MICROS_PER_CREDIT, parseCredits } from '../base/money.ts';
import type { Fault } from '../base/problem.ts';
import { isAgentIdForm, MAX_SLUG, MAX_TOOL_NAME, shortenAgentId, slugOf, toolNameOf } from './agent-id.ts';
import type { Manifest } from './agent.ts';
import { findHiddenText } from './hidden-text.ts';
import { findUnsafeJson } from './json-shape.ts';
import { MANIFEST_SCHEMA, MAX_PRICE_CREDITS } from './manifest-schema.ts';
import { makePortable, type PortableSchema } from './portable-schema.ts';
import { compileSchema, type Check } from './validator.ts';

/** `warnings` say what was left out or changed though nothing is wrong with it. */
export type ParsedManifest =
  { kind: 'ok'; manifest: Manifest; warnings: Fault[] } | { kind: 'refused'; faults: Fault[] };

/**
 * Reads a manifest as a seller wrote it. The parsed one has its amounts as decimal strings in their shortest
 * form, its schemas portable and its id as long as hosts take; defaults stay unsaid. Every fault is reported at once, in words the seller
 * can act on; whether its endpoint may be called and its id may be had is decided elsewhere.
 */
export function parseManifest(value: unknown): ParsedManifest {
  // Nothing below may walk a document that is too deep, too large or names prototypes.
  const unsafe = findUnsafeJson(value, '', { maxDepth: 120, maxBytes: 1024 * 1024 });
  if (unsafe.length > 0) return { kind: 'refused', faults: unsafe };
  if (!isJsonObject(value))
    return { kind: 'refused', faults: [{ path: '', message: 'must be a JSON object' }] };

  const inputSchema = parseSchema(value, 'input');
  const outputSchema = parseSchema(value, 'output');
  const faults = mergeFaults(
    [
      ...findIdentityFaults(value),
      ...findTextFaults(value),
      ...findPricingFaults(value['pricing']),
      ...findEndpointFaults(value['endpoint'], value),
      ...findSchemaFaults(inputSchema),
      ...findSchemaFaults(outputSchema),
      ...findExampleFaults(value['examples'], inputSchema, outputSchema),
    ],
    checkForm(value),
  );
  if (faults.length > 0) return { kind: 'refused', faults };

  invariant(inputSchema?.kind === 'ok', 'a manifest without faults has an input schema');
  const { $schema: _, ...fields } = value;
  const written = value['agent_id'];
  invariant(typeof written === 'string', 'a manifest without faults has an id');
  const agentId = shortenAgentId(written);
  const manifest = {
    ...fields,
    agent_id: agentId,
    pricing: normalisePricing(value['pricing']),
    input_schema: inputSchema.schema,
    ...(outputSchema?.kind === 'ok' ? { output_schema: outputSchema.schema } : {}),
  };
  const warnings = [
    ...(agentId === written ? [] : [{ path: '/agent_id', message: shortenedText(agentId) }]),
    ...inputSchema.warnings,
    ...(outputSchema?.kind === 'ok' ? outputSchema.warnings : []),
  ];
  // The schema above and the checks around it say that this is what it is.
  const read = manifest as unknown as Manifest;
  return {
    kind: 'ok',
    manifest: read,
    warnings: [...warnings, ...findReadableForNothing({ manifest: read })],
  };
}

let manifestCheck: Check | undefined;

function checkForm(value: JsonObject): Fault[] {
  manifestCheck ??= compileSchema(MANIFEST_SCHEMA, { maxFaults: 100 });
  return manifestCheck(value);
}

/** Where both say something about one place, the words written for that very place win. */
function mergeFaults(specific: Fault[], general: Fault[]): Fault[] {
  const places = new Set(specific.map(({ path }) => path));
  return [...specific, ...general.filter(({ path }) => !places.has(path))].sort((a, b) =>
    a.path < b.path ? -1 : a.path > b.path ? 1 : 0,
  );
}

function shortenedText(agentId: string): string {
  return `is longer than hosts take (${MAX_SLUG} characters between "agt_" and "_v"), so the agent is published as ${agentId}`;
}

function findIdentityFaults(manifest: JsonObject): Fault[] {
  const faults: Fault[] = [];
  const id = manifest['agent_id'];
  if (typeof id === 'string' && slugOf(shortenAgentId(id)) === undefined) {
    const message = isAgentIdForm(id)
      ? `is too long: the tool name "${toolNameOf(shortenAgentId(id)).slice(0, 100)}" may have ${MAX_TOOL_NAME} characters, because hosts cut longer ones`
      : 'must look like agt_<slug>_v<major>: lower-case letters and digits in words joined by single underscores, e.g. agt_pdf_summariser_v2';
    faults.push({ path: '/agent_id', message });
  }
  const version = manifest['version'];
  // `valid` drops a leading v and build metadata; two versions that differ only in those would be the same one.
  if (typeof version === 'string' && semver.valid(version) !== version) {
    faults.push({
      path: '/version',
      message: 'must be a semantic version such as 1.4.0 or 2.0.0-beta.1, without "v" or build metadata',
    });
  }
  return faults;
}

function findTextFaults(manifest: JsonObject): Fault[] {
  const data = manifest['data_handling'];
  const texts: [path: string, text: Json | undefined, lines: boolean][] = [
    ['/display_name', manifest['display_name'], false],
    ['/description', manifest['description'], true],
    ['/seller', manifest['seller'], false],
    ['/homepage', manifest['homepage'], false],
    ...listed('/tags', manifest['tags']),
    ...(isJsonObject(data)
      ? [
          ['/data_handling/residency', data['residency'], false] as [string, Json | undefined, boolean],
          ...listed('/data_handling/subprocessors', data['subprocessors']),
        ]
      : []),
  ];
  return texts.flatMap(([path, text, lines]) => {
    if (typeof text !== 'string') return [];
    const hidden = findHiddenText(text, { lines });
    if (hidden !== undefined) return [{ path, message: hidden }];
    return text.length > 0 && text.trim() === '' ? [{ path, message: 'must not be blank' }] : [];
  });
}

function listed(path: string, list: Json | undefined): [string, Json, boolean][] {
  return Array.isArray(list) ? list.map((each, index) => [`${path}/${index}`, each, false]) : [];
}

const PRICE_FIELDS = ['credits_per_call', 'credits_per_unit', 'max'];

function findPricingFaults(pricing: Json | undefined): Fault[] {
  if (!isJsonObject(pricing)) return [];
  const belongs = pricing['model'] === 'per_call' ? ['credits_per_call'] : ['credits_per_unit', 'max'];
  const faults = PRICE_FIELDS.flatMap((field) => {
    const amount = pricing[field];
    if (amount === undefined) return [];
    const path = `/pricing/${field}`;
    if (!belongs.includes(field) && (pricing['model'] === 'per_call' || pricing['model'] === 'per_unit')) {
      return [{ path, message: `does not belong to the model "${pricing['model']}"` }];
    }
    const micros = creditsOf(amount);
    if (micros === undefined) {
      return [
        {
          path,
          message: 'must be an amount of credits with at most six decimal places, such as 15 or "0.5"',
        },
      ];
    }
    return micros > 0n && micros <= BigInt(MAX_PRICE_CREDITS) * MICROS_PER_CREDIT
      ? []
      : [{ path, message: `must be more than 0 and at most ${MAX_PRICE_CREDITS} credits` }];
  });
  const unitMicros = creditsOf(pricing['credits_per_unit']);
  const maxMicros = creditsOf(pricing['max']);
  if (faults.length === 0 && unitMicros !== undefined && maxMicros !== undefined && maxMicros < unitMicros) {
    faults.push({ path: '/pricing/max', message: 'must be at least the price of one unit' });
  }
  return faults;
}

/** Micro-credits of an amount as a manifest may write it. A JSON number counts by its shortest decimal form. */
function creditsOf(amount: Json | undefined): bigint | undefined {
  if (typeof amount === 'string') return parseCredits(amount);
  return typeof amount === 'number' ? parseCredits(String(amount)) : undefined;
}

function normalisePricing(pricing: Json | undefined): JsonObject {
  invariant(isJsonObject(pricing), 'a manifest without faults has a price');
  const entries = Object.entries(pricing).map(([field, value]): [string, Json] => {
    if (!PRICE_FIELDS.includes(field)) return [field, value];
    const micros = creditsOf(value);
    invariant(micros !== undefined, 'a manifest without faults has amounts');
    return [field, formatCredits(micros)];
  });
  return Object.fromEntries(entries);
}

function findEndpointFaults(endpoint: Json | undefined, manifest: JsonObject): Fault[] {
  if (!isJsonObject(endpoint)) return [];
  const faults: Fault[] = [];
  const { protocol, url, tool } = endpoint;
  if (protocol === 'a2a') {
    faults.push({
      path: '/endpoint/protocol',
      message: 'a2a agents are not served yet; offer the agent over http or mcp',
    });
  }
  if (protocol === 'mcp' && tool === undefined) {
    faults.push({
      path: '/endpoint/tool',
      message: 'is required for mcp: the name of the tool on that server',
    });
  }
  if (protocol === 'http' && tool !== undefined) {
    faults.push({ path: '/endpoint/tool', message: 'is only for mcp endpoints; remove it' });
  }
  if (protocol === 'http' && endpoint['session'] !== undefined) {
    faults.push({ path: '/endpoint/session', message: 'is only for mcp endpoints; remove it' });
  }
  if (typeof tool === 'string' && findHiddenText(tool, { lines: false }) !== undefined) {
    faults.push({ path: '/endpoint/tool', message: 'contains invisible characters' });
  }
  if (protocol === 'http' && manifest['output_schema'] === undefined) {
    faults.push({
      path: '/output_schema',
      message: 'is required for http: buyers pay only for answers that match it',
    });
  }
  const urlFault = typeof url === 'string' ? findUrlFault(url) : undefined;
  if (urlFault !== undefined) faults.push({ path: '/endpoint/url', message: urlFault });
  const homepage = manifest['homepage'];
  const homepageFault = typeof homepage === 'string' ? findUrlFault(homepage) : undefined;
  if (homepageFault !== undefined) faults.push({ path: '/homepage', message: homepageFault });
  return faults;
}

/** Syntax only: which addresses may be called is the address guard's to say. */
function findUrlFault(text: string): string | undefined {
  // The URL parser silently drops tabs and newlines and trims blanks; what was written is not what is called.
  if (/\s/u.test(text) || text.includes('\\') || findHiddenText(text, { lines: false }) !== undefined) {
    return 'must not contain spaces, control characters or backslashes';
  }
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    return 'must be an absolute http or https URL';
  }
  if (url.username !== '' || url.password !== '') return 'must not contain a user name or password';
  if (text.includes('#')) return 'must not contain a fragment';
  return undefined;
}

function parseSchema(manifest: JsonObject, role: 'input' | 'output'): PortableSchema | undefined {
  const schema = manifest[`${role}_schema`];
  return isJsonObject(schema) ? makePortable(schema, `/${role}_schema`, role) : undefined;
}

function findSchemaFaults(schema: PortableSchema | undefined): Fault[] {
  return schema?.kind === 'refused' ? schema.faults : [];
}

function findExampleFaults(
  examples: Json | undefined,
  inputSchema: PortableSchema | undefined,
  outputSchema: PortableSchema | undefined,
): Fault[] {
  if (!Array.isArray(examples)) return [];
  const checks = { input: checkOf(inputSchema), output: checkOf(outputSchema) };
  return examples.slice(0, 10).flatMap((example, index) => {
    if (!isJsonObject(example)) return [];
    return (['input', 'output'] as const).flatMap((part) =>
      example[part] === undefined
        ? []
        : checks[part](example[part]).map(({ path, message }) => ({
            path: `/examples/${index}/${part}${path}`,
            message: `${message} (by ${part}_schema)`,
          })),
    );
  });
}

function checkOf(schema: PortableSchema | undefined): Check {
  return schema?.kind === 'ok' ? compileSchema(schema.schema) : () => [];
}
