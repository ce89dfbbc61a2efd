import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import {
  createDataDirectories,
  startGatewayProcess,
  type DataDirectories,
  type GatewayProcess,
} from '../support/gateway-process.ts';
import { manifestOf } from '../support/gateway.ts';
import { skipWithoutRedisServer, startRedis, type OwnRedis } from '../support/redis.ts';
import { queryBooks, readBooks } from './books.ts';
import {
  ask,
  asOperator,
  call,
  newBuyer,
  newKey,
  newOrganization,
  publish,
  startCountingSeller,
  type CountingSeller,
  type Outcome,
} from './market.ts';

// A change travels in a notification, within milliseconds. Caches that only grew old would take ten seconds.
const NOTIFIED_MS = 3_000;
const BACK_MS = 15_000;

let directories: DataDirectories;
let database: TestDatabase;
let redis: OwnRedis;
let one: GatewayProcess;
let other: GatewayProcess;
let seller: CountingSeller;
let sellerId: string;
let agentId: string;
/** What the seller does with a text before it answers; by default, nothing. */
const work = new Map<string, () => Promise<void>>();

before(async () => {
  if (skipWithoutRedisServer !== false) return;
  directories = await createDataDirectories();
  database = await createTestDatabase();
  redis = await startRedis();
  const env = {
    DATABASE_URL: database.url,
    REDIS_URL: redis.url,
    SENTINEL_ALLOW_PRIVATE_ENDPOINTS: 'true',
  };
  const [first, second] = [await directories.make(), await directories.make()];
  [one, other] = await Promise.all([
    startGatewayProcess({ dataDirectory: first, env }),
    startGatewayProcess({ dataDirectory: second, env }),
  ]);
  seller = await startCountingSeller((text) => work.get(text)?.());
  sellerId = await newOrganization(one, 'Seller');
  agentId = await publish(one, sellerId, manifestOf('echo', seller.url));
  await until(async () => (await search(other)).includes(agentId), NOTIFIED_MS);
});
after(async () => {
  if (skipWithoutRedisServer !== false) return;
  await directories.remove();
  await redis.kill();
  await seller.close();
  await database.close();
});

const options = { skip: skipWithoutRedisServer };

test('a key revoked at one process is refused by the other as soon as it hears of it', options, async () => {
  const buyer = await newBuyer(one, '100');
  const wanted = { key: buyer.key, agentId, text: 'before' };
  assert.equal((await call(other.url, 'rest', wanted)).kind, 'answer');

  await asOperator(one, 'DELETE', `/v1/keys/${buyer.keyId}`);
  assert.equal(codeOf(await call(one.url, 'rest', wanted)), 'UNAUTHENTICATED');
  await until(
    async () => codeOf(await call(other.url, 'rest', { ...wanted, text: 'after' })) === 'UNAUTHENTICATED',
    NOTIFIED_MS,
  );
  assert.equal(codeOf(await call(other.url, 'mcp', wanted)), 'UNAUTHENTICATED');
});

test(
  'an agent suspended at one process is gone from the other, and comes back when resumed',
  options,
  async () => {
    const buyer = await newBuyer(one, '100');
    const listed = await publish(one, sellerId, manifestOf('passing', seller.url));
    const wanted = { key: buyer.key, agentId: listed, text: 'passing' };
    await until(async () => (await call(other.url, 'mcp', wanted)).kind === 'answer', NOTIFIED_MS);

    await asOperator(one, 'PUT', `/v1/agents/${listed}/suspension`);
    await until(async () => codeOf(await call(other.url, 'mcp', wanted)) === 'NOT_FOUND', NOTIFIED_MS);
    assert.ok(!(await search(other)).includes(listed));

    await asOperator(one, 'DELETE', `/v1/agents/${listed}/suspension`);
    await until(async () => (await call(other.url, 'rest', wanted)).kind === 'answer', NOTIFIED_MS);
  },
);

test('a rate limit counts the calls of both processes', options, async () => {
  const buyer = await newBuyer(one, '100', { rate_per_minute: 4 });
  const outcomes = await onBoth(12, (url, index) =>
    call(url, wireOf(index), { key: buyer.key, agentId, text: `rate ${index}` }),
  );
  assert.equal(outcomes.filter(({ kind }) => kind === 'answer').length, 4);
  assert.deepEqual(codesOf(outcomes), new Set(['RATE_LIMITED']));
});

test(
  'a concurrency limit counts the running calls of both processes, and frees their places',
  options,
  async () => {
    const buyer = await newBuyer(one, '100', { max_concurrent: 3 });
    const pause = holdBack(['busy 0', 'busy 1', 'busy 2']);
    const busy = onBoth(3, (url, index) =>
      call(url, wireOf(index), { key: buyer.key, agentId, text: `busy ${index}` }),
    );
    await until(() => Promise.resolve(seen('busy') === 3), NOTIFIED_MS);
    for (const { url } of [one, other]) {
      assert.equal(
        codeOf(await call(url, 'rest', { key: buyer.key, agentId, text: 'one too many' })),
        'RATE_LIMITED',
      );
    }
    pause.release();
    assert.ok((await busy).every(({ kind }) => kind === 'answer'));

    // Leaving is told to Redis behind the answer.
    await until(
      async () =>
        (await call(other.url, 'rest', { key: buyer.key, agentId, text: 'free' })).kind === 'answer',
      NOTIFIED_MS,
    );
  },
);

test('caps are never overrun by parallel calls on both processes', options, async () => {
  for (const cap of ['cap_day', 'cap_month', 'cap_total']) {
    const buyer = await newBuyer(one, '1000', { [cap]: '52' });
    const outcomes = await onBoth(40, (url, index) =>
      call(url, wireOf(index), { key: buyer.key, agentId, text: `${cap} ${index}` }),
    );
    assert.equal(outcomes.filter(({ kind }) => kind === 'answer').length, 10, cap);
    assert.equal(seen(cap), 10);
    assert.deepEqual(codesOf(outcomes), new Set(['BUDGET_EXCEEDED']));
    assert.equal(await creditsOf(buyer.key), '950');
  }
});

test('one balance is never overspent from two processes', options, async () => {
  const buyer = await newBuyer(one, '50');
  const outcomes = await onBoth(60, (url, index) =>
    call(url, wireOf(index), { key: buyer.key, agentId, text: `spend ${index}` }),
  );
  assert.equal(outcomes.filter(({ kind }) => kind === 'answer').length, 10);
  assert.equal(seen('spend'), 10);
  assert.deepEqual(codesOf(outcomes), new Set(['PAYMENT_REQUIRED']));
  assert.equal(await creditsOf(buyer.key), '0');
});

test('one idempotency key on both processes at once is one purchase', options, async () => {
  const buyer = await newBuyer(one, '100');
  const idempotencyKey = randomUUID();
  const wanted = { key: buyer.key, agentId, text: 'once', idempotencyKey };
  const outcomes = await onBoth(12, (url, index) => call(url, wireOf(index), wanted));

  assert.equal(seen('once'), 1);
  assert.deepEqual(
    new Set(outcomes.map((outcome) => (outcome.kind === 'answer' ? outcome.callId : JSON.stringify(outcome))))
      .size,
    1,
    JSON.stringify(outcomes),
  );
  assert.ok(outcomes.some((outcome) => outcome.kind === 'answer' && !outcome.isReplay));
  assert.equal(await creditsOf(buyer.key), '95');
  for (const { url } of [one, other]) {
    const elsewise = await call(url, 'mcp', { ...wanted, text: 'something else' });
    assert.equal(codeOf(elsewise), 'IDEMPOTENCY_CONFLICT');
  }
  assert.equal(await creditsOf(buyer.key), '95');
});

test('an answer its buyer never got at one process is handed over free by the other', options, async () => {
  const runsOn = await publish(
    one,
    sellerId,
    manifestOf('runs_on', seller.url, { capabilities: { keep_running: true } }),
  );
  await until(async () => (await search(other)).includes(runsOn), NOTIFIED_MS);
  for (const wire of ['rest', 'mcp'] as const) {
    const buyer = await newBuyer(one, '100');
    const text = `left behind over ${wire}`;
    const pause = holdBack([text]);
    const hangUp = new AbortController();
    const left = call(one.url, wire, { key: buyer.key, agentId: runsOn, text, signal: hangUp.signal });
    await until(() => Promise.resolve(seen(text) === 1), NOTIFIED_MS);
    hangUp.abort();
    assert.equal((await left).kind, 'unknown');
    // Until the first process has seen that its buyer is gone, the same call elsewhere is another purchase.
    await until(async () => (await countExpected(database.url)) === 1, NOTIFIED_MS);

    const again = call(other.url, wire, { key: buyer.key, agentId: runsOn, text });
    pause.release();
    const handedOver = await again;
    assert.ok(handedOver.kind === 'answer' && handedOver.isReplay, JSON.stringify(handedOver));
    assert.equal(seen(text), 1);
    assert.equal(await creditsOf(buyer.key), '95');

    const next = await call(other.url, wire, { key: buyer.key, agentId: runsOn, text });
    assert.ok(next.kind === 'answer' && !next.isReplay, 'what was handed over once is not handed over again');
    assert.equal(await creditsOf(buyer.key), '90');
  }
});

test(
  'Redis dies under load: calls go on, readiness says so, and not a credit is lost or spent twice',
  options,
  async () => {
    const buyer = await newBuyer(one, '100000');
    const stopped = new AbortController();
    let answered = 0;
    const failures: Outcome[] = [];
    const workers = Array.from({ length: 12 }, async (_, index) => {
      const { url } = index % 2 === 0 ? one : other;
      for (let round = 0; !stopped.signal.aborted; round += 1) {
        const text = `load ${index} ${round}`;
        const outcome = await call(url, wireOf(index >> 1), { key: buyer.key, agentId, text });
        if (outcome.kind === 'answer') answered += 1;
        else failures.push(outcome);
      }
    });
    const reach = (count: number) => until(() => Promise.resolve(answered >= count), BACK_MS);

    await reach(100);
    assert.deepEqual(await limitsOfBoth(), ['shared', 'shared']);
    await redis.kill();
    await reach(answered + 200);
    assert.deepEqual(await limitsOfBoth(), ['degraded', 'degraded']);
    redis = await startRedis(redis.port);
    await until(async () => (await limitsOfBoth()).every((limits) => limits === 'shared'), BACK_MS);
    await reach(answered + 100);
    stopped.abort();
    await Promise.all(workers);

    assert.deepEqual(failures, []);
    assert.equal(await creditsOf(buyer.key), String(100_000 - 5 * answered));
    const books = await readBooks(database.url);
    assert.deepEqual([books.faults, books.openHolds], [[], 0]);

    // Shared again in deed and not only in name.
    const limited = await newKey(one, buyer.organizationId, { rate_per_minute: 4 });
    const outcomes = await onBoth(12, (url, index) =>
      call(url, wireOf(index), { key: limited.key, agentId, text: `again ${index}` }),
    );
    assert.equal(outcomes.filter(({ kind }) => kind === 'answer').length, 4);
  },
);

/** Calls in parallel, every other one on either process. */
function onBoth(count: number, make: (url: string, index: number) => Promise<Outcome>): Promise<Outcome[]> {
  return Promise.all(
    Array.from({ length: count }, (_, index) => make(index % 2 === 0 ? one.url : other.url, index)),
  );
}

/** Both wires on both processes. */
function wireOf(index: number) {
  return index % 4 < 2 ? 'rest' : 'mcp';
}

/** The seller does not answer these texts before they are released. */
function holdBack(texts: string[]): { release(): void } {
  let release: () => void = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  for (const text of texts) work.set(text, () => released);
  return {
    release: () => {
      for (const text of texts) work.delete(text);
      release();
    },
  };
}

/** How many calls with such a text reached the seller. */
function seen(text: string): number {
  return seller.calls.filter((known) => known.text.startsWith(text)).length;
}

async function creditsOf(key: string): Promise<unknown> {
  return (await ask({ url: other.url, key }, 'GET', '/v1/billing/balance'))['credits'];
}

async function search(gateway: GatewayProcess): Promise<string> {
  return JSON.stringify(await asOperator(gateway, 'GET', '/v1/agents/search?limit=50'));
}

/** Calls that run on without their buyer, as every process can see. */
async function countExpected(databaseUrl: string): Promise<number> {
  const sql = 'SELECT count(*)::int AS count FROM call_results WHERE answer IS NULL';
  return (await queryBooks<{ count: number }>(databaseUrl, sql))[0]?.count ?? 0;
}

async function limitsOfBoth(): Promise<unknown[]> {
  return Promise.all(
    [one, other].map(async ({ url }) => {
      const response = await fetch(`${url}/ready`);
      assert.equal(response.status, 200);
      return ((await response.json()) as { limits: string }).limits;
    }),
  );
}

function codeOf(outcome: Outcome): string {
  return outcome.kind === 'refusal' ? outcome.code : outcome.kind;
}

/** The codes of everything but answers. */
function codesOf(outcomes: Outcome[]): Set<string> {
  return new Set(outcomes.filter(({ kind }) => kind !== 'answer').map(codeOf));
}

/** Asks again and again until it is so. */
async function until(isSo: () => Promise<boolean>, withinMs: number): Promise<void> {
  for (const deadline = performance.now() + withinMs; !(await isSo()); await turn()) {
    assert.ok(performance.now() < deadline, `not within ${withinMs} ms: ${isSo.toString()}`);
  }
}
