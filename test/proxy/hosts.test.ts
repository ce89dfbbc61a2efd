import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { Client as SessionClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as SessionStdio } from '@modelcontextprotocol/sdk/client/stdio.js';
import { ElicitRequestSchema, ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { type TestGateway, startSessionGateway, startStatelessGateway } from './gateways.ts';
import { PROXY, proxyEnv } from './raw-host.ts';

const timeout = 30_000;

/** What every host does, said once, so that each SDK and each era of the protocol is held to the same. */
type AnyHost = {
  listTools(): Promise<{ tools: { name: string }[] }>;
  callTool(
    params: { name: string; arguments?: Record<string, unknown> },
    options?: {
      onprogress?: (progress: { progress: number; message?: string }) => void;
      signal?: AbortSignal;
    },
  ): Promise<unknown>;
  toolsChanged: Promise<void>;
};

const proxyOf = (gateway: TestGateway): { command: string; args: string[]; env: Record<string, string> } => ({
  command: process.execPath,
  args: [PROXY],
  env: proxyEnv({ SENTINEL_URL: gateway.url }),
});

async function connectSessionHost(t: TestContext, gateway: TestGateway): Promise<AnyHost> {
  const client = new SessionClient(
    { name: 'host-of-2025', version: '1.0.0' },
    { capabilities: { elicitation: {} } },
  );
  const changed = Promise.withResolvers<void>();
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => changed.resolve());
  client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { name: 'Ada' } }));
  t.after(() => client.close());
  await client.connect(new SessionStdio(proxyOf(gateway)));
  return {
    listTools: () => client.listTools(),
    callTool: (params, options) => client.callTool(params, undefined, options as never),
    toolsChanged: changed.promise,
  };
}

async function connectStatelessHost(t: TestContext, gateway: TestGateway): Promise<AnyHost> {
  const changed = Promise.withResolvers<void>();
  const client = new Client(
    { name: 'host-of-2026', version: '1.0.0' },
    {
      versionNegotiation: { mode: { pin: '2026-07-28' } },
      listChanged: { tools: { autoRefresh: false, onChanged: () => changed.resolve() } },
    },
  );
  t.after(() => client.close());
  await client.connect(new StdioClientTransport(proxyOf(gateway)));
  assert.equal(client.getProtocolEra(), 'modern');
  return {
    listTools: () => client.listTools(),
    callTool: (params, options) => client.callTool(params, options as never),
    toolsChanged: changed.promise,
  };
}

const PAIRS: [
  string,
  () => Promise<TestGateway>,
  (t: TestContext, gateway: TestGateway) => Promise<AnyHost>,
  string[],
][] = [
  ['a 1.x host at a gateway with sessions', startSessionGateway, connectSessionHost, ['unasked']],
  ['a 1.x host at a gateway without sessions', startStatelessGateway, connectSessionHost, []],
  ['a 2.x host at a stateless gateway', startStatelessGateway, connectStatelessHost, ['unasked']],
];

for (const [who, start, connect, abilities] of PAIRS) {
  test(`${who} lists tools, calls them and hears every step of progress in order`, { timeout }, async (t) => {
    const gateway = await start();
    t.after(gateway.close);
    const host = await connect(t, gateway);

    const { tools } = await host.listTools();
    assert.deepEqual(
      tools.map(({ name }) => name),
      ['echo', 'count', 'hang', 'grow', 'ask'],
    );

    const steps: string[] = [];
    const onprogress = ({ message = '' }: { message?: string }): void => {
      steps.push(message);
      if (message === 'step 3') gateway.stepsHeard();
    };
    const result = await host.callTool({ name: 'count', arguments: { text: 'héllo' } }, { onprogress });
    assert.deepEqual((result as { content: unknown }).content, [{ type: 'text', text: '{"text":"héllo"}' }]);
    assert.deepEqual(steps, ['step 1', 'step 2', 'step 3']);
  });

  test(`${who} that gives up on a call ends it at the gateway`, { timeout }, async (t) => {
    const gateway = await start();
    t.after(gateway.close);
    const host = await connect(t, gateway);
    const giveUp = new AbortController();
    const call = host.callTool({ name: 'hang' }, { signal: giveUp.signal });
    await gateway.hangStarted;
    giveUp.abort();
    await assert.rejects(call);
    await gateway.hangCancelled;
    assert.equal((await host.listTools()).tools.length, 5, 'the proxy still works');
  });

  if (abilities.includes('unasked')) {
    test(`${who} is told when the list of tools changes`, { timeout }, async (t) => {
      const gateway = await start();
      t.after(gateway.close);
      const host = await connect(t, gateway);
      await streamIsOpen(gateway);
      await host.callTool({ name: 'grow' });
      await host.toolsChanged;
    });
  }
}

test(
  'a question of the server reaches the host, and the answer reaches the server',
  { timeout },
  async (t) => {
    const gateway = await startSessionGateway();
    t.after(gateway.close);
    const host = await connectSessionHost(t, gateway);
    const result = await host.callTool({ name: 'ask' });
    assert.deepEqual((result as { content: unknown }).content, [{ type: 'text', text: '{"name":"Ada"}' }]);
  },
);

test(
  'a 2.x host that tries the new protocol first falls back at a gateway that has only sessions',
  { timeout },
  async (t) => {
    const gateway = await startSessionGateway();
    t.after(gateway.close);
    const client = new Client(
      { name: 'host-of-2026', version: '1.0.0' },
      { versionNegotiation: { mode: 'auto' } },
    );
    t.after(() => client.close());
    await client.connect(new StdioClientTransport(proxyOf(gateway)));
    assert.equal(client.getProtocolEra(), 'legacy');
    assert.equal((await client.listTools()).tools.length, 5);
  },
);

/** The stream for what the server says unasked is opened beside the first requests; wait until it is there. */
async function streamIsOpen(gateway: TestGateway): Promise<void> {
  for (let turn = 0; turn < 20_000; turn += 1) {
    if (gateway.seen.some(({ verb, method }) => verb === 'GET' || method === 'subscriptions/listen')) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.fail('the proxy never listened');
}
