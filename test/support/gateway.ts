import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Hono } from 'hono';
import { createReceipts } from '../../src/audit/receipts.ts';
import { systemClock } from '../../src/base/clock.ts';
import { newId } from '../../src/base/ids.ts';
import { silentLog, type Log } from '../../src/base/log.ts';
import { parseCredits } from '../../src/base/money.ts';
import type { CallDeps, EndedCall } from '../../src/calls/deps.ts';
import { issueKey, type KeyWish } from '../../src/calls/issue-key.ts';
import { createFreeCalls } from '../../src/calls/free-calls.ts';
import { createLedgerAccounts } from '../../src/calls/ledger-accounts.ts';
import { createPriceListings } from '../../src/calls/price-listings.ts';
import { createCallRecorder } from '../../src/calls/records.ts';
import { createCallResults } from '../../src/calls/results.ts';
import { createRunningCalls } from '../../src/calls/running-calls.ts';
import type { Manifest } from '../../src/catalog/agent.ts';
import { loadCatalog, type Catalog } from '../../src/catalog/catalog.ts';
import { publishAgent } from '../../src/catalog/publish.ts';
import { verifyAgent } from '../../src/catalog/standing.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { createMemoryGate } from '../../src/governance/memory-gate.ts';
import type { HttpEnv } from '../../src/http/deps.ts';
import { createFrontDoor } from '../../src/http/front-door.ts';
import { createAuthenticator, type Authenticator } from '../../src/identity/authenticate.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { getBalance, grantCredits, type Balance } from '../../src/ledger/accounts.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import { DEFAULT_TIMING, type Timing } from '../../src/mcp/pulse.ts';
import { createMcpEndpoint } from '../../src/mcp/routes.ts';
import { createSocket } from '../../src/runtime/socket.ts';
import { createUpstream } from '../../src/upstream/node-upstream.ts';
import { testKey } from './signing.ts';
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
  const database = openDatabase(testDatabase.url, { log, maxConnections: 6 });
  const clock = systemClock;
  const authenticator = createAuthenticator(database.db, () => true);
  const catalog = await loadCatalog(database.db);
  const ledger = createLedger(database, log);
  const upstream = createUpstream({ allowEndpoint: () => true, log });
  const ended: EndedCall[] = [];
  const deps: CallDeps = {
    db: database.db,
    catalog,
    ledger,
    accounts: createLedgerAccounts(database.db),
    prices: createPriceListings(database, clock),
    freeCalls: createFreeCalls(database.db),
    gate: createMemoryGate(clock),
    upstream,
    recorder: createCallRecorder(database, log),
    results: createCallResults(database.db, () => true),
    receipts: createReceipts(database.db, testKey),
    running: createRunningCalls(),
    feeBasisPoints: 300n,
    clock,
    log,
    onEnded: (call) => ended.push(call),
  };
  const publicUrl = 'http://localhost';
  const mcp = createMcpEndpoint({
    calls: deps,
    catalog,
    authenticator,
    publicUrl,
    log,
    clock,
    version: '0.0.0',
    timing: { ...DEFAULT_TIMING, ...options.timing },
  });
  const door = createFrontDoor({ publicUrl, allowedHosts: [], allowedOrigins: [] });
  const app = new Hono<HttpEnv>().use(door.middleware).route('/', mcp.routes) as unknown as Hono;
  const socket = createSocket(log);
  socket.answerWith({ app, door, mcp });
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
      await deps.running.drain(1_000);
      await deps.recorder.flushed();
      await ledger.close();
      await upstream.close();
      await database.close();
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
