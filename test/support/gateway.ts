import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Hono } from 'hono';
import { newId } from '../../src/base/ids.ts';
import { silentLog, type Log } from '../../src/base/log.ts';
import { parseCredits } from '../../src/base/money.ts';
import type { CallDeps, EndedCall } from '../../src/calls/deps.ts';
import { issueKey, type KeyWish } from '../../src/governance/issue-key.ts';
import type { Manifest } from '../../src/catalog/agent.ts';
import { type Catalog } from '../../src/catalog/catalog.ts';
import { publishAgent } from '../../src/catalog/publish.ts';
import { verifyAgent } from '../../src/catalog/standing.ts';
import { type Database } from '../../src/db/db.ts';
import { type Authenticator } from '../../src/identity/authenticate.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { getBalance, grantCredits, type Balance } from '../../src/ledger/accounts.ts';
import type { Timing } from '../../src/mcp/pulse.ts';
import { createGateway } from '../../src/runtime/gateway.ts';
import { createSocket } from '../../src/runtime/socket.ts';
import { testKeyPem } from './signing.ts';
import { createTestDatabase } from './database.ts';

/** A key to call with, and where its organization's money is. */
export type Buyer = { organizationId: string; keyId: string; key: string; headers: Record<string, string> };

/** A real gateway in this process: its MCP endpoint on a random port, its own database, real upstream calls. */
export type TestGateway = {
  url: string;
  app: Hono;
  deps: CallDeps;
  catalog: Catalog;
  database: Database;
  authenticator: Authenticator;
  /** Every call that ended, refusals included, in the order they did. */
  ended: EndedCall[];
  /** An organization with this many credits, and a key of it. */
  newBuyer(credits?: string, wish?: Partial<KeyWish>): Promise<Buyer>;
  /** Another key of the same organization. */
  newKey(buyer: Buyer, wish?: Partial<KeyWish>): Promise<Buyer>;
  publish(manifest: Manifest, score?: number): Promise<string>;
  balanceOf(buyer: Buyer): Promise<Balance>;
  close(): Promise<void>;
};

export async function startTestGateway(
  options: { timing?: Partial<Timing>; log?: Log } = {},
): Promise<TestGateway> {
  const log = options.log ?? silentLog;
  const testDatabase = await createTestDatabase();
  const ended: EndedCall[] = [];
  const gateway = await createGateway({
    databaseUrl: testDatabase.url,
    redisUrl: undefined,
    publicUrl: 'http://localhost',
    isBoundLocally: true,
    signingKeyPem: testKeyPem,
    feeBasisPoints: 300n,
    allowedHosts: [],
    allowedOrigins: [],
    allowEndpoint: () => true,
    maxConnections: 6,
    mcpTiming: options.timing,
    onEnded: (call) => ended.push(call),
    log,
  });
  const { app, deps, catalog, database, authenticator } = gateway;
  const socket = createSocket(log);
  socket.answerWith(gateway);
  const { server } = socket;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const sellerId = await database.db.transaction(async (tx) => (await insertOrganization(tx, 'Seller')).id);

  async function addKey(organizationId: string, wish: Partial<KeyWish>): Promise<Buyer> {
    const { id, key } = await issueKey(database.db, {
      currency: 'live',
      ratePerMinute: 1_000_000,
      maxConcurrent: 10_000,
      ...wish,
      organizationId,
    });
    return { organizationId, keyId: id, key, headers: { authorization: `Bearer ${key}` } };
  }

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    app,
    deps,
    catalog,
    database,
    authenticator,
    ended,
    newBuyer: async (credits = '1000', wish = {}) => {
      const organizationId = await database.db.transaction(async (tx) => {
        const { id } = await insertOrganization(tx, 'Buyer');
        const amountMicros = parseCredits(credits) ?? 0n;
        if (amountMicros > 0n) {
          const grant = {
            id: newId('txn'),
            organizationId: id,
            currency: wish.currency ?? 'live',
            amountMicros,
          };
          await grantCredits(tx, grant);
        }
        return id;
      });
      return addKey(organizationId, wish);
    },
    newKey: (buyer, wish = {}) => addKey(buyer.organizationId, wish),
    publish: async (manifest, score = 80) => {
      const request = { organizationId: sellerId, manifest, checkEndpoint: () => undefined };
      const { agentId } = await database.db.transaction((tx) => publishAgent(tx, request));
      await database.db.transaction((tx) => verifyAgent(tx, { agentId, score }));
      await catalog.refresh(agentId);
      return agentId;
    },
    balanceOf: async (buyer) => {
      const caller = await authenticator.authenticate({ authorization: undefined, apiKey: buyer.key });
      return getBalance(database.db, caller.accountId);
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await gateway.close(1_000);
      await testDatabase.close();
    },
  };
}

/** A seller's small server. `requests` counts what reached it. */
export type TestSeller = { url: string; requests: number; close(): Promise<void> };

/** `answer` gets the parsed JSON body; what it returns is sent as JSON, unless it has answered itself. */
export async function startSeller(
  answer: (input: Record<string, unknown>, request: IncomingMessage, response: ServerResponse) => unknown,
): Promise<TestSeller> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      seller.requests += 1;
      const input = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
      void Promise.resolve(answer(input, request, response)).then((output) => {
        if (output === undefined) return;
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(JSON.stringify(output));
      });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const seller: TestSeller = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    requests: 0,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return seller;
}

/** A manifest that says as little as it may; `changes` say the rest. */
export function manifestOf(slug: string, url: string, changes: Partial<Manifest> = {}): Manifest {
  return {
    schema_version: '1.0',
    agent_id: `agt_${slug}_v1`,
    display_name: `Agent ${slug}`,
    description: 'Repeats the text it is given, so that a test can see what arrived where and what it cost.',
    version: '1.0.0',
    category: 'other',
    pricing: { model: 'per_call', credits_per_call: '5' },
    endpoint: { protocol: 'http', url },
    input_schema: {
      type: 'object',
      properties: { text: { type: 'string' } },
      required: ['text'],
      additionalProperties: false,
    },
    output_schema: {
      type: 'object',
      properties: { text: { type: 'string' } },
      required: ['text'],
      additionalProperties: false,
    },
    ...changes,
  };
}
