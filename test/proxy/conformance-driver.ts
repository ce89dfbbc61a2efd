/**
 * Plays the host of one client scenario of the official conformance suite, through the proxy: the official
 * 2.x client speaks stdio to the proxy, and the proxy speaks HTTP to the suite's server. The suite gives
 * the server's URL as the last argument and the rest in its environment variables.
 */
import type { Client, ClientOptions } from '@modelcontextprotocol/client';
import { PROXY, proxyEnv } from './raw-host.ts';

const scenario = process.env['MCP_CONFORMANCE_SCENARIO'] ?? '';
const version = process.env['MCP_CONFORMANCE_PROTOCOL_VERSION'] ?? '2025-11-25';
const url = process.argv.at(-1) ?? '';

// The suite's OAuth server dies of a bearer token it did not issue, and with it every other scenario of the run.
if (scenario.startsWith('auth/')) {
  process.stderr.write('The proxy takes an API key and speaks no OAuth.\n');
  process.exit(1);
}

type Play = (client: Client) => Promise<void>;
type ToolCalls = { toolCalls: { name: string; arguments: Record<string, unknown> }[] };

const PLAYS: Record<string, Play> = {
  'http-standard-headers': async (client) => {
    await callEveryTool(client, {});
    for (const { uri } of (await client.listResources()).resources) await client.readResource({ uri });
    for (const { name } of (await client.listPrompts()).prompts) await client.getPrompt({ name });
  },
  'http-custom-headers': async (client) => {
    await client.listTools();
    const context = JSON.parse(process.env['MCP_CONFORMANCE_CONTEXT'] ?? '{}') as ToolCalls;
    for (const call of context.toolCalls) await client.callTool(call);
  },
  'http-invalid-tool-headers': (client) => callEveryTool(client, { region: 'us-west1' }),
  'json-schema-ref-no-deref': async (client) => void (await client.listTools()),
  'json-schema-2020-12-preservation': async (client) => {
    const { tools } = await client.listTools();
    const schema = tools.find(({ name }) => name === 'json_schema_2020_12_tool')?.inputSchema;
    await client.callTool({ name: 'json_schema_echo', arguments: { schema } });
  },
  'request-metadata': async (client) => void (await client.listTools()),
  'elicitation-sep1034-client-defaults': (client) => callEveryTool(client, {}),
  'sse-retry': (client) => callEveryTool(client, {}),
  'sep-2322-client-request-state': async (client) => {
    await client.listTools();
    // Side by side with an unrelated call, which must not carry the other one's state.
    await Promise.all([
      client.callTool({ name: 'test_mrtr_echo_state' }),
      client.callTool({ name: 'test_mrtr_unrelated' }),
    ]);
    await client.callTool({ name: 'test_mrtr_no_state' });
    await client.callTool({ name: 'test_mrtr_no_result_type' }).catch(() => {});
  },
};

async function callEveryTool(client: Client, args: Record<string, unknown>): Promise<void> {
  for (const { name } of (await client.listTools()).tools) await client.callTool({ name, arguments: args });
}

// Loaded only now: most scenarios of a run end above.
const [{ Client: Host }, { StdioClientTransport }] = await Promise.all([
  import('@modelcontextprotocol/client'),
  import('@modelcontextprotocol/client/stdio'),
]);
const options: ClientOptions = {
  capabilities: { elicitation: { form: { applyDefaults: true } } },
  versionNegotiation: {
    mode: version === '2026-07-28' ? (scenario === 'request-metadata' ? 'auto' : { pin: version }) : 'legacy',
  },
};
const client = new Host({ name: 'conformance-host', version: '1.0.0' }, options);
client.setRequestHandler('elicitation/create', () => ({
  action: 'accept',
  content: scenario === 'sep-2322-client-request-state' ? { confirmed: true } : {},
}));
await client.connect(
  new StdioClientTransport({
    command: process.execPath,
    args: [PROXY],
    env: proxyEnv({ SENTINEL_URL: url }),
  }),
);
await (PLAYS[scenario] ?? ((host: Client) => callEveryTool(host, { a: 5, b: 3 })))(client);
await client.close();
