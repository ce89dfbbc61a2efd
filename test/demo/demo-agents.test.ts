import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { isJsonObject, type JsonObject } from '../../src/base/json.ts';
import { silentLog } from '../../src/base/log.ts';
import type { Manifest } from '../../src/catalog/agent.ts';
import { startDemoAgents, type DemoAgents } from '../../src/demo/demo-agents.ts';

const ajv = new Ajv2020({ allErrors: true, strict: false });
addFormats.default(ajv);

let demo: DemoAgents;
let manifests: Manifest[];
before(async () => {
  demo = await startDemoAgents({ log: silentLog });
  manifests = demo.manifests.map(({ manifest }) => manifest as unknown as Manifest);
});
after(() => demo.close());

void test('the manifests point to where the agents listen, their examples too', () => {
  assert.deepEqual(
    manifests.map(({ agent_id, endpoint }) => [agent_id, endpoint.protocol, endpoint.url]),
    [
      ['agt_csv_profiler_v1', 'http', `${demo.origins.agents}/csv-profiler`],
      ['agt_gzip_file_v1', 'mcp', `${demo.origins.mcp}/mcp`],
      ['agt_html_to_markdown_v1', 'http', `${demo.origins.agents}/html-to-markdown`],
      ['agt_pdf_summariser_v2', 'http', `${demo.origins.agents}/pdf-summariser`],
    ],
  );
  assert.doesNotMatch(JSON.stringify(manifests), /:879[12]/);
});

void test('every schema is one that hosts accept, and every property is described', () => {
  for (const { agent_id, input_schema, output_schema, description } of manifests) {
    assert.ok(description.length >= 50 && description.length <= 2000, agent_id);
    for (const schema of [input_schema, output_schema]) {
      if (!schema) continue;
      assert.deepEqual([schema['type'], schema['additionalProperties']], ['object', false]);
      for (const member of ['oneOf', 'anyOf', 'allOf', '$ref']) assert.equal(schema[member], undefined);
      for (const property of Object.values(schema['properties'] as Record<string, JsonObject>)) {
        assert.equal(typeof property['description'], 'string', agent_id);
      }
    }
  }
});

void test('every example keeps the promise of its manifest when it is run', async () => {
  for (const { agent_id, endpoint, input_schema, output_schema, examples = [] } of manifests) {
    assert.ok(examples.length > 0, agent_id);
    for (const { input, output } of examples) {
      assert.ok(ajv.validate(input_schema, input), `${agent_id}: ${ajv.errorsText()}`);
      if (endpoint.protocol === 'mcp') continue;
      const response = await fetch(endpoint.url, { method: 'POST', body: JSON.stringify(input) });
      const answer = await response.json();
      assert.equal(response.status, 200, JSON.stringify(answer));
      assert.ok(output_schema && ajv.validate(output_schema, answer), `${agent_id}: ${ajv.errorsText()}`);
      if (output !== undefined) assert.deepEqual(answer, output);
    }
  }
});

void test('the third party tool compresses a file, twice in one session, and downloads nothing', async () => {
  const manifest = manifests.find(({ endpoint }) => endpoint.protocol === 'mcp');
  assert.ok(manifest?.endpoint.tool && manifest.examples?.[0]);
  const call = { name: manifest.endpoint.tool, arguments: manifest.examples[0].input };
  const client = new Client({ name: 'test', version: '1.0.0' });
  await client.connect(new StreamableHTTPClientTransport(new URL(manifest.endpoint.url)));
  try {
    for (const result of [await client.callTool(call), await client.callTool(call)]) {
      const [block] = result.content;
      assert.ok(block?.type === 'resource' && 'blob' in block.resource);
      assert.equal(gunzipSync(Buffer.from(block.resource.blob, 'base64')).toString(), 'Hello from escrow');
    }
    const download = { ...call.arguments, data: `${demo.origins.agents}/samples/orders.csv` };
    assert.equal((await client.callTool({ ...call, arguments: download })).isError, true);
    const environment = await client.callTool({ name: 'get-env', arguments: {} });
    assert.doesNotMatch(JSON.stringify(environment.content), /HOME|DATABASE_URL|USER/);
  } finally {
    await client.close();
  }
});

void test('unknown paths and samples are 404, and samples are served with their type', async () => {
  for (const path of ['/', '/samples/none', '/samples/constructor', '/samples/..%2Fsamples.ts']) {
    assert.equal((await fetch(demo.origins.agents + path)).status, 404, path);
  }
  const pdf = await fetch(`${demo.origins.agents}/samples/escrow.pdf`);
  assert.equal(pdf.headers.get('content-type'), 'application/pdf');
});

void test('nothing listens any more after close, and a port that is taken fails the start', async () => {
  const other = await startDemoAgents({ log: silentLog });
  const { agents, mcp } = other.origins;
  await assert.rejects(startDemoAgents({ port: Number(new URL(agents).port), log: silentLog }), /EADDRINUSE/);
  await assert.rejects(
    startDemoAgents({ mcpPort: Number(new URL(mcp).port), log: silentLog }),
    /did not start/,
  );
  await other.close();
  for (const origin of [agents, mcp]) await assert.rejects(fetch(origin), isRefused);
});

void test('the third party server ends when its parent is killed', async () => {
  const parent = fork(new URL('./mcp-parent.ts', import.meta.url), {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const [origin] = (await once(parent, 'message')) as [string];
  const connection = connect(Number(new URL(origin).port), '127.0.0.1');
  await once(connection, 'connect');
  // A dying process may reset the connection instead of closing it, which is as good; `once` would reject.
  const closed = new Promise((resolve) => connection.once('close', resolve));
  connection.on('error', () => {});
  parent.kill('SIGKILL');
  await closed;
  // A dying process may close its connections a moment before it stops listening.
  for (let attempt = 1; ; attempt += 1) {
    const error: unknown = await fetch(origin).then(
      () => undefined,
      (failure: unknown) => failure,
    );
    if (isRefused(error)) break;
    assert.ok(attempt < 500, 'the server still listens');
  }
});

function isRefused(error: unknown): boolean {
  const cause: unknown = error instanceof Error ? error.cause : undefined;
  return isJsonObject(cause) && cause['code'] === 'ECONNREFUSED';
}
