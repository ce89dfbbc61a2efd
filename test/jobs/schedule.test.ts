import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Log } from '../../src/base/log.ts';
import { newSigningKeyPem } from '../../src/identity/signing-key.ts';
import { reconcileLedger } from '../../src/jobs/reconcile-ledger.ts';
import { createSchedule } from '../../src/jobs/schedule.ts';
import { createGateway } from '../../src/runtime/gateway.ts';
import { createTestDatabase } from '../support/database.ts';
import { testKey } from '../support/signing.ts';

const LONGEST_WAIT_MS = 20_000;

test('a gateway runs every job there is, says so in its metrics, and stops in order', async () => {
  const database = await createTestDatabase();
  const lines: string[] = [];
  const log: Log = (level, message, fields) => {
    if (level !== 'info') lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  };
  const gateway = await createGateway({
    databaseUrl: database.url,
    redisUrl: undefined,
    publicUrl: 'http://127.0.0.1:1',
    isBoundLocally: true,
    signingKeyPem: newSigningKeyPem(),
    feeBasisPoints: 300n,
    allowedHosts: [],
    allowedOrigins: [],
    allowEndpoint: () => true,
    runsJobs: true,
    log,
  });
  try {
    const schedule = createSchedule({
      calls: gateway.deps,
      billing: gateway.billing,
      webhooks: gateway.webhooks,
      proofs: {
        db: gateway.database.db,
        issuer: 'http://127.0.0.1:1',
        key: testKey,
      },
      reconcile: () =>
        Promise.resolve({
          checkedAt: new Date(),
          comparisons: [],
          notCompared: [],
          count: 0,
          differences: [],
        }),
    });
    const atIntervals = Object.entries(schedule).filter(([, { repeat }]) => 'everyMs' in repeat);
    const completed = async (): Promise<string[]> => {
      const text = await (await gateway.app.request('/metrics', { headers: { host: '127.0.0.1' } })).text();
      return [...text.matchAll(/^sentinel_jobs_total\{job="([\w-]+)",result="(\w+)"\} \d+$/gm)].map(
        ([, job, result]) => `${job} ${result}`,
      );
    };
    const expected = atIntervals.map(([name]) => `${name} completed`).sort();
    for (const deadline = performance.now() + LONGEST_WAIT_MS; ; await delay(20)) {
      const found = await completed();
      if (found.length >= expected.length) {
        assert.deepEqual(found.sort(), expected);
        break;
      }
      assert.ok(
        performance.now() < deadline,
        `only ${found.join()} of ${expected.join()}; ${lines.join('\n')}`,
      );
    }
    for (const [, { repeat, run }] of Object.entries(schedule)) if ('cron' in repeat) await run('by hand');
    const { rows } = await gateway.database.pool.query('SELECT 1 FROM proofs');
    assert.equal(rows.length, 1);
  } finally {
    await gateway.close(5_000);
    await database.close();
  }
  assert.deepEqual(lines, []);
});

test('differences between the books are logged one by one', async () => {
  const lines: string[] = [];
  const difference = { what: 'account balance', id: '7', expected: '10', found: '11' };
  await reconcileLedger(
    () =>
      Promise.resolve({
        checkedAt: new Date(),
        comparisons: [{ what: 'account balance', count: 1 }],
        notCompared: [{ what: 'payout', why: 'failed' }],
        count: 1,
        differences: [difference],
      }),
    (level, message, fields) => lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
  );
  assert.deepEqual(lines, [
    `error the books do not agree ${JSON.stringify(difference)}`,
    'warn books were not compared {"books":"payout"}',
    'error the books were compared {"comparisons":1,"differences":1}',
  ]);
});
