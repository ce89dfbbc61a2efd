import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connectHost, HOST_KINDS, type Host, type HostResult } from '../mcp/hosts.ts';
import { startFixtureGateway, type FixtureGateway } from './fixture-agents.ts';
import { ANSWERS } from './fixture-tools.ts';

/** The seller's server speaks both eras, or the stateless one only; the gateway uses another era for each. */
const SELLERS = ['stateless', 'reject'] as const;
const gateways = new Map<string, FixtureGateway>();

before(async () => {
  for (const seller of SELLERS) gateways.set(seller, await startFixtureGateway(seller));
});

after(async () => {
  await Promise.all([...gateways.values()].map((gateway) => gateway.close()));
});

async function withHost(
  kind: (typeof HOST_KINDS)[number],
  gateway: FixtureGateway,
  use: (host: Host) => Promise<void>,
): Promise<void> {
  const host = await connectHost(kind, `${gateway.rest.url}/mcp`, {
    authorization: `Bearer ${gateway.buyer.key}`,
  });
  try {
    await use(host);
  } finally {
    await host.close();
  }
}

for (const seller of SELLERS) {
  const title = seller === 'reject' ? 'a stateless seller' : 'a seller of both eras';

  for (const kind of HOST_KINDS) {
    test(`${kind}, ${title}: every content block arrives as the seller sent it`, async () => {
      const gateway = gateways.get(seller) as FixtureGateway;
      await withHost(kind, gateway, async (host) => {
        for (const [name, answer] of Object.entries(ANSWERS)) {
          const result = await host.callTool(gateway.names.get(name) ?? '', {});
          if (answer.isError) {
            assertFailure(result, answer.content);
          } else {
            assert.deepEqual(result.content, answer.content, name);
            assert.deepEqual(result.structuredContent, answer.structuredContent, name);
            assert.notEqual(result.isError, true);
          }
        }
      });
    });

    test(`${kind}, ${title}: progress arrives while the tool works, in order, and rising`, async () => {
      const gateway = gateways.get(seller) as FixtureGateway;
      await withHost(kind, gateway, async (host) => {
        const heard: [string, number][] = [];
        const result = await host.callTool(
          gateway.names.get('test_tool_with_progress') ?? '',
          {},
          { onprogress: (message, progress) => heard.push([message, progress]) },
        );
        assert.deepEqual(heard, [
          ['', 0],
          ['', 50],
          ['', 100],
        ]);
        assert.deepEqual(result.content, [
          { type: 'text', text: 'Tool with progress executed successfully' },
        ]);
      });
    });
  }

  test(`${title}: what a tool logs, and what it asks of the host, reaches nobody`, async () => {
    const gateway = gateways.get(seller) as FixtureGateway;
    for (const [name, input, text] of [
      ['test_tool_with_logging', {}, 'Tool with logging executed successfully'],
      ['test_streaming_elicitation', {}, 'The client offers no such thing'],
      ['test_sampling', { prompt: 'Say something.' }, 'The client offers no such thing'],
    ] as const) {
      const { messages } = await post(gateway, gateway.names.get(name) ?? '', input);
      assert.equal(messages.length, 1, JSON.stringify(messages));
      assert.deepEqual((messages[0] as { result: HostResult }).result.content, [{ type: 'text', text }]);
    }
  });

  test(`${title}: on the wire the content is byte for byte the seller’s`, async () => {
    const gateway = gateways.get(seller) as FixtureGateway;
    for (const [name, answer] of Object.entries(ANSWERS)) {
      if (answer.isError) continue;
      const { text } = await post(gateway, gateway.names.get(name) ?? '', {});
      assert.ok(text.includes(`"content":${JSON.stringify(answer.content)}`), text);
    }
  });
}

test('a tool that fails is not charged, and one that answers is', async () => {
  const { rest, names } = gateways.get('stateless') as FixtureGateway;
  const buyer = await rest.newMember('10');
  const host = await connectHost('SDK 1.x', `${rest.url}/mcp`, { authorization: `Bearer ${buyer.key}` });
  await host.callTool(names.get('test_error_handling') ?? '', {});
  await host.callTool(names.get('test_missing_capability') ?? '', {});
  await host.callTool(names.get('test_image_content') ?? '', {});
  await host.close();
  const { body } = await rest.send('GET', '/v1/billing/balance', { key: buyer.key });
  assert.deepEqual([body.credits, body.escrow_credits], ['9', '0']);
});

/** The gateway's own words come first, then whatever the seller's tool said about it. */
function assertFailure(result: HostResult, said: object[]): void {
  assert.equal(result.isError, true);
  assert.equal(result.structuredContent, undefined);
  const told = JSON.parse(result.content[0]?.text ?? '') as Record<string, unknown>;
  assert.deepEqual([told['code'], told['charged']], ['AGENT_ERROR', '0']);
  assert.deepEqual(result._meta?.['xyz.sentinel/error'], told);
  assert.deepEqual(result.content.slice(1), said);
}

async function post(
  { rest, buyer }: FixtureGateway,
  name: string,
  input: object,
): Promise<{ text: string; messages: unknown[] }> {
  const params = { name, arguments: input, _meta: { progressToken: 'p' } };
  const { text } = await rest.send('POST', '/mcp', {
    key: buyer.key,
    body: { jsonrpc: '2.0', id: 1, method: 'tools/call', params },
    // Without a revision a client counts as one that has never heard of links.
    headers: { accept: 'application/json, text/event-stream', 'mcp-protocol-version': '2025-11-25' },
  });
  const messages = text.startsWith('{')
    ? [text]
    : [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => data ?? '');
  return { text, messages: messages.map((message): unknown => JSON.parse(message)) };
}
