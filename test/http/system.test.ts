import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client } from 'pg';
import { EVENT_TYPES } from '../../src/audit/events.ts';
import type { Log } from '../../src/base/log.ts';
import { createMetrics } from '../../src/http/metrics.ts';
import { manifestOf, startSeller } from '../support/gateway.ts';
import { startRestGateway, type RestGateway } from './rest-gateway.ts';

let rest: RestGateway;
before(async () => {
  rest = await startRestGateway();
});
after(() => rest.close());

test('the process says that it runs and that it can serve', async () => {
  assert.deepEqual((await rest.send('GET', '/health')).body, { status: 'ok' });
  const { status, body } = await rest.send('GET', '/ready');
  assert.equal(status, 200);
  const { clock_ahead_ms: aheadMs, ...told } = body;
  assert.ok(Number.isInteger(aheadMs));
  assert.deepEqual(told, {
    status: 'ready',
    database: 'ok',
    ledger: 'ok',
    queue_depth: 0,
    changes: 'live',
    limits: 'local',
    clock: 'ok',
  });
});

test('without its database the gateway is unready, refuses with 503, and tells nothing of the inside', async () => {
  const lines: string[] = [];
  const log: Log = (level, message, fields) => lines.push(JSON.stringify([level, message, fields]));
  const broken = await startRestGateway({ log });
  try {
    const { key } = await broken.newMember();
    await renameDatabase(broken.databaseUrl, 'away');
    const ready = await broken.send('GET', '/ready');
    assert.equal(ready.status, 503);
    assert.equal(ready.body.status, 'unready');
    assert.equal(ready.body.database, 'away');
    const answer = await broken.send('GET', '/v1/billing/balance', { key });
    assert.ok(answer.status === 503 || answer.status === 500, String(answer.status));
    assert.match(answer.body.detail, /database|gateway/);
    assert.ok(!/ECONN|postgres|pg_|does not exist|select/i.test(answer.text), answer.text);
    assert.ok(!lines.some((line) => line.includes(key)));
  } finally {
    await renameDatabase(broken.databaseUrl, 'back');
    await broken.close();
  }
});

/** Takes a database away from whoever uses it, or brings it back. */
async function renameDatabase(url: string, direction: 'away' | 'back'): Promise<void> {
  const server = new URL(url);
  const name = server.pathname.slice(1);
  server.pathname = '/postgres';
  const client = new Client({ connectionString: server.href });
  await client.connect();
  const [from, to] = direction === 'away' ? [name, `${name}_away`] : [`${name}_away`, name];
  await client.query(`ALTER DATABASE ${from} WITH ALLOW_CONNECTIONS false`);
  await client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [from]);
  await client.query(`ALTER DATABASE ${from} RENAME TO ${to}`);
  if (direction === 'back') await client.query(`ALTER DATABASE ${to} WITH ALLOW_CONNECTIONS true`);
  await client.end();
}

test('the metrics count calls, credits and time', async () => {
  const seller = await startSeller((input) => ({ text: input['text'] }));
  try {
    await rest.publish(manifestOf('counted', seller.url), 80);
    const { key } = await rest.newMember('12.5');
    for (let call = 0; call < 3; call += 1) {
      await rest.send('POST', '/v1/agents/agt_counted_v1/invoke', { key, body: { inputs: { text: 'x' } } });
    }
    const { text, headers } = await rest.send('GET', '/metrics');
    assert.match(headers.get('content-type') ?? '', /^text\/plain/);
    for (const line of [
      'sentinel_calls_total{wire="rest",result="settled"} 2',
      'sentinel_calls_total{wire="rest",result="PAYMENT_REQUIRED"} 1',
      'sentinel_credits_held_total 10',
      'sentinel_credits_settled_total 10',
      'sentinel_credits_refunded_total 0',
      'sentinel_credits_fee_total 0.3',
      'sentinel_upstream_duration_seconds_count 2',
      'sentinel_overhead_seconds_count 2',
      'sentinel_call_duration_seconds_count 3',
      'sentinel_ledger_queue_depth 0',
      'sentinel_open_calls 0',
    ]) {
      assert.ok(text.includes(`\n${line}\n`), line);
    }
    assert.match(text, /process_cpu_seconds_total/);
  } finally {
    await seller.close();
  }
});

test('a refund is counted as what went back', async () => {
  const metrics = createMetrics();
  const call = {
    wire: 'mcp',
    isOverReported: false,
    feeMicros: 0n,
    totalMs: 5,
    holdMs: 1,
    upstreamMs: 2,
  } as const;
  metrics.onEnded({ ...call, result: 'TIMEOUT', heldMicros: 7_500_000n, chargedMicros: 0n });
  metrics.onEnded({ ...call, result: 'settled', heldMicros: 5_000_000n, chargedMicros: 2_000_000n });
  const text = await metrics.text();
  assert.match(text, /^sentinel_credits_refunded_total 10\.5$/m);
  assert.match(text, /^sentinel_calls_total\{wire="mcp",result="TIMEOUT"\} 1$/m);
});

test('the OpenAPI document describes every route, its refusals, and how to sign in', async () => {
  const { body } = await rest.send('GET', '/openapi.json');
  assert.equal(body.openapi, '3.1.0');
  assert.equal(body.servers[0].url, rest.url);
  assert.equal(body.components.securitySchemes.apiKey.scheme, 'bearer');
  const invoke = body.paths['/v1/agents/{id}/invoke'].post;
  assert.ok(invoke.responses['200'].content['application/json']);
  assert.ok(invoke.responses.default.content['application/problem+json']);
  assert.equal(invoke.requestBody.required, true);
  const names = body.paths['/v1/agents/search'].get.parameters.map(({ name }: { name: string }) => name);
  for (const name of ['q', 'min_trust_score', 'badge', 'category', 'max_price', 'sort', 'limit', 'cursor']) {
    assert.ok(names.includes(name), name);
  }
});

test('every route is in a group that is described, and its summary is plain text', async () => {
  const { body } = await rest.send('GET', '/openapi.json');
  const operations = [...Object.values(body.paths), ...Object.values(body.webhooks)].flatMap((path) =>
    Object.values(path as Record<string, { tags: string[]; summary: string }>),
  );
  assert.deepEqual(
    [...new Set(operations.flatMap(({ tags }) => tags))].sort(),
    body.tags.map(({ name }: { name: string }) => name).sort(),
  );
  // The reference prints summaries as they are; in descriptions it reads Markdown.
  for (const { summary } of operations) assert.doesNotMatch(summary, /`/);
});

test('the OpenAPI document describes every event a webhook may be sent, each with its currency', async () => {
  const { body } = await rest.send('GET', '/openapi.json');
  assert.deepEqual(Object.keys(body.webhooks).sort(), [...EVENT_TYPES, 'webhook.test'].sort());
  const schemas = body.components.schemas;
  for (const [type, { post }] of Object.entries<{ post: OperationShown }>(body.webhooks)) {
    const { properties } = post.requestBody.content['application/json'].schema;
    assert.deepEqual(properties.type.enum, [type]);
    const { $ref, anyOf = [properties.data] } = properties.data;
    for (const data of $ref === undefined ? anyOf : [schemas[$ref.split('/').at(-1) ?? '']]) {
      assert.deepEqual(data.properties.currency.enum, ['live', 'test'], type);
      assert.ok(data.required.includes('currency'), type);
    }
  }
});

type DataShown = {
  $ref?: string;
  anyOf?: DataShown[];
  properties: { currency: { enum: string[] } };
  required: string[];
};
type OperationShown = {
  requestBody: {
    content: {
      'application/json': { schema: { properties: { type: { enum: string[] }; data: DataShown } } };
    };
  };
};

test('the reference works without a single request elsewhere', async () => {
  const page = await rest.send('GET', '/docs');
  assert.match(page.headers.get('content-security-policy') ?? '', /default-src 'none'; script-src 'self';/);
  const links = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link ?? '');
  assert.ok(links.length >= 4);
  for (const link of links) {
    assert.match(link, /^\/docs\//);
    assert.equal((await rest.send('GET', link)).status, 200, link);
  }
  assert.equal((await rest.send('GET', '/docs/package.json')).status, 404);
  assert.equal((await rest.send('GET', '/docs/..%2fpackage.json')).status, 404);
});

test("the manifest's schema and the signing keys are public", async () => {
  const schema = await rest.send('GET', '/schemas/manifest.json');
  assert.equal(schema.body.title, 'Sentinel agent manifest');
  const keys = await rest.send('GET', '/.well-known/jwks.json');
  assert.equal(keys.body.keys[0].crv, 'Ed25519');
  assert.equal(keys.body.keys[0].d, undefined);
});
