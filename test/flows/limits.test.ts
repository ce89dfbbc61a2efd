import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { manifestOf } from '../support/gateway.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import {
  createDataDirectories,
  startGatewayProcess,
  type DataDirectories,
  type GatewayProcess,
} from '../support/gateway-process.ts';
import { readBooks } from './books.ts';
import { ask, call, newBuyer, newOrganization, publish, startCountingSeller } from './market.ts';

const CALLS = 200;
const AFFORDABLE = 10;

let directories: DataDirectories;
let database: TestDatabase;
let gateway: GatewayProcess;
before(async () => {
  directories = await createDataDirectories();
  database = await createTestDatabase();
  gateway = await startGatewayProcess({
    dataDirectory: await directories.make(),
    env: { DATABASE_URL: database.url, SENTINEL_ALLOW_PRIVATE_ENDPOINTS: 'true' },
  });
});
after(async () => {
  await directories.remove();
  await database.close();
});

test('of 200 calls at once on a balance for 10, exactly 10 reach the agent, over either wire', async () => {
  // The seller answers nobody until everyone who is refused has been: all 200 are under way together.
  let refused = 0;
  let releaseAll: () => void = () => {};
  const allRefused = new Promise<void>((resolve) => {
    releaseAll = resolve;
  });
  const seller = await startCountingSeller(() => {
    if (seller.calls.length > AFFORDABLE) releaseAll();
    return allRefused;
  });
  try {
    const agentId = await publish(
      gateway,
      await newOrganization(gateway, 'Seller'),
      manifestOf('echo', seller.url),
    );
    const buyer = await newBuyer(gateway, String(5 * AFFORDABLE));

    const outcomes = await Promise.all(
      Array.from({ length: CALLS }, async (_, index) => {
        const wire = index % 2 === 0 ? 'rest' : 'mcp';
        const outcome = await call(gateway.url, wire, { key: buyer.key, agentId, text: `call ${index}` });
        if (outcome.kind !== 'answer' && ++refused === CALLS - AFFORDABLE) releaseAll();
        return outcome;
      }),
    );

    const answers = outcomes.filter((outcome) => outcome.kind === 'answer');
    assert.equal(answers.length, AFFORDABLE);
    assert.equal(seller.calls.length, AFFORDABLE);
    const refusals = outcomes.filter((outcome) => outcome.kind !== 'answer');
    assert.deepEqual(
      new Set(refusals.map((outcome) => (outcome.kind === 'refusal' ? outcome.code : outcome.error))),
      new Set(['PAYMENT_REQUIRED']),
    );
    const balance = await ask({ ...gateway, key: buyer.key }, 'GET', '/v1/billing/balance');
    assert.deepEqual([balance['credits'], balance['escrow_credits']], ['0', '0']);
    const books = await readBooks(database.url);
    assert.deepEqual(books.faults, []);
    assert.deepEqual(books.settled, new Set(answers.map(({ callId }) => callId)));
  } finally {
    releaseAll();
    await seller.close();
  }
});
