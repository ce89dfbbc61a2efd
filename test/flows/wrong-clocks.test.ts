import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { silentLog } from '../../src/base/log.ts';
import { releaseEarnings } from '../../src/billing/earnings.ts';
import { openDatabase } from '../../src/db/db.ts';
import { runSentinel } from '../cli/run-sentinel.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import {
  createDataDirectories,
  startGatewayProcess,
  type DataDirectories,
  type GatewayProcess,
} from '../support/gateway-process.ts';
import { manifestOf } from '../support/gateway.ts';
import { letSalesAge, queryBooks, readBooks } from './books.ts';
import {
  ask,
  call,
  newBuyer,
  newKey,
  newOrganization,
  publish,
  startCountingSeller,
  type Buyer,
  type CountingSeller,
} from './market.ts';

const LONGEST_WAIT_MS = 30_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const WRONG = [
  { what: '240 s ahead', aheadMs: 240_000, found: /240 s ahead of its database/ },
  { what: '8 days ahead', aheadMs: 8 * DAY_MS, found: /691200 s ahead of its database/ },
  { what: 'an hour behind', aheadMs: -HOUR_MS, found: /3600 s behind its database/ },
];
const SCOPES = ['agents:invoke', 'calls:read', 'billing:read', 'billing:write'];

let directories: DataDirectories;
let database: TestDatabase;
let right: GatewayProcess;
let seller: CountingSeller;
let sellerId: string;
let sellerKey: Buyer;
let buyer: Buyer;
let agentId: string;

before(async () => {
  directories = await createDataDirectories();
  database = await createTestDatabase();
  right = await start(0);
  seller = await startCountingSeller();
  sellerId = await newOrganization(right, 'Seller');
  sellerKey = await newKey(right, sellerId, { scopes: SCOPES });
  agentId = await publish(right, sellerId, manifestOf('echo', seller.url));
  buyer = await newBuyer(right, '1000', { scopes: SCOPES });
});
after(async () => {
  await directories.remove();
  await seller.close();
  await database.close();
});

for (const { what, aheadMs, found } of WRONG) {
  test(`a gateway whose clock is ${what} sells, says so, runs no jobs, and keeps nobody from theirs`, async () => {
    const wrong = await start(aheadMs);

    const ready = await readinessOf(wrong);
    assert.deepEqual([ready.httpStatus, ready.status, ready.clock], [200, 'ready', 'off']);
    assert.ok(Math.abs(ready.clock_ahead_ms - aheadMs) < 2_000, String(ready.clock_ahead_ms));
    assert.equal((await readinessOf(right)).clock, 'ok');
    assert.match(wrong.stderr(), /do not agree what time it is; it runs no jobs until they do/);
    assert.doesNotMatch(right.stderr(), /do not agree/);
    const doctor = await runSentinel(['doctor'], {
      SENTINEL_URL: wrong.url,
      SENTINEL_API_KEY: wrong.operatorKey,
    });
    assert.equal(doctor.code, 1);
    assert.match(doctor.stdout, found);
    assert.match(doctor.stdout, /^fail +gateway clock .*Set the clock/m);

    // It sells: what is written of the call is the right time, and its buyer may dispute it for as long as any other.
    const sold = await call(wrong.url, 'rest', { key: buyer.key, agentId, text: what });
    assert.ok(sold.kind === 'answer', JSON.stringify(sold));
    const dispute = await openDispute(wrong, sold.callId);
    assert.ok(Math.abs(Date.parse(dispute.answer_by) - Date.now() - 72 * HOUR_MS) < 60_000);
    await until(async () => {
      const rows = await queryBooks<{ isRight: boolean }>(
        database.url,
        `SELECT bool_and(abs(extract(epoch FROM now() - started_at)) < 60) AS "isRight" FROM calls`,
      );
      return rows[0]?.isRight === true;
    });

    const before = await jobsOf(right);
    await until(async () => (await jobsOf(right)) >= before + 2);
    assert.equal(await jobsOf(wrong), 0);
    assert.equal((await disputeOf(right, dispute.dispute_id)).status, 'open');
    const ended = await wrong.stop();
    assert.equal(ended.code, 0, ended.stderr);
    const after = await jobsOf(right);
    await until(async () => (await jobsOf(right)) >= after + 1);
  });
}

test('what was sold at all of them becomes payable when its week is over, once, and disputes wait for their sellers', async () => {
  const amounts = () =>
    ask<Record<'available' | 'pending', string>>(
      { url: right.url, key: sellerKey.key },
      'GET',
      '/v1/billing/earnings',
    );
  const sold = await call(right.url, 'rest', { key: buyer.key, agentId, text: 'undisputed' });
  assert.equal(sold.kind, 'answer');
  assert.equal((await amounts()).available, '0');
  const connection = openDatabase(database.url, { log: silentLog, maxConnections: 1 });
  try {
    await letSalesAge(database.url, '7 days');
    const deps = { db: connection.db, log: silentLog };
    assert.equal((await releaseEarnings(deps)).releasedMicros, 4_850_000n);
    assert.equal((await releaseEarnings(deps)).releasedMicros, 0n);
  } finally {
    await connection.close();
  }
  const { available, pending } = await amounts();
  assert.deepEqual([available, pending], ['4.85', '0']);
  const { items } = await ask<{ items: { status: string }[] }>(
    { url: right.url, key: sellerKey.key },
    'GET',
    '/v1/billing/disputes?role=seller',
  );
  assert.deepEqual(
    items.map(({ status }) => status),
    WRONG.map(() => 'open'),
  );
  assert.deepEqual((await readBooks(database.url)).faults, []);
});

async function start(clockAheadMs: number): Promise<GatewayProcess> {
  return startGatewayProcess({
    dataDirectory: await directories.make(),
    env: { DATABASE_URL: database.url, SENTINEL_ALLOW_PRIVATE_ENDPOINTS: 'true' },
    clockAheadMs,
  });
}

type Readiness = { status: string; clock: string; clock_ahead_ms: number };

async function readinessOf({ url }: GatewayProcess): Promise<Readiness & { httpStatus: number }> {
  const response = await fetch(`${url}/ready`);
  return { httpStatus: response.status, ...((await response.json()) as Readiness) };
}

/** How many runs of jobs a process has ended. */
async function jobsOf(gateway: GatewayProcess): Promise<number> {
  const text = await (await fetch(`${gateway.url}/metrics`)).text();
  const counts = text.matchAll(/^sentinel_jobs_total\{[^}]*result="completed"\} (\d+)$/gm);
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}

type DisputeView = { dispute_id: string; status: string; answer_by: string };

function openDispute({ url }: GatewayProcess, callId: string): Promise<DisputeView> {
  const claim = { call_id: callId, reason: 'output_defective', description: 'not what was asked' };
  return ask<DisputeView>({ url, key: buyer.key }, 'POST', '/v1/billing/disputes', claim);
}

function disputeOf({ url }: GatewayProcess, id: string): Promise<DisputeView> {
  return ask<DisputeView>({ url, key: buyer.key }, 'GET', `/v1/billing/disputes/${id}`);
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + LONGEST_WAIT_MS; !(await isSo()); await delay(50)) {
    assert.ok(performance.now() < deadline, `never so: ${isSo.toString()}`);
  }
}
