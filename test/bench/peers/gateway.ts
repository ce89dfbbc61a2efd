import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { newId } from '../../../src/base/ids.ts';
import { silentLog } from '../../../src/base/log.ts';
import { issueKey } from '../../../src/governance/issue-key.ts';
import { openDatabase } from '../../../src/db/db.ts';
import { insertOrganization } from '../../../src/identity/organizations.ts';
import { newSigningKeyPem } from '../../../src/identity/signing-key.ts';
import { grantCredits } from '../../../src/ledger/accounts.ts';
import { createGateway } from '../../../src/runtime/gateway.ts';
import { createSocket } from '../../../src/runtime/socket.ts';
import { serveAsChild } from '../child.ts';
import { seedAgents, seedId } from '../seed-agents.ts';

// The real gateway, complete: authentication, schema check, limits, ledger, signature, record, metrics.
const databaseUrl = process.env['BENCH_DATABASE'] ?? '';
const database = openDatabase(databaseUrl, { log: silentLog, maxConnections: 2 });
const { db } = database;
const seller = await db.transaction((tx) => insertOrganization(tx, 'seller'));
const buyer = await db.transaction((tx) => insertOrganization(tx, 'buyer'));
await seedAgents(database.pool, seller.id, Number(process.env['BENCH_AGENTS'] ?? '10'), {
  url: process.env['UPSTREAM'] ?? '',
  protocol: process.env['BENCH_PROTOCOL'] === 'http' ? 'http' : 'mcp',
  streaming: process.env['BENCH_STREAMING'] === 'true',
});
const { key } = await issueKey(db, {
  organizationId: buyer.id,
  currency: 'test',
  ratePerMinute: 100_000_000,
  maxConcurrent: 100_000,
});
await db.transaction((tx) =>
  grantCredits(tx, {
    id: newId('txn'),
    organizationId: buyer.id,
    currency: 'test',
    amountMicros: 1_000_000_000_000n,
  }),
);
await database.close();

const socket = createSocket(silentLog);
socket.server.listen(0, '127.0.0.1');
await once(socket.server, 'listening');
const origin = `http://127.0.0.1:${(socket.server.address() as AddressInfo).port}`;
const gateway = await createGateway({
  databaseUrl,
  isBoundLocally: true,
  redisUrl: process.env['BENCH_REDIS'] || undefined,
  publicUrl: origin,
  signingKeyPem: newSigningKeyPem(),
  feeBasisPoints: 300n,
  allowedHosts: ['127.0.0.1'],
  allowedOrigins: [],
  allowEndpoint: () => true,
  log: silentLog,
});
socket.answerWith(gateway);
serveAsChild({ url: `${origin}/mcp`, origin, key, tool: `sentinel_${seedId(0)}` });
