import type { Manifest } from '../../src/catalog/agent.ts';
import type { JsonObject } from '../../src/base/json.ts';
import { startRestGateway, type Member, type RestGateway } from '../http/rest-gateway.ts';
import { startFixtureServer } from './fixture-server.ts';
import { fixtureTools, type FixtureTool } from './fixture-tools.ts';

/** A whole gateway that sells the tools of a fixture server, one agent for each. */
export type FixtureGateway = {
  rest: RestGateway;
  buyer: Member;
  /** A fixture tool's name → the name of the tool the gateway sells it as. */
  names: ReadonlyMap<string, string>;
  close(): Promise<void>;
};

/** `legacy: 'reject'` puts a server of the stateless era behind the gateway, instead of one of both eras. */
export async function startFixtureGateway(
  legacy: 'stateless' | 'reject' = 'stateless',
): Promise<FixtureGateway> {
  const rest = await startRestGateway();
  let triggered = 0;
  const tools = fixtureTools(async () => {
    triggered += 1;
    const tool = tools['test_trigger_tool_change'] as FixtureTool;
    await rest.publish(manifestOf('test_trigger_tool_change', tool, fixture.url, `1.0.${triggered}`), 80);
  });
  const fixture = await startFixtureServer(tools, legacy);
  const names = new Map<string, string>();
  for (const [name, tool] of Object.entries(tools)) {
    const agentId = await rest.publish(manifestOf(name, tool, fixture.url), 80);
    names.set(name, `sentinel_${agentId}`);
  }
  const buyer = await rest.newMember('100000', { ratePerMinute: 1_000_000, maxConcurrent: 10_000 });
  return {
    rest,
    buyer,
    names,
    close: async () => {
      await rest.close();
      await fixture.close();
    },
  };
}

function manifestOf(name: string, tool: FixtureTool, url: string, version = '1.0.0'): Manifest {
  return {
    schema_version: '1.0',
    agent_id: `agt_${name}_v1`,
    display_name: name,
    description: `${tool.description} One of the tools by which the official conformance suite knows a server.`,
    version,
    category: 'other',
    pricing: { model: 'per_call', credits_per_call: '1' },
    endpoint: { protocol: 'mcp', url, tool: name },
    input_schema: (tool.inputSchema ?? {
      type: 'object',
      properties: {},
      additionalProperties: false,
    }) as JsonObject,
    ...(tool.outputSchema ? { output_schema: tool.outputSchema as JsonObject } : {}),
    capabilities: { streaming: tool.streaming === true },
  };
}
