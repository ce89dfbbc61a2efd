import { OpenAPIHono } from '@hono/zod-openapi';
import type { Context, Hono } from 'hono';
import { agentRoutes } from './agents.ts';
import { billingRoutes } from './billing.ts';
import { autoTopUpRoutes } from './auto-top-up.ts';
import { billingCapRoutes } from './billing-caps.ts';
import { billingPages } from './billing-pages.ts';
import { billingStatementRoutes } from './billing-statement.ts';
import { billingUsageRoutes } from './billing-usage.ts';
import { limitBody, plainLimit, type BodyLimit } from './body-limit.ts';
import { callRoutes } from './calls.ts';
import { creditRoutes } from './credits.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { disputeRoutes } from './disputes.ts';
import { docsRoutes } from './docs.ts';
import { earningsRoutes } from './earnings.ts';
import { INVOKE_PATH, invokeRoutes } from './invoke.ts';
import { keyRoutes } from './keys.ts';
import { loadRoutes } from './loads.ts';
import { mcpRoutes } from './mcp-routes.ts';
import { answerMissing } from './missing.ts';
import { serveOpenApi } from './openapi.ts';
import { organizationRoutes } from './organizations.ts';
import { proofRoutes } from './proofs.ts';
import { payoutAccountRoutes } from './payout-account.ts';
import { payoutRoutes } from './payouts.ts';
import { publishingRoutes } from './publishing.ts';
import { receiptRoutes } from './receipts.ts';
import { reconciliationRoutes } from './reconciliation.ts';
import { statusRoutes } from './status.ts';
import { STRIPE_WEBHOOK_PATH, stripeWebhookRoutes } from './stripe-webhook.ts';
import { systemRoutes } from './system.ts';
import { answerThrown } from './thrown.ts';
import { webhookDeliveryRoutes } from './webhook-deliveries.ts';
import { webhookRoutes } from './webhooks.ts';

export type { HttpDeps } from './deps.ts';

/** Room for a manifest of the largest size. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;

/** What is asked of billing is a few lines; only Stripe's own events are longer. */
const MAX_BILLING_BODY_BYTES = 64 * 1024;

/** Everything the gateway answers over HTTP, in one place. */
export function createApp(deps: HttpDeps): Hono {
  const app = new OpenAPIHono<HttpEnv>();
  deps.metrics.watch({
    queueDepth: () => deps.calls.ledger.depth(),
    openCalls: () => deps.calls.running.count(),
  });

  // First, so that even a request that is refused or not understood gets an id and its headers.
  app.use(deps.door.middleware);
  // Before a handler reads the body, and only for REST: the MCP endpoint reads and bounds its own.
  app.use('/v1/*', limitBody(limitOf));

  // The busiest first: the order costs nothing to read and a little to match.
  app.route('/', mcpRoutes(deps.mcp));
  app.route('/', agentRoutes(deps));
  app.route('/', invokeRoutes(deps));
  app.route('/', publishingRoutes(deps));
  app.route('/', callRoutes(deps));
  app.route('/', billingRoutes(deps));
  app.route('/', loadRoutes(deps));
  app.route('/', autoTopUpRoutes(deps));
  app.route('/', stripeWebhookRoutes(deps));
  app.route('/', billingUsageRoutes(deps));
  app.route('/', billingStatementRoutes(deps));
  app.route('/', billingCapRoutes(deps));
  app.route('/', disputeRoutes(deps));
  app.route('/', earningsRoutes(deps));
  // The account first, or it would be taken for a payout's id.
  app.route('/', payoutAccountRoutes(deps));
  app.route('/', payoutRoutes(deps));
  app.route('/', receiptRoutes(deps));
  app.route('/', proofRoutes(deps));
  app.route('/', webhookRoutes(deps));
  app.route('/', webhookDeliveryRoutes(deps));
  app.route('/', organizationRoutes(deps));
  app.route('/', keyRoutes(deps));
  app.route('/', creditRoutes(deps));
  app.route('/', statusRoutes(deps));
  app.route('/', reconciliationRoutes(deps));
  app.route('/', systemRoutes(deps));
  app.route('/', docsRoutes());
  app.route('/', billingPages());
  serveOpenApi(app, deps);

  // Last: whatever nothing above answered, and whatever any of it threw.
  app.notFound(answerMissing(app));
  app.onError(answerThrown(deps.log));
  return app as unknown as Hono;
}

/** How much each address takes; a call has the limit of its agent, which is looked up behind the key. */
function limitOf(c: Context<HttpEnv>): BodyLimit | undefined {
  const { path } = c.req;
  if (INVOKE_PATH.test(path)) return undefined;
  const isSmall = /^\/v1\/(billing|webhooks)(\/|$)/.test(path) && path !== STRIPE_WEBHOOK_PATH;
  return plainLimit(isSmall ? MAX_BILLING_BODY_BYTES : MAX_BODY_BYTES);
}
