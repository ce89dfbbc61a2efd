import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import type { Json, JsonObject } from '../../src/base/json.ts';
import type { Manifest } from '../../src/catalog/agent.ts';
import { connectHost, type Host } from '../mcp/hosts.ts';
import { startTestGateway, manifestOf, type TestGateway } from '../support/gateway.ts';

/** A tool as an MCP server lists it: `title` says what is particular about it. */
type Case = {
  title: string;
  tool: { name: string; description: string; inputSchema: JsonObject; outputSchema?: JsonObject };
};

const folder = new URL('tool-schemas/', import.meta.url);
const cases = readdirSync(folder).map(
  (file) => JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Case,
);

/** What a buyer sends to each tool: arguments it takes, and some it does not. */
const ARGUMENTS: Record<string, { good: JsonObject[]; bad: JsonObject[] }> = {
  quote: { good: [{ weight: 1, to: 'Oslo' }, {}], bad: [{ weight: '1' }, { to: null }] },
  sum_rows: { good: [{ rows: [1, 'x', []], matrix: [[1]] }], bad: [{}, { rows: [], matrix: [1] }] },
  get_post: { good: [{ id: 2 ** 60 }], bad: [{ id: -1 }, { id: 1e19 }] },
  store_note: { good: [{ text: 'a', extra: { b: [] } }], bad: [{ text: 'a', legacy: 1 }] },
  plot_line: {
    good: [{ points: [[0, 1], [2]], color: 'red', opacity: 1 }],
    bad: [{ points: [[1, 2, 3], []] }, { points: [[], []], opacity: 1 }, { points: [[], ['x']] }],
  },
  read_note: { good: [{ name: 'a' }], bad: [{ name: 'a', other: 1 }] },
  roll: { good: [{ count: 1 }], bad: [{ count: 0 }] },
  invite: {
    good: [
      { email: "o'neil.a+b@mail.example.org", when: '2024-02-29', host: 'a.example', node: 'I1:2;3-4' },
      { when: '2026-12-01T10:00:00.5+01:00' },
    ],
    bad: [{ email: '.a@b.example' }, { email: 'a..b@c.example' }, { when: '2026-02-29' }, { host: 'a' }],
  },
  set_level: { good: [{ level: 3 }, { level: null }], bad: [{ level: '3' }, { level: 'mid' }] },
  find: { good: [{ filter: { $text: {}, $meta: 'x', $other: 1 } }], bad: [{ filter: { $text: 1 } }] },
  list_regions: { good: [{}], bad: [] },
  list_items: { good: [{}], bad: [] },
  write_file: { good: [{ path: 'a', content: 'b' }], bad: [{ path: 'a' }] },
  book_room: { good: [{ building: 'a', floor: [] }], bad: [{ building: 'a' }] },
  ping: { good: [{}], bad: [] },
  acme_project_tracker_create_recurring_subtask_from_template: { good: [{ title: 'a' }], bad: [{}] },
};

/** What a tool with an output schema answers. */
const ANSWERS: Record<string, JsonObject> = {
  store_note: { id: '1', echo: [1] },
  list_items: { '@data.context': 'c', '@data.next': 'n', value: [] },
};

let gateway: TestGateway;
let server: Server;
let hosts: Host[] = [];
const toolNames = new Map<string, string>();

before(async () => {
  gateway = await startTestGateway();
  server = createServer((request, response) => {
    void json(request).then((message) => {
      const { id, method, params } = message as { id?: Json; method: string; params: { name: string } };
      if (id === undefined) return response.writeHead(202).end();
      const output = ANSWERS[params.name] ?? { done: true };
      const result =
        method === 'initialize'
          ? {
              protocolVersion: '2025-11-25',
              capabilities: { tools: {} },
              serverInfo: { name: 's', version: '1' },
            }
          : { content: [{ type: 'text', text: JSON.stringify(output) }], structuredContent: output };
      response.writeHead(200, { 'content-type': 'application/json' });
      return response.end(JSON.stringify({ jsonrpc: '2.0', id, result }));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  for (const each of cases) {
    const { name } = each.tool;
    const id = await gateway.publish(toManifest(each), 80);
    toolNames.set(name, `sentinel_${id}`);
  }
  const { headers } = await gateway.newBuyer('1000', { ratePerMinute: 100_000 });
  const url = `${gateway.url}?tools=direct`;
  hosts = await Promise.all([
    connectHost('SDK 1.x', url, headers),
    connectHost('SDK 2.x modern', url, headers),
  ]);
});

after(async () => {
  for (const host of hosts) await host.close();
  server.closeAllConnections();
  server.close();
  await gateway.close();
});

function toManifest({ tool }: Case): Manifest {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
  const { name, description, inputSchema, outputSchema } = tool;
  const endpoint = { protocol: 'mcp' as const, url, tool: name };
  const { output_schema: _, ...manifest } = manifestOf(name, url, {
    description,
    endpoint,
    input_schema: inputSchema,
  });
  return outputSchema === undefined ? manifest : { ...manifest, output_schema: outputSchema };
}

describe('a tool as real sellers have it is published as it is, listed by every host, and called', () => {
  for (const { title, tool } of cases) {
    it(title, async () => {
      const toolName = toolNames.get(tool.name) ?? '';
      assert.match(toolName, /^[a-z0-9_]{1,45}$/);
      const { good, bad } = ARGUMENTS[tool.name] ?? { good: [], bad: [] };
      assert.ok(good.length > 0, 'the test has arguments for it');
      for (const host of hosts) {
        const listed = await host.listTools();
        assert.equal(listed.nextCursor, undefined);
        const found = listed.tools.find((each) => each.name === toolName);
        assert.ok(found, 'the host lists it');
        assert.ok(found.description?.startsWith(tool.description));
        for (const input of good) {
          const result = await host.callTool(toolName, input);
          assert.equal(result.isError ?? false, false, JSON.stringify([input, result.content]));
          assert.deepEqual(result.structuredContent, ANSWERS[tool.name] ?? { done: true });
        }
      }
      for (const input of bad) {
        const refused = await hosts[0]?.callTool(toolName, input);
        assert.equal(refused?.isError, true, JSON.stringify(input));
        assert.match(JSON.stringify(refused.content), /INVALID_INPUT/);
      }
    });
  }
});

it('properties are listed, searched and shown in the order the seller wrote them', async () => {
  const order = ['path', 'content', 'append'];
  const toolName = toolNames.get('write_file') ?? '';
  const listed = await hosts[1]?.listTools();
  const found = listed?.tools.find(({ name }) => name === toolName)?.inputSchema as JsonObject;
  assert.deepEqual(Object.keys(found['properties'] ?? {}), order);
  await gateway.catalog.refresh();
  const properties = gateway.catalog.findByToolName(toolName)?.manifest.input_schema['properties'];
  assert.deepEqual(Object.keys(properties ?? {}), order);
});

it('a schema that an earlier release stored is listed in the form hosts take today', async () => {
  const stored = { type: 'object', properties: { a: true, b: { type: 'array' } }, required: ['c'] };
  const id = await gateway.publish(manifestOf('stored', 'http://127.0.0.1:9/', {}), 80);
  await gateway.database.pool.query(
    `UPDATE agent_versions SET manifest = jsonb_set(manifest::jsonb, '{input_schema}', $2), manifest_hash = $3
     WHERE agent_id = $1`,
    [id, JSON.stringify(stored), '0'.repeat(64)],
  );
  await gateway.catalog.refresh();
  const listed = await hosts[0]?.listTools();
  assert.deepEqual(listed?.tools.find(({ name }) => name === `sentinel_${id}`)?.inputSchema, {
    type: 'object',
    properties: { a: {}, b: { type: 'array', items: {} }, c: {} },
    required: ['c'],
  });
  // The same document can still be published again, though its form is another today.
  const changes = { input_schema: stored as JsonObject };
  assert.equal(await gateway.publish(manifestOf('stored', 'http://127.0.0.1:9/', changes), 80), id);
});
