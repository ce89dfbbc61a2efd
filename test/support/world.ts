import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { newId } from '../../src/base/ids.ts';
import { invariant } from '../../src/base/invariant.ts';
import type { Json } from '../../src/base/json.ts';
import { silentLog } from '../../src/base/log.ts';
import { parseCredits } from '../../src/base/money.ts';
import type { CallResult, PaidCallRequest } from '../../src/calls/call.ts';
import type { CallDeps } from '../../src/calls/deps.ts';
import { issueKey, type KeyWish } from '../../src/governance/issue-key.ts';
import { handlePaidCall } from '../../src/calls/paid-call.ts';
import { findCall, type CallView } from '../../src/calls/records.ts';
import { createCallResults } from '../../src/calls/results.ts';
import { DEFAULT_FILTERS } from '../../src/catalog/agent.ts';
import { loadCatalog, type Catalog } from '../../src/catalog/catalog.ts';
import { publishAgent } from '../../src/catalog/publish.ts';
import { verifyAgent } from '../../src/catalog/standing.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { createAuthenticator } from '../../src/identity/authenticate.ts';
import type { Caller } from '../../src/identity/caller.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { findAccount, grantCredits } from '../../src/ledger/accounts.ts';
import { createTestDatabase } from './database.ts';
import { testKeyPem } from './signing.ts';
import { assembleCalls } from '../../src/runtime/assemble.ts';
import { openNodeParts } from '../../src/runtime/parts-node.ts';

/** One request that reached the seller and waits for what the test says. */
export type Visit = {
  input: Json;
  headers: IncomingMessage['headers'];
  answer(output: Json, headers?: Record<string, string>): void;
  response: ServerResponse;
  /** Resolves when the gateway has let go of the connection. */
  gone: Promise<void>;
};

/** A real small HTTP seller. Without `automatic`, every visit waits for the test. */
export type Seller = {
  url: string;
  visits: Visit[];
  automatic: ((visit: Visit) => void) | undefined;
  /** The n-th visit (from 0), once it has come. */
  visit(n: number): Promise<Visit>;
};

/** One gateway process below its wires: what `handlePaidCall` works with. */
export type Process = CallDeps & { catalog: Catalog; database: Database; close(): Promise<void> };

/** What the books say about one organization's money, in micro-credits. */
export type Money = { posted: bigint; held: bigint; earned: bigint; fees: bigint };

/** One database, one seller, and as many gateway processes as a test wants. */
export type World = {
  url: string;
  database: Database;
  seller: Seller & { close(): void };
  process: Process;
  openProcess(changes?: Partial<CallDeps>): Promise<Process>;
  newCaller(credits: string, wish?: Partial<KeyWish>): Promise<Caller>;
  publish(changes?: Record<string, unknown>, score?: number): Promise<string>;
  money(caller: Caller): Promise<Money>;
  /** The record of the newest call of this caller. */
  lastRecord(caller: Caller, process?: Process): Promise<CallView>;
  records(caller: Caller, process?: Process): Promise<CallView[]>;
  close(): Promise<void>;
};

export async function openWorld(): Promise<World> {
  const testDatabase = await createTestDatabase();
  const database = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 4 });
  const seller = await startSeller();
  const sellerId = await database.db.transaction(async (tx) => (await insertOrganization(tx, 'Seller')).id);
  const processes: Process[] = [];
  let published = 0;

  async function openProcess(changes: Partial<CallDeps> = {}): Promise<Process> {
    const parts = await openNodeParts({
      databaseUrl: testDatabase.url,
      signingKeyPem: testKeyPem,
      allowEndpoint: () => true,
      maxConnections: 8,
      log: silentLog,
    });
    const { database: own, ledger, upstream } = parts;
    const catalog = await loadCatalog(own.db);
    const deps = assembleCalls(parts, {
      catalog,
      results: createCallResults(own.db, () => true),
      feeBasisPoints: 300n,
      log: silentLog,
      onEnded: () => {},
    });
    const opened: Process = {
      ...deps,
      database: own,
      ...changes,
      catalog,
      close: async () => {
        processes.splice(processes.indexOf(opened), 1);
        await opened.running.drain(0);
        await opened.recorder.flushed();
        await ledger.close();
        await upstream.close();
        parts.clock.close();
        await own.close();
      },
    };
    processes.push(opened);
    return opened;
  }

  const process = await openProcess();
  const authenticator = createAuthenticator(database.db, () => false);

  async function records(caller: Caller, at: Process = process): Promise<CallView[]> {
    await at.recorder.flushed();
    const { rows } = await database.pool.query<{ id: string }>(
      'SELECT id FROM calls WHERE key_id = $1 ORDER BY id DESC',
      [caller.keyId],
    );
    const found = await Promise.all(
      rows.map(({ id }) => findCall(database.db, `call_${id.replaceAll('-', '')}`, undefined)),
    );
    return found.filter((view) => view !== undefined);
  }

  return {
    url: testDatabase.url,
    database,
    seller,
    process,
    openProcess,
    newCaller: async (credits, wish = {}) => {
      const amountMicros = parseCredits(credits) ?? 0n;
      const currency = wish.currency ?? 'live';
      const { id: organizationId } = await database.db.transaction((tx) => insertOrganization(tx, 'Buyer'));
      if (amountMicros > 0n) {
        await database.db.transaction((tx) =>
          grantCredits(tx, { id: newId('txn'), organizationId, currency, amountMicros }),
        );
      }
      const { key } = await issueKey(database.db, {
        currency,
        maxConcurrent: 10_000,
        ...wish,
        organizationId,
      });
      return authenticator.authenticate({ authorization: `Bearer ${key}`, apiKey: undefined });
    },
    publish: async (changes = {}, score = 80) => {
      published += 1;
      const manifest = { ...manifestOf(`agt_test_${published}_v1`, seller.url), ...changes };
      const request = { organizationId: sellerId, manifest, checkEndpoint: () => undefined };
      const { agentId } = await database.db.transaction((tx) => publishAgent(tx, request));
      await database.db.transaction((tx) => verifyAgent(tx, { agentId, score }));
      for (const each of processes) await each.catalog.refresh(agentId);
      return agentId;
    },
    money: async (caller) => {
      const earnings = await findAccount(database.db, sellerId, caller.currency, 'earnings');
      const { rows } = await database.pool.query<{
        posted: string;
        held: string;
        earned: string;
        fees: string;
      }>(
        `SELECT a.posted, a.held,
           (SELECT coalesce(sum(amount - fee), 0) FROM ledger_journal WHERE debit = a.id AND credit = $2) AS earned,
           (SELECT coalesce(sum(fee), 0) FROM ledger_journal WHERE debit = a.id) AS fees
         FROM ledger_accounts a WHERE a.id = $1`,
        [caller.accountId, earnings ?? 0n],
      );
      invariant(rows[0], 'a caller has an account');
      const { posted, held, earned, fees } = rows[0];
      return { posted: BigInt(posted), held: BigInt(held), earned: BigInt(earned), fees: BigInt(fees) };
    },
    records,
    lastRecord: async (caller, at) => {
      const [newest] = await records(caller, at);
      invariant(newest, 'the caller has made a call');
      return newest;
    },
    close: async () => {
      while (processes[0]) await processes[0].close();
      seller.close();
      await database.close();
      await testDatabase.close();
    },
  };
}

/** A paid call with everything a test does not care about filled in. */
export function call(
  deps: CallDeps,
  caller: Caller,
  agentId: string,
  changes: Partial<PaidCallRequest> = {},
): Promise<CallResult> {
  return handlePaidCall(
    {
      agentId,
      input: { question: 'how?' },
      filters: DEFAULT_FILTERS,
      wire: 'mcp',
      requestId: 'req_1',
      signal: new AbortController().signal,
      ...changes,
    },
    caller,
    deps,
  );
}

/** How a call ended, in one word: `answer`, `replay` or the problem's code. */
export function endOf(result: CallResult): string {
  if (result.kind === 'problem') return result.problem.code;
  return result.isReplay ? 'replay' : 'answer';
}

/** An agent at 10 credits that takes `{question}` and promises `{answer}`. */
export function manifestOf(agentId: string, url: string): Record<string, unknown> {
  return {
    schema_version: '1.0',
    agent_id: agentId,
    display_name: 'Test agent',
    description: 'An agent of the tests: it answers the question it is asked, in one short sentence.',
    version: '1.0.0',
    category: 'other',
    pricing: { model: 'per_call', credits_per_call: '10' },
    endpoint: { protocol: 'http', url, timeout_ms: 30_000, max_payload_bytes: 100_000 },
    input_schema: {
      type: 'object',
      properties: { question: { type: 'string' } },
      required: ['question'],
      additionalProperties: false,
    },
    output_schema: { type: 'object', properties: { answer: { type: 'string' } }, required: ['answer'] },
  };
}

async function startSeller(): Promise<Seller & { close(): void }> {
  const waiting: { n: number; resolve(visit: Visit): void }[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      const visit: Visit = {
        input: JSON.parse(body) as Json,
        headers: request.headers,
        answer: (output, headers = {}) => {
          response.writeHead(200, { 'content-type': 'application/json', ...headers });
          response.end(JSON.stringify(output));
        },
        response,
        gone: new Promise((resolve) => response.once('close', resolve)),
      };
      seller.visits.push(visit);
      seller.automatic?.(visit);
      for (const { n, resolve } of waiting) if (n === seller.visits.length - 1) resolve(visit);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const seller = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    visits: [] as Visit[],
    automatic: undefined as Seller['automatic'],
    visit: (n: number): Promise<Visit> => {
      const visit = seller.visits[n];
      return visit ? Promise.resolve(visit) : new Promise((resolve) => waiting.push({ n, resolve }));
    },
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  return seller;
}
