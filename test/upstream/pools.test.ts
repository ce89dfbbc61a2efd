import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { createPools } from '../../src/upstream/pools.ts';
import type { Target } from '../../src/upstream/pools.ts';
import { startRawAgent } from './raw-agent.ts';

function openPools(t: TestContext) {
  const pools = createPools({
    allowEndpoint: (url) => url.hostname === '127.0.0.1',
    maxConnectionsPerOrigin: 1,
    connectTimeoutMs: 1_000,
    sweepEveryMs: 60_000,
  });
  t.after(() => pools.close());
  const target = (url: string): Target => {
    const found = pools.find(url);
    assert.ok(found.kind === 'ok');
    return found.target;
  };
  return { pools, target };
}

test('agents on one origin share its connections; another origin has its own', (t) => {
  const { pools, target } = openPools(t);
  const first = target('https://agent.example/a');
  assert.equal(target('https://agent.example/a'), first);
  assert.equal(target('https://agent.example/b').pool, first.pool);
  assert.notEqual(target('https://agent.example:8443/a').pool, first.pool);
  assert.equal(pools.size(), 2);
});

test('the pool of an agent that is no longer called is closed, that of a busy one stays', (t) => {
  const { pools, target } = openPools(t);
  const gone = target('https://gone.example/');
  const busy = target('http://127.0.0.1:9/');
  pools.sweep();
  assert.equal(target('http://127.0.0.1:9/'), busy);
  pools.sweep();
  assert.equal(pools.size(), 1);
  assert.equal(gone.pool.closed, true);
  assert.equal(target('http://127.0.0.1:9/'), busy);
  assert.notEqual(target('https://gone.example/'), gone);
});

test('a pool with a call under way is never closed', async (t) => {
  const { pools, target } = openPools(t);
  const arrived = Promise.withResolvers<void>();
  const agent = await startRawAgent(t, () => arrived.resolve());
  const { pool, path } = target(agent.url);
  const call = pool.request({ method: 'GET', path }).catch(() => 'ended');
  await arrived.promise;
  pools.sweep();
  pools.sweep();
  assert.equal(pool.closed, false);
  await pools.close();
  assert.equal(await call, 'ended');
});

test('nothing keeps the process alive once the last pool is gone', (t) => {
  const { pools, target } = openPools(t);
  target('https://agent.example/');
  pools.sweep();
  pools.sweep();
  assert.equal(pools.size(), 0);
});
