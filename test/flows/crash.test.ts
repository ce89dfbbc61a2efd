import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createTestDatabase } from '../support/database.ts';
import {
  createDataDirectories,
  runGatewayProcess,
  startGatewayProcess,
  type DataDirectories,
  type GatewayProcess,
} from '../support/gateway-process.ts';
import { manifestOf } from '../support/gateway.ts';
import { countUnrecorded, letTimePass, readBooks, type Books } from './books.ts';
import { seededNumbers, startLoad, type Load } from './load.ts';
import {
  ask,
  newBuyer,
  newOrganization,
  publish,
  startCountingSeller,
  type CountingSeller,
  type Outcome,
} from './market.ts';

const SEED = 20_250_611;
const PRICE = 5;
const GRANTED = 1_000_000;
const BACK_MS = 20_000;

let directories: DataDirectories;
before(async () => {
  directories = await createDataDirectories();
});
after(() => directories.remove());

test('a gateway killed four times under load charges what was answered, once, and gives everything else back', async () => {
  const random = seededNumbers(SEED);
  const database = await createTestDatabase();
  // Work that takes a moment, so that a kill finds calls at every step of their way.
  const seller = await startCountingSeller(() => delay(random(0, 30)));
  const dataDirectory = await directories.make();
  const env = { DATABASE_URL: database.url, SENTINEL_ALLOW_PRIVATE_ENDPOINTS: 'true' };
  let gateway = await startGatewayProcess({ dataDirectory, env });
  const { buyer, load } = await openMarket(() => gateway, seller);
  try {
    for (let kill = 0; kill < 4; kill += 1) {
      await load.more(random(40, 120));
      await delay(random(0, 25));
      gateway.kill('SIGKILL');
      await gateway.ended;
      // The holds it left are found by the next one as those of any process that died a while ago.
      await letTimePass(database.url);
      gateway = await startGatewayProcess({ dataDirectory, env });
    }
    await load.more(50);
    await load.stop();
    await until(async () => (await readBooks(database.url)).openHolds === 0);
    await until(async () => (await countUnrecorded(database.url)) === 0);

    const books = await readBooks(database.url);
    assertExact(books, load, seller);
    assert.ok(books.refunded.size > 0, 'no kill found a call under way');
    assert.equal(await creditsOf(gateway, buyer.key), String(GRANTED - PRICE * books.settled.size));
  } finally {
    gateway.kill('SIGKILL');
    await load.stop();
    await seller.close();
    await gateway.ended;
    await database.close();
  }
});

test('a gateway whose PostgreSQL is killed twice under load stays up; callers wait or are told to try again', async () => {
  const random = seededNumbers(SEED + 1);
  const seller = await startCountingSeller(() => delay(random(0, 30)));
  const dataDirectory = await directories.make();
  const gateway = await startGatewayProcess({
    dataDirectory,
    env: { SENTINEL_ALLOW_PRIVATE_ENDPOINTS: 'true' },
  });
  const { buyer, load } = await openMarket(() => gateway, seller);
  try {
    for (let kill = 0; kill < 2; kill += 1) {
      await load.more(random(40, 120));
      await delay(random(0, 25));
      process.kill((await readEmbedded(dataDirectory)).pid, 'SIGKILL');
      assert.equal((await fetch(`${gateway.url}/health`)).status, 200);
      await load.more(random(40, 120));
    }
    await load.stop();
    const ready = () => fetch(`${gateway.url}/ready`).then(({ status }) => status === 200);
    await until(ready);
    const { url: databaseUrl } = await readEmbedded(dataDirectory);
    await until(async () => (await readBooks(databaseUrl)).openHolds === 0);

    assert.ok(gateway.isRunning());
    const failures = load.purchases.flatMap(({ outcomes }) =>
      outcomes.filter(({ kind }) => kind !== 'answer'),
    );
    assert.deepEqual(
      new Set(failures.map(describe)),
      new Set(failures.length > 0 ? ['UNAVAILABLE, retryable'] : []),
    );
    const books = await readBooks(databaseUrl);
    assertExact(books, load, seller);
    assert.equal(await creditsOf(gateway, buyer.key), String(GRANTED - PRICE * books.settled.size));
    // Also what the outage broke is let go of.
    assert.equal((await gateway.stop()).code, 0);
  } finally {
    gateway.kill('SIGKILL');
    await load.stop();
    await seller.close();
  }
});

test('a gateway that finds no database at its address says so in one sentence and ends', async () => {
  const { code, stdout, stderr } = await runGatewayProcess({
    dataDirectory: await directories.make(),
    env: { DATABASE_URL: 'postgres://somebody:secret@127.0.0.1:1/sentinel' },
  });
  assert.equal(code, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /^PostgreSQL at 127\.0\.0\.1:1 cannot be used \(.*\)\. .*DATABASE_URL\.\n$/);
  assert.doesNotMatch(stderr, /secret/);
});

async function openMarket(gateway: () => GatewayProcess, seller: CountingSeller) {
  const sellerId = await newOrganization(gateway(), 'Seller');
  const agentId = await publish(gateway(), sellerId, manifestOf('echo', seller.url));
  const buyer = await newBuyer(gateway(), String(GRANTED));
  return { buyer, load: startLoad({ url: () => gateway().url, key: buyer.key, agentId }) };
}

/** Nothing lost and nothing double: the books, the buyers' answers and the seller's own list agree. */
function assertExact(books: Books, load: Load, seller: CountingSeller): void {
  assert.deepEqual(books.faults, []);
  assert.equal(books.openHolds, 0);

  const answers = load.purchases.flatMap(({ outcomes }) =>
    outcomes.filter((outcome) => outcome.kind === 'answer'),
  );
  for (const { callId, charged } of answers) {
    assert.ok(books.settled.has(callId), `the answered call ${callId} is not settled`);
    assert.equal(charged, String(PRICE));
  }
  assert.equal(new Set(answers.map(({ callId }) => callId)).size, answers.length);

  const worked = new Set(seller.calls.map(({ callId }) => callId));
  for (const callId of books.settled)
    assert.ok(worked.has(callId), `${callId} is paid and was never forwarded`);
  // A call is forwarded once, whatever happens to the gateway.
  assert.equal(worked.size, seller.calls.length);

  for (const purchase of load.purchases) {
    const paid = seller.calls.filter(
      ({ text, callId }) => text === purchase.text && books.settled.has(callId),
    );
    const wasAnswered = purchase.outcomes.some(({ kind }) => kind === 'answer');
    const isRefused = purchase.outcomes.every(({ kind }) => kind === 'refusal');
    assert.ok(paid.length <= 1, `${purchase.text} was paid ${paid.length} times`);
    if (wasAnswered) assert.equal(paid.length, 1, `${purchase.text} was answered and not paid`);
    if (isRefused) assert.equal(paid.length, 0, `${purchase.text} was refused and paid`);
  }
}

function describe(outcome: Outcome): string {
  if (outcome.kind === 'refusal') return `${outcome.code}, ${outcome.isRetryable ? 'retryable' : 'final'}`;
  return outcome.kind === 'unknown' ? outcome.error : outcome.kind;
}

async function creditsOf({ url }: GatewayProcess, key: string): Promise<unknown> {
  return (await ask({ url, key }, 'GET', '/v1/billing/balance'))['credits'];
}

/** The embedded server as its own files name it: process id on line 1, port on line 4. */
async function readEmbedded(dataDirectory: string): Promise<{ pid: number; url: string }> {
  const lines = (await readFile(join(dataDirectory, 'postgres', 'postmaster.pid'), 'utf8')).split('\n');
  const password = (await readFile(join(dataDirectory, 'postgres-password'), 'utf8')).trim();
  return { pid: Number(lines[0]), url: `postgres://postgres:${password}@127.0.0.1:${lines[3]}/postgres` };
}

/** Asks again and again until it is so. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + BACK_MS; !(await isSo()); await delay(20)) {
    assert.ok(performance.now() < deadline, `not within ${BACK_MS} ms: ${isSo.toString()}`);
  }
}
