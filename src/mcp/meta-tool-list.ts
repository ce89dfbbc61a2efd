import type { JsonObject } from '../base/json.ts';
import { CATEGORIES } from '../catalog/agent.ts';

const AGENT_ID = { type: 'string', description: 'The agent, e.g. "agt_pdf_summariser_v2".', maxLength: 64 };
const CREDITS = {
  type: 'string',
  description: 'An amount of credits as a decimal, e.g. "12.5". 1 credit is US$0.01.',
  pattern: '^(0|[1-9][0-9]{0,11})(\\.[0-9]{1,6})?$',
};

type MetaTool = {
  title: string;
  description: string;
  readOnly: boolean;
  properties: JsonObject;
  required: string[];
};

/** The tools that find, explain and call agents a list has no room for. Only `sentinel_call` costs anything. */
const META_TOOLS = {
  sentinel_search: {
    title: 'Search agents',
    description:
      'Finds paid agents by what they do. Answers with name, description, price and trust of the best matches; use sentinel_describe for the input schema and sentinel_call to call one. Free.',
    readOnly: true,
    properties: {
      query: { type: 'string', description: 'Words that describe the task.', maxLength: 500 },
      category: { type: 'string', enum: [...CATEGORIES] },
      max_price: CREDITS,
      limit: { type: 'integer', minimum: 1, maximum: 50, default: 10 },
    },
    required: ['query'],
  },
  sentinel_describe: {
    title: 'Describe an agent',
    description:
      'Everything about one agent before calling it: input and output schema, price, trust, examples, data handling. Free.',
    readOnly: true,
    properties: { agent_id: AGENT_ID },
    required: ['agent_id'],
  },
  sentinel_call: {
    title: 'Call an agent',
    description:
      "Calls a paid agent with arguments that match its input schema. Costs that agent's price, and only if it answers as promised; failed calls are free.",
    readOnly: false,
    properties: {
      agent_id: AGENT_ID,
      arguments: { type: 'object', description: "The agent's own arguments, as its input schema says." },
      max_credits: CREDITS,
      idempotency_key: {
        type: 'string',
        description:
          'The same key with the same arguments is charged once and answered again, for 24 hours. 16 to 128 characters.',
        minLength: 16,
        maxLength: 128,
      },
    },
    required: ['agent_id', 'arguments'],
  },
  sentinel_quote: {
    title: 'Quote a price',
    description: 'What a call of one agent costs, and the most it can cost. Free.',
    readOnly: true,
    properties: { agent_id: AGENT_ID },
    required: ['agent_id'],
  },
  sentinel_get_call: {
    title: 'Look up a call',
    description:
      'How an earlier call ended and what it cost. Hands over its answer if that never arrived. Free.',
    readOnly: true,
    properties: {
      call_id: { type: 'string', description: 'The call, e.g. "call_0199…".', maxLength: 64 },
    },
    required: ['call_id'],
  },
  sentinel_budget: {
    title: 'Show the budget',
    description: 'What can be spent now, what is on hold, and the spending caps of this API key. Free.',
    readOnly: true,
    properties: {},
    required: [],
  },
} satisfies Record<string, MetaTool>;

export type MetaToolName = keyof typeof META_TOOLS;

export function isMetaTool(name: string): name is MetaToolName {
  return Object.hasOwn(META_TOOLS, name);
}

export function metaInputSchema(name: MetaToolName): JsonObject {
  const { properties, required } = META_TOOLS[name];
  return { type: 'object', properties, required, additionalProperties: false };
}

/** The entries of `tools/list`, without the brackets around them. */
export const META_TOOLS_TEXT: string = (Object.keys(META_TOOLS) as MetaToolName[])
  .map((name) => {
    const { title, description, readOnly } = META_TOOLS[name];
    return JSON.stringify({
      name,
      title,
      description,
      inputSchema: metaInputSchema(name),
      annotations: { title, readOnlyHint: readOnly, openWorldHint: !readOnly },
    });
  })
  .join(',');
