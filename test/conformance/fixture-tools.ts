import { setTimeout as delay } from 'node:timers/promises';
import { ProtocolError } from '@modelcontextprotocol/server';

/** A content block as the suite's own server sends it. */
export type Block = { type: string } & Record<string, unknown>;
export type FixtureResult = {
  content: Block[];
  structuredContent?: Record<string, unknown>;
  isError?: boolean;
};

/** What a tool may do while it runs. */
export type FixtureContext = {
  /** `notifications/progress` of 100, where the caller wants to hear of it. */
  progress(progress: number): Promise<void>;
  /** `notifications/message`, level info. */
  log(data: string): Promise<void>;
  /** `elicitation/create` or `sampling/createMessage`: rejects where the client offers no such thing. */
  askClient(method: 'elicitation' | 'sampling', message: string): Promise<unknown>;
};

export type FixtureTool = {
  description: string;
  inputSchema?: Record<string, unknown>;
  outputSchema?: Record<string, unknown>;
  streaming?: boolean;
  run: (args: Record<string, unknown>, context: FixtureContext) => FixtureResult | Promise<FixtureResult>;
};

/** One red pixel, and a sixteenth of a millisecond of silence: the suite's own. */
const PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';
const WAV = 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=';

const IMAGE: Block = { type: 'image', data: PNG, mimeType: 'image/png' };
const AUDIO: Block = { type: 'audio', data: WAV, mimeType: 'audio/wav' };

/** The answers that never change, by tool; what a host receives is compared with these. */
export const ANSWERS: Record<string, FixtureResult> = {
  test_simple_text: { content: [text('This is a simple text response for testing.')] },
  test_image_content: { content: [IMAGE] },
  test_audio_content: { content: [AUDIO] },
  test_embedded_resource: {
    content: [
      {
        type: 'resource',
        resource: {
          uri: 'test://embedded-resource',
          mimeType: 'text/plain',
          text: 'This is an embedded resource content.',
        },
      },
    ],
  },
  test_multiple_content_types: {
    content: [
      text('Multiple content types test:'),
      IMAGE,
      {
        type: 'resource',
        resource: {
          uri: 'test://mixed-content-resource',
          mimeType: 'application/json',
          text: '{"test":"data","value":123}',
        },
      },
    ],
  },
  // Beyond the suite: everything a block may carry, in letters that a careless copy would damage.
  every_block: {
    content: [
      {
        type: 'text',
        text: 'naïve “quotes” \u2028 \ud83e\udde1 </script> \\ tab\t nul\u0000 \n',
        annotations: { audience: ['user', 'assistant'], priority: 0.25 },
        _meta: { 'example.com/n': 1e-7, 'example.com/deep': [[{ a: null }]] },
      },
      AUDIO,
      { type: 'resource', resource: { uri: 'test://blob', mimeType: 'image/png', blob: PNG } },
      // In the order in which the SDK's server writes it.
      {
        name: 'link',
        title: 'A link',
        uri: 'test://link',
        mimeType: 'text/plain',
        size: 12,
        type: 'resource_link',
      },
      text(''),
    ],
  },
  structured: {
    content: [text('{"words": 2, "text": "as the seller wrote it"}'), IMAGE],
    structuredContent: { words: 2, text: 'as the seller wrote it' },
  },
  test_error_handling: {
    isError: true,
    content: [text('This tool intentionally returns an error for testing')],
  },
};

/** `trigger` changes the list of tools at the gateway. */
export function fixtureTools(trigger: () => Promise<void>): Record<string, FixtureTool> {
  const fixed = Object.entries(ANSWERS).map(([name, answer]): [string, FixtureTool] => [
    name,
    { description: `Always answers the same, as ${name} of the suite does.`, run: () => answer },
  ]);
  return {
    ...Object.fromEntries(fixed),
    structured: {
      description: 'Answers with structured content that its output schema describes.',
      outputSchema: {
        type: 'object',
        properties: { words: { type: 'integer' }, text: { type: 'string' } },
        required: ['words', 'text'],
        additionalProperties: false,
      },
      run: () => ANSWERS['structured'] as FixtureResult,
    },
    test_tool_with_progress: {
      description: 'Tells of 0, 50 and 100 of 100.',
      streaming: true,
      run: async (_, { progress }) => {
        await progress(0);
        await delay(50);
        await progress(50);
        await delay(50);
        await progress(100);
        return { content: [text('Tool with progress executed successfully')] };
      },
    },
    test_tool_with_logging: {
      description: 'Sends three log messages at info level while it works.',
      run: async (_, { log }) => {
        await log('Tool execution started');
        await delay(50);
        await log('Tool processing data');
        await delay(50);
        await log('Tool execution completed');
        return { content: [text('Tool with logging executed successfully')] };
      },
    },
    test_logging_tool: {
      description: 'Logs without having been asked to.',
      run: async (_, { log }) => {
        await log('Nobody asked for this');
        return { content: [text('Logged')] };
      },
    },
    test_elicitation: {
      description: 'Asks the user something in the middle of a call.',
      inputSchema: schemaOf('message'),
      run: async ({ message }, { askClient }) => ask(askClient('elicitation', String(message))),
    },
    test_streaming_elicitation: {
      description: 'Asks the user something without being told what.',
      run: async (_, { askClient }) => ask(askClient('elicitation', 'Which one?')),
    },
    test_sampling: {
      description: 'Asks the host’s model something in the middle of a call.',
      inputSchema: schemaOf('prompt'),
      run: async ({ prompt }, { askClient }) => ask(askClient('sampling', String(prompt))),
    },
    test_missing_capability: {
      description: 'Refuses callers whose host offers no sampling, with the JSON-RPC error for that.',
      run: () => {
        throw new ProtocolError(-32_021, 'Missing required client capability: sampling', {
          requiredCapabilities: { sampling: {} },
        });
      },
    },
    greet: {
      description: 'Greets, and wants the name in a header too.',
      inputSchema: {
        type: 'object',
        properties: { name: { type: 'string', 'x-mcp-header': 'Name' } },
      },
      run: ({ name }) => ({ content: [text(`Hello, ${String(name)}!`)] }),
    },
    test_trigger_tool_change: {
      description: 'Changes the list of tools.',
      run: async () => {
        await trigger();
        return { content: [text('Changed')] };
      },
    },
  };
}

async function ask(answer: Promise<unknown>): Promise<FixtureResult> {
  return answer.then(
    (given) => ({ content: [text(`The client said: ${JSON.stringify(given)}`)] }),
    () => ({ content: [text('The client offers no such thing')] }),
  );
}

function schemaOf(property: string): Record<string, unknown> {
  return {
    type: 'object',
    properties: { [property]: { type: 'string' } },
    required: [property],
    additionalProperties: false,
  };
}

function text(words: string): Block {
  return { type: 'text', text: words };
}
