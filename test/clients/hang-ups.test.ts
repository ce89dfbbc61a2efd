import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { createClient } from '../../src/client/client.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { manifestOf } from '../support/gateway.ts';
import {
  createDataDirectories,
  startGatewayProcess,
  type DataDirectories,
  type GatewayProcess,
} from '../support/gateway-process.ts';
import { MOMENTS, play, seeded, WIRES, type HangUp, type Wire } from './hang-up.ts';
import { openHeap, type Heap } from './heap.ts';

const SEED = 20_260_728;
const WARM_UP = 300;
const CLIENTS = 1_000;
const AT_ONCE = 50;
// A key may have twenty streams of the old transport open.
const KEYS_PER_WIRE = 3;
const PRICE = 5;
const GRANTED = 100_000;
/**
 * What the process may hold more after a thousand clients than before; compiled code and caches take one
 * megabyte, and a forgotten request or response takes more than three kilobytes each.
 */
const GROWTH_BYTES = 3 * 1024 * CLIENTS;
const SETTLED_DEADLINE_MS = 20_000;

const AGENTS = {
  // Streams, and is cancelled when its buyer is gone.
  agt_stream_v1: { capabilities: { streaming: true } },
  // Streams, and runs on for a buyer that is gone.
  agt_kept_v1: { capabilities: { streaming: true, keep_running: true } },
  // Says nothing until it says all.
  agt_plain_v1: {},
  // Hangs up on the gateway in the middle of its own answer.
  agt_fickle_v1: { capabilities: { streaming: true } },
};

let database: TestDatabase;
let books: pg.Client;
let directories: DataDirectories;
let gateway: GatewayProcess;
let heap: Heap;
let seller: Server;
let keys: { id: string; key: string; wire: Wire }[];
let keptVisits = 0;

before(async () => {
  database = await createTestDatabase();
  books = new pg.Client({ connectionString: database.url });
  await books.connect();
  const random = seeded(SEED + 1);
  seller = createServer((request, response) => {
    void answer(request, response, random()).catch(() => response.destroy());
  });
  seller.listen(0, '127.0.0.1');
  await once(seller, 'listening');
  directories = await createDataDirectories();
  gateway = await startGatewayProcess({
    dataDirectory: await directories.make(),
    env: {
      DATABASE_URL: database.url,
      SENTINEL_ALLOW_PRIVATE_ENDPOINTS: 'true',
      NODE_OPTIONS: '--inspect=127.0.0.1:0',
    },
  });
  keys = await openShop();
  heap = await openHeap(gateway.stderr());
});

after(async () => {
  heap?.close();
  await directories?.remove();
  seller?.closeAllConnections();
  seller?.close();
  await books?.end();
  await database?.close();
});

test('a thousand clients that hang up at random moments leave no hold open, no credit lost, and nothing behind', async () => {
  const random = seeded(SEED);
  await playAll(drawPlans(random, WARM_UP));
  await settled();
  const before = { bytes: await heap.usedBytes(), resources: await heap.resources() };

  const plans = drawPlans(random, CLIENTS);
  const answers = await playAll(plans);
  await settled();

  assert.ok(gateway.isRunning(), gateway.stderr());
  const after = { bytes: await heap.usedBytes(), resources: await heap.resources() };
  heap.close();
  assert.ok(after.bytes - before.bytes < GROWTH_BYTES, `grew by ${after.bytes - before.bytes} bytes`);
  assert.ok(
    (after.resources['TCPSocketWrap'] ?? 0) <= (before.resources['TCPSocketWrap'] ?? 0) + AT_ONCE,
    `sockets: ${JSON.stringify([before.resources, after.resources])}`,
  );

  // The patient ones are served between all the others, and with their own answer.
  const patient = plans.flatMap((plan, index) =>
    plan.moment === 'never' && plan.agent !== 'agt_fickle_v1' ? [{ plan, text: answers[index] ?? '' }] : [],
  );
  assert.ok(patient.length > CLIENTS / 10);
  for (const { plan, text } of patient) assert.ok(text.includes(`{"text":"${plan.text}"}`), text);

  await assertBooksBalance();
  const errors = gateway.stderr().match(/^.*"level":(50|60).*$/gm) ?? [];
  assert.deepEqual(errors, []);

  gateway.kill('SIGTERM');
  const { code, stderr } = await gateway.ended;
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stderr, /unhandled|UnhandledPromise|MaxListeners/i);
});

function drawPlans(random: () => number, count: number): HangUp[] {
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;
  return Array.from({ length: count }, (_, index) => ({
    wire: pick(WIRES),
    moment: pick(MOMENTS),
    agent: pick(Object.keys(AGENTS)),
    text: `secret ${index} ${Math.floor(random() * 1e9)}`,
    isAbrupt: random() < 0.5,
    where: random(),
  }));
}

/** As many at once as `AT_ONCE`; the next begins when any of them has ended. */
async function playAll(plans: HangUp[]): Promise<string[]> {
  const port = Number(new URL(gateway.url).port);
  const answers: string[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let index = next++; index < plans.length; index = next++) {
        answers[index] = await play(plans[index] as HangUp, {
          port,
          key: keyOf(plans[index] as HangUp, index),
        });
      }
    }),
  );
  return answers;
}

/** No call is running, and every hold is resolved: long before the sweeper would refund what was forgotten. */
async function settled(): Promise<void> {
  const deadline = performance.now() + SETTLED_DEADLINE_MS;
  for (;;) {
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    const running = Number(/^sentinel_open_calls (\d+)$/m.exec(metrics)?.[1]);
    const { rows } = await books.query<{ holds: number }>('SELECT count(*)::int AS holds FROM ledger_holds');
    const holds = rows[0]?.holds;
    if (running === 0 && holds === 0) return;
    assert.ok(performance.now() < deadline, `${running} calls run, ${holds} holds are open`);
    await delay(50);
  }
}

async function assertBooksBalance(): Promise<void> {
  const client = createClient({ url: gateway.url, apiKey: keys[0]?.key });
  // Whoever asks for calls sees them all: this writes down what is still in memory.
  await client.calls.list({ limit: 1 });
  const { rows: outcomes } = await books.query<{
    outcome: string;
    code: string | null;
    calls: number;
    charged: string;
  }>(`SELECT outcome, code, count(*)::int AS calls, sum(charged_micros) AS charged FROM calls GROUP BY 1, 2`);
  const settledCalls = outcomes.find(({ outcome }) => outcome === 'settled');
  const spent = BigInt(settledCalls?.charged ?? 0);
  assert.equal(spent, BigInt((settledCalls?.calls ?? 0) * PRICE) * 1_000_000n);
  // The run has not passed by what it is about: each of the ways a call may end was taken, and no other. A call
  // whose buyer leaves before its hold is refused, which is a matter of luck.
  assert.deepEqual(
    outcomes
      .map(({ outcome, code }) => `${outcome} ${code}`)
      .filter((end) => end !== 'refused CANCELLED')
      .toSorted(),
    ['refunded AGENT_UNREACHABLE', 'refunded CANCELLED', 'settled null'],
  );

  // That a buyer is gone is noticed on every wire, and where one request is one answer also before anything of
  // it has been sent.
  const { rows: noticed } = await books.query<{ key_id: string; agent_id: string }>(
    `SELECT DISTINCT key_id, agent_id FROM calls
      WHERE outcome = 'refunded' AND code = 'CANCELLED' AND agent_id IN ('agt_plain_v1', 'agt_stream_v1')`,
  );
  const wireOf = new Map(keys.map(({ id, wire }) => [id, wire]));
  const places = new Set(noticed.map((call) => `${wireOf.get(call.key_id)} ${call.agent_id}`));
  for (const wire of WIRES) {
    assert.ok(places.has(`${wire} agt_stream_v1`), wire);
    if (wire !== 'old sse') assert.ok(places.has(`${wire} agt_plain_v1`), wire);
  }

  // An agent whose calls run on without their buyer is paid for each that reached it.
  const { rows: kept } = await books.query<{ settled: number; waiting: number }>(
    `SELECT count(*)::int AS settled, count(*) FILTER (WHERE NOT is_delivered)::int AS waiting
       FROM calls WHERE agent_id = 'agt_kept_v1' AND outcome = 'settled'`,
  );
  assert.equal(kept[0]?.settled, keptVisits);
  assert.ok((kept[0]?.waiting ?? 0) > 0);

  const { credits, escrow_credits: escrow } = await client.billing.balance();
  assert.equal(escrow, '0');
  assert.equal(BigInt(credits) * 1_000_000n, BigInt(GRANTED) * 1_000_000n - spent);

  const { rows: wrong } = await books.query(
    `SELECT a.id FROM ledger_accounts a
      WHERE a.held <> 0
         OR a.posted <> (SELECT coalesce(sum(amount), 0) FROM ledger_entries e WHERE e.account = a.id)`,
  );
  assert.deepEqual(wrong, []);
  const { rows: sums } = await books.query('SELECT sum(posted)::text AS sum FROM ledger_accounts');
  assert.deepEqual(sums, [{ sum: '0' }]);
  // One resolution for each call that was held, and the record says the same as the journal.
  const { rows: differing } = await books.query(
    `SELECT c.id FROM calls c FULL JOIN (SELECT * FROM ledger_journal WHERE kind <> 'grant') j ON j.id = c.id
      WHERE c.outcome IS DISTINCT FROM 'refused'
        AND (c.held_micros IS DISTINCT FROM j.held OR c.charged_micros IS DISTINCT FROM j.amount)`,
  );
  assert.deepEqual(differing, []);
}

/** A key is used on one wire only, so that a call's record tells which it came over. */
function keyOf({ wire }: HangUp, index: number): string {
  const ofWire = keys.filter((key) => key.wire === wire);
  return ofWire[index % KEYS_PER_WIRE]?.key ?? '';
}

async function openShop(): Promise<typeof keys> {
  const operator = createClient({ url: gateway.url, apiKey: gateway.operatorKey });
  const shop = await operator.organizations.create('Seller');
  const { port } = seller.address() as AddressInfo;
  for (const [agentId, changes] of Object.entries(AGENTS)) {
    const slug = agentId.slice('agt_'.length, -'_v1'.length);
    const manifest = manifestOf(slug, `http://127.0.0.1:${port}/${slug}`, changes);
    await operator.agents.publish({ manifest: manifest as never, organization_id: shop.id });
    await operator.agents.verify(agentId, 80);
  }
  const buyer = await operator.organizations.create('Buyer');
  await operator.credits.grant({ organization_id: buyer.id, amount: String(GRANTED) });
  const wish = { organization_id: buyer.id, rate_per_minute: 100_000, max_concurrent: 1_000 };
  const wires = Array.from({ length: KEYS_PER_WIRE }, () => WIRES).flat();
  return Promise.all(
    wires.map(async (wire) => {
      const { id, key } = await operator.keys.create(wish);
      return { id, key, wire };
    }),
  );
}

async function answer(
  ...[request, response, speed]: [...Parameters<NonNullable<Parameters<typeof createServer>[1]>>, number]
): Promise<void> {
  const { text } = (await json(request)) as { text: string };
  if (request.url === '/kept') keptVisits += 1;
  // Long enough for a client to leave in between; each seller's server takes its time.
  const pause = (): Promise<void> => delay(speed * 20);
  if (request.url === '/plain') {
    await delay(50);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ text }));
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (let chunk = 1; chunk <= 3; chunk += 1) {
    response.write(`event: chunk\ndata: "chunk ${chunk}"\n\n`);
    await pause();
    if (chunk === 2 && request.url === '/fickle') {
      response.destroy();
      return;
    }
  }
  response.end(`event: done\ndata: ${JSON.stringify({ output: { text } })}\n\n`);
}
