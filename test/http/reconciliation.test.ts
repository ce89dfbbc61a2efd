import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startRestGateway, type RestGateway } from './rest-gateway.ts';

let rest: RestGateway;
before(async () => {
  rest = await startRestGateway();
});
after(() => rest.close());

const compare = (query = '') => rest.send('GET', `/v1/reconciliation${query}`, { key: rest.operator.key });
const metric = async (): Promise<string | undefined> =>
  /^sentinel_ledger_differences (\d+)$/m.exec((await rest.send('GET', '/metrics')).text)?.[1];

test('the operator is told of every difference, and so are the metrics once the books were compared', async () => {
  assert.equal(await metric(), undefined);
  const well = await compare();
  assert.equal(well.status, 200);
  assert.deepEqual([well.body.difference_count, well.body.differences], [0, []]);
  assert.equal(await metric(), '0');

  const [one, two] = [await rest.newMember('10'), await rest.newMember('20')];
  const owners = [one.organizationId, two.organizationId];
  await rest.gateway.database.pool.query(
    `UPDATE ledger_accounts SET posted = posted + 1 WHERE organization_id = ANY ($1) AND kind = 'balance'`,
    [owners],
  );
  const wrong = await compare();
  assert.equal(wrong.body.difference_count, 3);
  assert.equal(wrong.body.differences.length, 3);
  const counted = wrong.body.comparisons.filter(
    (each: { difference_count: number }) => each.difference_count > 0,
  );
  assert.deepEqual(counted, [
    { what: 'balance total', difference_count: 1 },
    { what: 'account balance', difference_count: 2 },
  ]);
  assert.equal(await metric(), '3');

  const some = await compare('?limit=1');
  assert.equal(some.body.difference_count, 3);
  assert.equal(some.body.differences.length, 2);
});

test('a limit that is none is refused', async () => {
  for (const query of ['?limit=0', '?limit=all', '?most=5']) {
    const { status, body } = await compare(query);
    assert.deepEqual([status, body.code], [400, 'INVALID_INPUT']);
  }
});
