import { OpenAPIHono } from '@hono/zod-openapi';
import type { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { agentRoutes } from './agents.ts';
import { billingRoutes } from './billing.ts';
import { callRoutes } from './calls.ts';
import { creditRoutes } from './credits.ts';
import type { HttpDeps, HttpEnv } from './deps.ts';
import { docsRoutes } from './docs.ts';
import { frontDoor } from './front-door.ts';
import { invokeRoutes } from './invoke.ts';
import { keyRoutes } from './keys.ts';
import { answerMissing } from './missing.ts';
import { serveOpenApi } from './openapi.ts';
import { organizationRoutes } from './organizations.ts';
import { publishingRoutes } from './publishing.ts';
import { statusRoutes } from './status.ts';
import { systemRoutes } from './system.ts';
import { answerThrown } from './thrown.ts';

export type { HttpDeps } from './deps.ts';

/** Room for a manifest of the largest size and for arguments with a document inside. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;

/** Everything the gateway answers over HTTP, in one place. */
export function createApp(deps: HttpDeps): Hono {
  const app = new OpenAPIHono<HttpEnv>();
  deps.metrics.watch({
    queueDepth: () => deps.calls.ledger.depth(),
    openCalls: () => deps.calls.running.count(),
  });

  // First, so that even a request that is refused or not understood gets an id and its headers.
  app.use(frontDoor(deps));
  // Before a handler reads the body, and only for REST: the MCP endpoint reads and bounds its own.
  app.use('/v1/*', bodyLimit({ maxSize: MAX_BODY_BYTES }));

  // The busiest first: the order costs nothing to read and a little to match.
  app.route('/', deps.mcp);
  app.route('/', agentRoutes(deps));
  app.route('/', invokeRoutes(deps));
  app.route('/', publishingRoutes(deps));
  app.route('/', callRoutes(deps));
  app.route('/', billingRoutes(deps));
  app.route('/', organizationRoutes(deps));
  app.route('/', keyRoutes(deps));
  app.route('/', creditRoutes(deps));
  app.route('/', statusRoutes(deps));
  app.route('/', systemRoutes(deps));
  app.route('/', docsRoutes());
  serveOpenApi(app, deps);

  // Last: whatever nothing above answered, and whatever any of it threw.
  app.notFound(answerMissing(app));
  app.onError(answerThrown(deps.log));
  return app as unknown as Hono;
}
