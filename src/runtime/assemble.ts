import type { Hono } from 'hono';
import { createReceipts } from '../audit/receipts.ts';
import { listSigningKeys, registerSigningKey } from '../audit/signing-keys.ts';
import type { Log } from '../base/log.ts';
import { comparePayouts } from '../billing/compare-payouts.ts';
import { compareTopUps } from '../billing/compare-top-ups.ts';
import type { BillingDeps } from '../billing/deps.ts';
import { openStripe, type StripeOptions } from '../billing/stripe.ts';
import type { CallDeps, EndedCall } from '../calls/deps.ts';
import { createFreeCalls } from '../calls/free-calls.ts';
import { createLedgerAccounts } from '../calls/ledger-accounts.ts';
import { createPriceListings } from '../calls/price-listings.ts';
import { reconcile, type Reconcile } from '../calls/reconcile.ts';
import { createCallRecorder } from '../calls/records.ts';
import { createCallResults } from '../calls/results.ts';
import { createRunningCalls } from '../calls/running-calls.ts';
import { loadCatalog, type Catalog } from '../catalog/catalog.ts';
import { readDatabaseClock } from '../db/database-clock.ts';
import type { Database } from '../db/db.ts';
import type { Change, ChangeFeed } from '../db/listen.ts';
import { createAdmission } from '../http/admission.ts';
import { createApp } from '../http/app.ts';
import { createFrontDoor, type FrontDoor } from '../http/front-door.ts';
import { createMetrics, type Metrics } from '../http/metrics.ts';
import { OPERATOR_MAY_ALLOW } from '../http/words.ts';
import { createAuthenticator, type Authenticator } from '../identity/authenticate.ts';
import type { Schedule } from '../jobs/job.ts';
import { createSchedule } from '../jobs/schedule.ts';
import type { Timing } from '../mcp/pulse.ts';
import { createMcpEndpoint, type McpEndpoint } from '../mcp/endpoint.ts';
import { checkEndpointUrl } from '../upstream/address-guard.ts';
import { openWebhooks, type Webhooks } from '../webhooks/deps.ts';
import type { Parts } from './parts-node.ts';
import { VERSION } from './version.ts';

/** What a gateway is told by its operator; no environment, no files. */
export type AssembleOptions = {
  publicUrl: string;
  /** Only this machine can connect to the socket. */
  isBoundLocally: boolean;
  feeBasisPoints: bigint;
  /** Absent: credits cannot be bought, nor earnings paid out. */
  stripe?: StripeOptions | undefined;
  allowedHosts: string[];
  allowedOrigins: string[];
  /** True for an endpoint on a private address that the operator vouches for. */
  allowEndpoint: (url: URL) => boolean;
  log: Log;
  /** Heartbeats of MCP streams; the product's own by default. */
  mcpTiming?: Partial<Timing> | undefined;
  /** Hears of every call that ended, beside the metrics. */
  onEnded?: ((call: EndedCall) => void) | undefined;
};

/** One gateway, built and listening for changes, without a socket and without anything that happens unasked. */
export type Assembled = {
  app: Hono;
  /** What the app does first, and its busiest part, for a server that can do without the app in between. */
  door: FrontDoor;
  mcp: McpEndpoint;
  deps: CallDeps;
  billing: BillingDeps;
  webhooks: Webhooks;
  catalog: Catalog;
  authenticator: Authenticator;
  database: Database;
  metrics: Metrics;
  feed: ChangeFeed;
  /** Every job of this gateway, for a runtime that runs jobs. */
  schedule: Schedule;
};

/** Puts a gateway together on a migrated database: the same rooms whatever runtime the parts come from. */
export async function assemble(parts: Parts, options: AssembleOptions): Promise<Assembled> {
  const { log } = options;
  const { database, clock, key } = parts;
  const metrics = createMetrics();

  // Nothing is trusted from a cache before the feed is up, nor while it is down.
  let feed: ChangeFeed | undefined;
  let catalog: Catalog | undefined;
  const isFeedLive = (): boolean => feed?.isLive() === true;
  const authenticator = createAuthenticator(database.db, isFeedLive);
  const results = createCallResults(database.db, isFeedLive);

  function apply(change: Change): void {
    switch (change.kind) {
      case 'agent':
        return reload(change.id);
      case 'key':
        return authenticator.forget(change.id);
      case 'credits':
        return parts.gate.forgetBalance(BigInt(change.id));
      case 'handover':
        return results.hint(change.id);
    }
  }

  function reload(agentId?: string): void {
    catalog?.refresh(agentId).catch((error: unknown) => {
      log('error', 'the catalogue could not be read again', { agent: agentId, error: String(error) });
    });
  }

  // The feed first and the catalogue second: a change in between is heard, and read again.
  feed = await parts.listen({
    onChange: apply,
    onReconnect: () => {
      authenticator.forgetAll();
      results.hintAll();
      reload();
    },
  });
  await registerSigningKey(database.db, key.publicJwk);
  catalog = await loadCatalog(database.db);

  const deps = assembleCalls(parts, {
    catalog,
    results,
    feeBasisPoints: options.feeBasisPoints,
    log,
    onEnded: (call) => {
      metrics.onEnded(call);
      options.onEnded?.(call);
    },
  });
  const billing: BillingDeps = {
    db: database.db,
    stripe: options.stripe && openStripe(options.stripe),
    publicUrl: options.publicUrl,
    log,
  };
  const webhooks = openWebhooks({ db: database.db, allowEndpoint: options.allowEndpoint, clock, log });
  const compareBooks = bookComparison(billing, metrics);

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
  const mcp = createMcpEndpoint(
    { ...shared, ...(options.mcpTiming ? { timing: options.mcpTiming } : {}) },
    {
      prefix: '/mcp',
      authenticate: ({ header }) =>
        authenticator.authenticate({ authorization: header('authorization'), apiKey: header('x-api-key') }),
      // No `resource_metadata`: hosts that find OAuth metadata ignore the key their user configured.
      challenge: 'Bearer realm="sentinel"',
    },
  );
  const app = createApp({
    ...shared,
    door,
    billing,
    webhooks,
    admission: createAdmission(),
    database,
    metrics,
    reconcile: compareBooks,
    jwks: async () => ({ keys: await listSigningKeys(database.db, key.publicJwk) }),
    checkEndpoint: (url) => endpointFault(url, options.allowEndpoint),
    isFeedLive,
    isBoundLocally: options.isBoundLocally,
    mcp,
  });
  const schedule = createSchedule({
    calls: deps,
    billing,
    webhooks,
    proofs: { db: database.db, issuer: options.publicUrl, key },
    reconcile: compareBooks,
  });
  return {
    app,
    door,
    mcp,
    deps,
    billing,
    webhooks,
    catalog,
    authenticator,
    database,
    metrics,
    feed,
    schedule,
  };
}

/** What the paid call works with, on these parts. */
export function assembleCalls(
  { database, ledger, gate, upstream, key, clock }: Parts,
  own: Pick<CallDeps, 'catalog' | 'results' | 'feeBasisPoints' | 'log' | 'onEnded'>,
): CallDeps {
  const { db } = database;
  return {
    ...own,
    db,
    ledger,
    gate,
    upstream,
    clock,
    accounts: createLedgerAccounts(db),
    prices: createPriceListings(database, clock),
    freeCalls: createFreeCalls(db),
    recorder: createCallRecorder(database, own.log),
    receipts: createReceipts(db, key),
    running: createRunningCalls(),
  };
}

/** Our books against themselves and against Stripe's. */
function bookComparison(billing: BillingDeps, metrics: Metrics): Reconcile {
  const { db, log } = billing;
  return async (limit) => {
    const outside = [
      billing.stripe
        ? { what: 'top-up', compare: () => compareTopUps(billing) }
        : { what: 'Stripe', compare: undefined },
      { what: 'payout', compare: () => comparePayouts(billing) },
    ];
    const found = await reconcile({ db, now: await readDatabaseClock(db), outside, log }, limit);
    metrics.onReconciled(found.count);
    return found;
  };
}

function endpointFault(url: string, allowEndpoint: (url: URL) => boolean): string | undefined {
  const verdict = checkEndpointUrl(url, { allowEndpoint });
  if (verdict.kind === 'ok') return undefined;
  return verdict.operatorMayAllow ? `${verdict.reason}. ${OPERATOR_MAY_ALLOW}` : verdict.reason;
}
