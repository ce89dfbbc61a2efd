import { setTimeout as wait } from 'node:timers/promises';
import type { Hono } from 'hono';
import { createReceipts } from '../audit/receipts.ts';
import { listSigningKeys, registerSigningKey } from '../audit/signing-keys.ts';
import type { Log } from '../base/log.ts';
import type { BillingDeps } from '../billing/deps.ts';
import { comparePayouts } from '../billing/compare-payouts.ts';
import { compareTopUps } from '../billing/compare-top-ups.ts';
import { openStripe, type StripeOptions } from '../billing/stripe.ts';
import { createFreeCalls } from '../calls/free-calls.ts';
import { createLedgerAccounts } from '../calls/ledger-accounts.ts';
import { createPriceListings } from '../calls/price-listings.ts';
import { reconcile, type Reconciliation } from '../calls/reconcile.ts';
import { createCallRecorder } from '../calls/records.ts';
import { createCallResults } from '../calls/results.ts';
import { createRunningCalls } from '../calls/running-calls.ts';
import type { CallDeps } from '../calls/deps.ts';
import { loadCatalog, type Catalog } from '../catalog/catalog.ts';
import { openDatabase, type Database } from '../db/db.ts';
import { readDatabaseClock } from '../db/database-clock.ts';
import { watchDatabaseClock } from '../db/watch-database-clock.ts';
import { listenForChanges, type Change, type ChangeFeed } from '../db/listen.ts';
import { createMemoryGate } from '../governance/memory-gate.ts';
import { createRedisGate } from '../governance/redis-gate.ts';
import { createAdmission } from '../http/admission.ts';
import { createApp } from '../http/app.ts';
import { createFrontDoor, type FrontDoor } from '../http/front-door.ts';
import { createMetrics } from '../http/metrics.ts';
import { OPERATOR_MAY_ALLOW } from '../http/words.ts';
import { createAuthenticator } from '../identity/authenticate.ts';
import { createSigner } from '../identity/signer.ts';
import { readSigningKey } from '../identity/signing-key.ts';
import { startJobs } from '../jobs/jobs.ts';
import { createSchedule } from '../jobs/schedule.ts';
import { createLedger } from '../ledger/ledger.ts';
import { createMcpEndpoint, type McpEndpoint } from '../mcp/routes.ts';
import { checkEndpointUrl } from '../upstream/address-guard.ts';
import { createUpstream } from '../upstream/node-upstream.ts';
import { createRequestSigner } from '../upstream/signature.ts';
import { openWebhooks, type Webhooks } from '../webhooks/deps.ts';
import { startHousekeeping } from './housekeeping.ts';
import { LIMITS } from './config.ts';
import { letCallsDieYoung } from './garbage.ts';
import { VERSION } from './version.ts';

/** What a gateway is built from; no environment, no files. */
export type GatewayOptions = {
  databaseUrl: string;
  redisUrl: string | undefined;
  publicUrl: string;
  /** Only this machine can connect to the socket. */
  isBoundLocally: boolean;
  signingKeyPem: string;
  feeBasisPoints: bigint;
  /** Absent: credits cannot be bought, nor earnings paid out. */
  stripe?: StripeOptions | undefined;
  allowedHosts: string[];
  allowedOrigins: string[];
  /** True for an endpoint on a private address that the operator vouches for. */
  allowEndpoint: (url: URL) => boolean;
  log: Log;
  /** Where our keys in Redis live; tests use their own. */
  redisPrefix?: string;
  /** Several processes may run jobs; where none does, what jobs do waits. */
  runsJobs?: boolean;
};

/** One gateway process, without its socket: everything built, loaded and listening for changes. */
export type Gateway = {
  app: Hono;
  /** What the app does first, and its busiest part, for a server that can do without the app in between. */
  door: FrontDoor;
  mcp: McpEndpoint;
  deps: CallDeps;
  billing: BillingDeps;
  webhooks: Webhooks;
  catalog: Catalog;
  database: Database;
  /**
   * Lets running calls end, refunds what has not ended after `graceMs`, writes everything down, and lets go
   * of every connection. Whoever owns the socket has stopped accepting before.
   */
  close(graceMs?: number): Promise<void>;
};

/** Builds a gateway on a migrated database. */
export async function createGateway(options: GatewayOptions): Promise<Gateway> {
  const { log } = options;
  letCallsDieYoung();
  const database = openDatabase(options.databaseUrl, { log, maxConnections: LIMITS.databaseConnections });
  const clock = await watchDatabaseClock(database, { log });
  const metrics = createMetrics();
  const local = createMemoryGate(clock);
  const gate = options.redisUrl
    ? createRedisGate(options.redisUrl, local, {
        log,
        ...(options.redisPrefix ? { prefix: options.redisPrefix } : {}),
      })
    : local;

  // Nothing is trusted from a cache before the feed is up, nor while it is down.
  let feed: ChangeFeed | undefined;
  const isFeedLive = (): boolean => feed?.isLive() === true;
  const authenticator = createAuthenticator(database.db, isFeedLive);
  const results = createCallResults(database.db, isFeedLive);
  const ledger = createLedger(database, log);
  const signingKey = readSigningKey(options.signingKeyPem);
  const sign = createSigner(signingKey.privateKey);
  const upstream = createUpstream({
    allowEndpoint: options.allowEndpoint,
    signer: createRequestSigner({ keyId: signingKey.keyId, sign, clock }),
    log,
  });

  // The feed first and the catalogue second: a change in between is heard, and read again.
  let catalog: Catalog | undefined;
  feed = await listenForChanges(options.databaseUrl, {
    log,
    onChange: (change) => apply(change),
    onReconnect: () => {
      authenticator.forgetAll();
      results.hintAll();
      reload();
    },
  });

  function apply(change: Change): void {
    switch (change.kind) {
      case 'agent':
        return reload(change.id);
      case 'key':
        return authenticator.forget(change.id);
      case 'credits':
        return gate.forgetBalance(BigInt(change.id));
      case 'handover':
        return results.hint(change.id);
    }
  }

  function reload(agentId?: string): void {
    catalog?.refresh(agentId).catch((error: unknown) => {
      log('error', 'the catalogue could not be read again', { agent: agentId, error: String(error) });
    });
  }

  await registerSigningKey(database.db, signingKey.publicJwk);
  catalog = await loadCatalog(database.db);
  const deps: CallDeps = {
    db: database.db,
    catalog,
    ledger,
    accounts: createLedgerAccounts(database.db),
    prices: createPriceListings(database),
    freeCalls: createFreeCalls(database.db),
    gate,
    upstream,
    recorder: createCallRecorder(database, log),
    results,
    receipts: createReceipts(database.db, { keyId: signingKey.keyId, sign }),
    running: createRunningCalls(),
    feeBasisPoints: options.feeBasisPoints,
    clock,
    log,
    onEnded: metrics.onEnded,
  };

  const billing: BillingDeps = {
    db: database.db,
    stripe: options.stripe && openStripe(options.stripe),
    publicUrl: options.publicUrl,
    log,
  };

  const webhooks = openWebhooks({ db: database.db, allowEndpoint: options.allowEndpoint, clock, log });

  const compareBooks = async (limit: number): Promise<Reconciliation> => {
    const outside = [
      billing.stripe
        ? { what: 'top-up', compare: () => compareTopUps(billing) }
        : { what: 'Stripe', compare: undefined },
      { what: 'payout', compare: () => comparePayouts(billing) },
    ];
    const found = await reconcile(
      { db: database.db, now: await readDatabaseClock(database.db), outside, log },
      limit,
    );
    metrics.onReconciled(found.count);
    return found;
  };

  const shared = {
    calls: deps,
    catalog,
    authenticator,
    publicUrl: options.publicUrl,
    log,
    clock,
    version: VERSION,
  };
  const door = createFrontDoor(options);
  const mcp = createMcpEndpoint(shared);
  const app = createApp({
    ...shared,
    door,
    billing,
    webhooks,
    admission: createAdmission(),
    database,
    metrics,
    reconcile: compareBooks,
    jwks: async () => ({ keys: await listSigningKeys(database.db, signingKey.publicJwk) }),
    checkEndpoint: (url) => endpointFault(url, options.allowEndpoint),
    isFeedLive,
    isBoundLocally: options.isBoundLocally,
    mcp: mcp.routes,
  });
  const housekeeping = startHousekeeping(deps, log);
  const jobs = options.runsJobs
    ? startJobs({
        store: {
          databaseUrl: options.databaseUrl,
          redisUrl: options.redisUrl,
          redisPrefix: `${options.redisPrefix ?? 'sentinel:'}jobs`,
        },
        schedule: createSchedule({
          calls: deps,
          billing,
          webhooks,
          proofs: {
            db: database.db,
            issuer: options.publicUrl,
            key: { keyId: signingKey.keyId, sign },
          },
          reconcile: compareBooks,
        }),
        clock,
        log,
        onEnded: (job) => metrics.onJobEnded(job, clock.now()),
      })
    : undefined;

  return {
    app,
    door,
    mcp,
    deps,
    billing,
    webhooks,
    catalog,
    database,
    close: async (graceMs = LIMITS.shutdownGraceMs) => {
      // A refund that cannot reach the database is tried for ever. What is then still on hold, the sweeper gives back.
      const lastMs = graceMs + LIMITS.lastRefundsMs;
      const jobsStopped = jobs?.stop(graceMs);
      await Promise.race([deps.running.drain(graceMs), wait(lastMs, undefined, { ref: false })]);
      const left = deps.running.count();
      if (left > 0) log('error', 'stopped with calls on hold; they will be refunded later', { count: left });
      await housekeeping.stop();
      await jobsStopped;
      await webhooks.close();
      await ledger.close();
      await deps.recorder.flushed();
      clock.close();
      await Promise.allSettled([upstream.close(), gate.close(), feed?.close()]);
      await database.close();
    },
  };
}

function endpointFault(url: string, allowEndpoint: (url: URL) => boolean): string | undefined {
  const verdict = checkEndpointUrl(url, { allowEndpoint });
  if (verdict.kind === 'ok') return undefined;
  return verdict.operatorMayAllow ? `${verdict.reason}. ${OPERATOR_MAY_ALLOW}` : verdict.reason;
}
