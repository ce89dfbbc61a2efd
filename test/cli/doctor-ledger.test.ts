import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startRestGateway, type RestGateway } from '../http/rest-gateway.ts';
import { runSentinel, type Ran } from './run-sentinel.ts';

let rest: RestGateway;
before(async () => {
  rest = await startRestGateway();
  await rest.newMember('10');
});
after(() => rest.close());

const doctor = (...args: string[]): Promise<Ran> =>
  runSentinel(['doctor', '--ledger', ...args], {
    SENTINEL_URL: rest.url,
    SENTINEL_API_KEY: rest.operator.key,
  });

/** Changes a balance by what no movement accounts for. */
async function shift(micros: number): Promise<void> {
  await rest.gateway.database.pool.query(
    `UPDATE ledger_accounts SET posted = posted + $1 WHERE kind = 'balance' AND posted > 0`,
    [micros],
  );
}

test('books that agree are said to, and what was not compared as well', async () => {
  const { code, stdout, stderr } = await doctor();
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^Stripe: not configured, not compared\.$/m);
  assert.match(stdout, /^The books agree: \d+ comparisons, no difference\.$/m);
  const { difference_count, not_compared } = (await doctor('--json')).json();
  assert.deepEqual([difference_count, not_compared], [0, [{ what: 'Stripe', why: 'not configured' }]]);
});

test('each difference is a row, and the command fails', async () => {
  await shift(500_000);
  try {
    const human = await doctor();
    assert.equal(human.code, 1);
    assert.match(human.stdout, /^WHAT +ID +EXPECTED +FOUND$/m);
    assert.match(human.stdout, /^account balance +\d+ +10 +10\.5$/m);
    assert.match(human.stdout, /^balance total +live +0 +0\.5$/m);
    assert.equal(human.stderr, 'The books do not agree: 2 differences.\n');
    const json = await doctor('--json');
    assert.equal(json.code, 1);
    assert.equal(json.json().difference_count, 2);
    assert.deepEqual(json.json().differences[0], {
      what: 'balance total',
      id: 'live',
      expected: '0',
      found: '0.5',
    });
  } finally {
    await shift(-500_000);
  }
});

test('only the operator may look at the books', async () => {
  const { key } = await rest.newMember();
  const environment = { SENTINEL_URL: rest.url, SENTINEL_API_KEY: key };
  const { code, stderr } = await runSentinel(['doctor', '--ledger'], environment);
  assert.equal(code, 1);
  assert.match(stderr, /lacks the scope operator/);
});
