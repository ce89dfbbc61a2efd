import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readKeySet, type KeySet } from '../../src/client/key-set.ts';
import { verifyReceipt } from '../../src/client/verify-receipt.ts';
import { createTestDatabase } from '../support/database.ts';
import {
  createDataDirectories,
  startGatewayProcess,
  type DataDirectories,
  type GatewayProcess,
} from '../support/gateway-process.ts';
import { manifestOf, startSeller } from '../support/gateway.ts';
import { ask, newBuyer, newOrganization, publish } from '../flows/market.ts';

let directories: DataDirectories;
before(async () => {
  directories = await createDataDirectories();
});
after(() => directories.remove());

async function keysOf(gateway: GatewayProcess): Promise<{ kids: string[]; keys: KeySet }> {
  const text = await (await fetch(`${gateway.url}/.well-known/jwks.json`)).text();
  const set = JSON.parse(text) as { keys: { kid: string }[] };
  return { kids: set.keys.map(({ kid }) => kid), keys: readKeySet(text) };
}

test('a gateway whose key was taken away makes another; old receipts stay valid and are given again under the new one', async () => {
  const database = await createTestDatabase();
  const seller = await startSeller(({ text }) => ({ text }));
  const dataDirectory = await directories.make();
  const env = { DATABASE_URL: database.url, SENTINEL_ALLOW_PRIVATE_ENDPOINTS: 'true' };
  let gateway = await startGatewayProcess({ dataDirectory, env });
  try {
    const agentId = await publish(
      gateway,
      await newOrganization(gateway, 'Seller'),
      manifestOf('old', seller.url),
    );
    const buyer = await newBuyer(gateway, '100');
    const paid = await ask({ url: gateway.url, key: buyer.key }, 'POST', `/v1/agents/${agentId}/invoke`, {
      inputs: { text: 'hi' },
    });
    const old = paid['receipt'] as { jws: string; call_id: string };
    const first = await keysOf(gateway);
    assert.equal(first.kids.length, 1);

    assert.equal((await gateway.stop()).code, 0);
    await rm(join(dataDirectory, 'signing-key.pem'));
    gateway = await startGatewayProcess({ dataDirectory, env });

    const now = await keysOf(gateway);
    assert.equal(now.kids.length, 2);
    assert.equal(now.kids[1], first.kids[0]);
    assert.notEqual(now.kids[0], first.kids[0]);
    const before = verifyReceipt({ jws: old.jws }, now.keys);
    const again = await ask(
      { url: gateway.url, key: buyer.key },
      'GET',
      `/v1/billing/receipts/${old.call_id}`,
    );
    const after = verifyReceipt({ jws: String(again['jws']) }, now.keys);
    assert.deepEqual([before.keyId, after.keyId], [now.kids[1], now.kids[0]]);
    assert.deepEqual(after.receipt, before.receipt);
    assert.equal(after.hash, before.hash);
    // Who still has yesterday's key set only is told that the key is not in it.
    assert.throws(() => verifyReceipt({ jws: String(again['jws']) }, first.keys), /not in the key set/);
  } finally {
    gateway.kill('SIGKILL');
    await gateway.ended;
    await seller.close();
    await database.close();
  }
});
