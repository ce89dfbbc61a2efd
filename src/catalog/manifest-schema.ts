import type { JsonObject } from '../base/json.ts';
import { CATEGORIES } from './agent.ts';

export const DEFAULT_TIMEOUT_MS = 30_000;
export const MAX_TIMEOUT_MS = 300_000;
export const DEFAULT_MAX_PAYLOAD_BYTES = 10 * 1024 * 1024;
export const MAX_PAYLOAD_BYTES = 50 * 1024 * 1024;
/** The dearest one call may be, in credits. */
export const MAX_PRICE_CREDITS = 100_000;

/** `agt_<slug>_v<major>`; `parseManifest` also bounds the slug and the tool name made of it. */
export const AGENT_ID_PATTERN = '^agt_[a-z0-9]+(_[a-z0-9]+)*_v[1-9][0-9]*$';

const credits = (description: string): JsonObject => ({
  description: `${description} In credits (1 credit = US$0.01), more than 0, at most six decimal places.`,
  anyOf: [
    { type: 'string', pattern: '^(0|[1-9][0-9]{0,5})(\\.[0-9]{1,6})?$' },
    { type: 'number', exclusiveMinimum: 0, maximum: MAX_PRICE_CREDITS },
  ],
});

const freeTierCalls = {
  type: 'integer',
  minimum: 0,
  maximum: 1_000_000,
  default: 0,
  description: 'Calls each buyer may make per month without paying.',
};

const text = (maxLength: number, description: string): JsonObject => ({
  type: 'string',
  minLength: 1,
  maxLength,
  description,
});

const when = (path: string, name: string, value: string, then: JsonObject): JsonObject => {
  const condition = { required: [name], properties: { [name]: { const: value } } };
  // oxlint-disable-next-line unicorn/no-thenable -- JSON Schema's own keyword; nobody awaits a schema
  return { if: path === '' ? condition : { required: [path], properties: { [path]: condition } }, then };
};

/**
 * The JSON Schema of the document an agent is published from, as sellers and their editors read it. The rules
 * JSON Schema cannot say (portable schemas, examples that match them, versions that rise) are checked when the
 * manifest is published.
 */
export const MANIFEST_SCHEMA = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Sentinel agent manifest',
  type: 'object',
  additionalProperties: false,
  required: [
    'schema_version',
    'agent_id',
    'display_name',
    'description',
    'version',
    'category',
    'pricing',
    'endpoint',
    'input_schema',
  ],
  properties: {
    $schema: text(500, 'Where this schema is, for editors. Not stored.'),
    schema_version: { const: '1.0' },
    agent_id: {
      type: 'string',
      maxLength: 160,
      pattern: AGENT_ID_PATTERN,
      description:
        'agt_<slug>_v<major>; the slug is of a-z, 0-9 and single underscores, and one of more than 28 characters is shortened.',
    },
    display_name: text(80, 'The name people read.'),
    description: {
      type: 'string',
      minLength: 10,
      maxLength: 4000,
      description: 'What the agent does, when to use it and what it answers: models choose by it.',
    },
    version: {
      type: 'string',
      maxLength: 64,
      description: 'Semantic version without build metadata; each publication rises.',
    },
    seller: text(80, 'The name the seller goes by.'),
    homepage: { type: 'string', maxLength: 2048, format: 'uri', pattern: '^https?://' },
    category: { enum: [...CATEGORIES] },
    tags: {
      type: 'array',
      maxItems: 10,
      uniqueItems: true,
      items: { type: 'string', minLength: 1, maxLength: 32 },
    },
    pricing: {
      type: 'object',
      additionalProperties: false,
      required: ['model'],
      properties: {
        model: { enum: ['per_call', 'per_unit'] },
        credits_per_call: credits('The price of one successful call.'),
        unit: {
          type: 'string',
          pattern: '^[a-z][a-z0-9 _-]{0,31}$',
          description: 'What is counted, in the singular: "page", "second".',
        },
        credits_per_unit: credits('The price of one unit.'),
        max: credits('The most one call may cost; this much is held while it runs.'),
        free_tier_calls: freeTierCalls,
      },
      allOf: [
        when('', 'model', 'per_call', {
          required: ['credits_per_call'],
          properties: { unit: false, credits_per_unit: false, max: false },
        }),
        when('', 'model', 'per_unit', {
          required: ['unit', 'credits_per_unit', 'max'],
          properties: { credits_per_call: false },
        }),
      ],
    },
    endpoint: {
      type: 'object',
      additionalProperties: false,
      required: ['protocol', 'url'],
      properties: {
        protocol: { enum: ['http', 'mcp'] },
        url: { type: 'string', maxLength: 2048, pattern: '^https?://' },
        tool: text(128, 'The name of the tool on that MCP server; only for mcp.'),
        session: {
          enum: ['shared'],
          description:
            'The server keeps nothing of its callers, so that all buyers may share one session; only for mcp. Left out, each buyer has a session of its own.',
        },
        timeout_ms: { type: 'integer', minimum: 1000, maximum: MAX_TIMEOUT_MS, default: DEFAULT_TIMEOUT_MS },
        max_payload_bytes: {
          type: 'integer',
          minimum: 1024,
          maximum: MAX_PAYLOAD_BYTES,
          default: DEFAULT_MAX_PAYLOAD_BYTES,
          description: 'The largest arguments that are taken, and the largest answer; both as JSON.',
        },
      },
      allOf: [
        when('', 'protocol', 'mcp', { required: ['tool'] }),
        when('', 'protocol', 'http', { properties: { tool: false, session: false } }),
      ],
    },
    input_schema: {
      type: 'object',
      description:
        'JSON Schema of the arguments, an object at the root; draft-04 to 2020-12, as its $schema says.',
    },
    output_schema: {
      type: 'object',
      description: 'JSON Schema of the answer, an object at the root; only an mcp endpoint may leave it out.',
    },
    examples: {
      type: 'array',
      maxItems: 10,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['input'],
        properties: { input: { type: 'object' }, output: true },
      },
    },
    capabilities: {
      type: 'object',
      additionalProperties: false,
      properties: {
        streaming: { type: 'boolean', description: 'Answers in chunks while it works.' },
        idempotent: {
          type: 'boolean',
          description: 'The same call twice does no harm: it runs on when the buyer hangs up.',
        },
        keep_running: { type: 'boolean', description: 'Runs on when the buyer hangs up.' },
        a2a_invocable: { type: 'boolean', description: 'Other agents may call it.' },
      },
    },
    data_handling: {
      type: 'object',
      additionalProperties: false,
      properties: {
        pii_processed: { type: 'boolean' },
        data_retention_days: { type: 'integer', minimum: 0, maximum: 36_500 },
        residency: text(32, 'Where data stays, e.g. "eu".'),
        subprocessors: {
          type: 'array',
          maxItems: 50,
          items: { type: 'string', minLength: 1, maxLength: 100 },
        },
      },
    },
  },
  allOf: [when('endpoint', 'protocol', 'http', { required: ['output_schema'] })],
} satisfies JsonObject;
