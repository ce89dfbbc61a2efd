import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { startFixtureServer, type FixtureServer } from '../conformance/fixture-server.ts';
import { anyBlock, anyMeta } from '../support/content-blocks.ts';
import { manifestOf, startTestGateway, type Buyer, type TestGateway } from '../support/gateway.ts';
import { connectHost, type Host, type HostKind } from './hosts.ts';

/** A result as a server may give it, members the gateway has never heard of included. */
type Result = Record<string, unknown> & { content: { type: string }[]; _meta?: Record<string, unknown> };

const KINDS = ['SDK 1.x', 'SDK 2.x legacy', 'SDK 2.x modern'] as const satisfies HostKind[];
const SERVERS = ['both eras', 'the stateless era only'] as const;

let gateway: TestGateway;
let buyer: Buyer;
const servers: FixtureServer[] = [];
/** What the tool answers next. */
let given: Result = { content: [] };

before(async () => {
  gateway = await startTestGateway();
  buyer = await gateway.newBuyer('10000000');
  const tools = { give: { description: 'Gives.', inputSchema: {}, run: async () => given as never } };
  for (const [index, legacy] of (['stateless', 'reject'] as const).entries()) {
    const server = await startFixtureServer(tools, legacy);
    servers.push(server);
    const endpoint = { protocol: 'mcp' as const, url: server.url, tool: 'give' };
    const { output_schema: _, ...manifest } = manifestOf(`give${index}`, server.url, { endpoint });
    await gateway.publish(manifest);
    const output_schema = { type: 'object' };
    await gateway.publish(manifestOf(`promise${index}`, server.url, { endpoint, output_schema }));
  }
});

after(async () => {
  await gateway?.close();
  await Promise.all(servers.map((server) => server.close()));
});

const structured = fc.dictionary(
  fc.oneof(fc.string(), fc.constantFrom('content', 'result')),
  fc.jsonValue({ maxDepth: 3 }),
  { maxKeys: 4, noNullPrototype: true },
);
const result = fc
  .record(
    {
      content: fc.array(anyBlock, { maxLength: 4 }),
      structuredContent: structured,
      isError: fc.constantFrom(true, false),
      _meta: anyMeta,
      'example.com': fc.jsonValue({ maxDepth: 1 }),
    },
    { requiredKeys: ['content'] },
  )
  // An answer with nothing in it is refunded.
  .filter((given) => given.content.length > 0 || given.structuredContent !== undefined);

for (const kind of KINDS) {
  for (const [index, era] of SERVERS.entries()) {
    // A client of the older era cannot ask a server of the newer one, and there is nothing to compare.
    if (index === 1 && kind !== 'SDK 2.x modern') continue;

    test(`${kind}: any result of a server of ${era} is what the server itself would have answered`, async () => {
      await withBoth(kind, index, async (direct, through) => {
        const compare = async (next: Result, tool: 'give' | 'promise'): Promise<void> => {
          given = next;
          const expected = (await direct.callTool('give', {})) as Result;
          const got = (await through.callTool(`sentinel_agt_${tool}${index}_v1`, { text: 'x' })) as Result;
          assert.deepEqual(withoutOurs(got), expectedThrough(expected, tool));
        };
        await fc.assert(
          fc.asyncProperty(result, fc.constantFrom('give', 'promise'), (next, tool) =>
            compare(next as Result, tool as 'give'),
          ),
          { numRuns: 60 },
        );
        const B = { type: 'text', text: 'b' };
        await compare({ content: [B], structuredContent: { content: [B] } }, 'promise');
        await compare({ content: [B], structuredContent: { content: [B] } }, 'give');
      });
    });
  }
}

/** The server's result, and what the contract adds to it. */
function expectedThrough(direct: Result, tool: 'give' | 'promise'): Result {
  const { structuredContent, ...rest } = withoutOurs(direct);
  if (direct['isError'] === true) return { ...rest, content: direct.content };
  if (structuredContent !== undefined) {
    const { content } = direct;
    const blocks = content.length > 0 ? content : [{ type: 'text', text: JSON.stringify(structuredContent) }];
    return { ...rest, content: blocks, structuredContent };
  }
  return tool === 'give' ? rest : { ...rest, structuredContent: promisedOf(direct.content) };
}

function promisedOf(content: { type: string; text?: string }[]): unknown {
  const text = content.length === 1 && content[0]?.type === 'text' ? content[0].text : undefined;
  return text?.trimStart().startsWith('{') === true && isJson(text) ? JSON.parse(text) : { content };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** What the contract adds to every result, and what says which server answered, taken away again. */
function withoutOurs(result: Result): Result {
  const isRefusal = result._meta?.['xyz.sentinel/error'] !== undefined;
  const entries = Object.entries(result._meta ?? {}).filter(
    ([name]) => !name.startsWith('xyz.sentinel/') && name !== 'io.modelcontextprotocol/serverInfo',
  );
  const { _meta: _, isError, ...rest } = result;
  return {
    ...rest,
    content: isRefusal ? result.content.slice(1) : result.content,
    // False is what it is without it.
    ...(isError === true ? { isError } : {}),
    ...(entries.length === 0 ? {} : { _meta: Object.fromEntries(entries) }),
  };
}

async function withBoth(
  kind: HostKind,
  index: number,
  use: (direct: Host, through: Host) => Promise<void>,
): Promise<void> {
  const direct = await connectHost(kind, servers[index]!.url, {});
  const through = await connectHost(kind, gateway.url, buyer.headers);
  try {
    await use(direct, through);
  } finally {
    await direct.close();
    await through.close();
  }
}
