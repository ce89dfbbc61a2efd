import type { Log } from '../base/log.ts';
import type { BillingDeps } from '../billing/deps.ts';
import type { CallDeps } from '../calls/deps.ts';
import type { Reconcile } from '../calls/reconcile.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { CheckEndpoint } from '../catalog/publish.ts';
import type { Database } from '../db/db.ts';
import type { WatchedClock } from '../db/watch-database-clock.ts';
import type { Authenticator } from '../identity/authenticate.ts';
import type { McpEndpoint } from '../mcp/endpoint.ts';
import type { WebhookDeps } from '../webhooks/deps.ts';
import type { Admission } from './admission.ts';
import type { FrontDoor } from './front-door.ts';
import type { Metrics } from './metrics.ts';

/** What the HTTP surface works with; built once, in runtime/. */
export type HttpDeps = {
  calls: CallDeps;
  billing: BillingDeps;
  database: Database;
  catalog: Catalog;
  authenticator: Authenticator;
  /** The origin clients reach us at, without a trailing slash. */
  publicUrl: string;
  door: FrontDoor;
  /** The public half of every key anything was ever signed with, the key of today first, as a JWK set. */
  jwks(): Promise<object>;
  checkEndpoint: CheckEndpoint;
  /** False while changes made by other processes do not reach this one. */
  isFeedLive(): boolean;
  /** Only this machine can connect to us. */
  isBoundLocally: boolean;
  webhooks: Pick<WebhookDeps, 'sender'>;
  admission: Admission;
  reconcile: Reconcile;
  version: string;
  log: Log;
  clock: Pick<WatchedClock, 'now' | 'elapsed' | 'aheadMs' | 'wasRight'>;
  metrics: Metrics;
  mcp: McpEndpoint;
};
