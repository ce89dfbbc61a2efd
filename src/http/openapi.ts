import type { OpenAPIHono } from '@hono/zod-openapi';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { describeWebhooks } from './webhook-events.ts';

type Document = ReturnType<OpenAPIHono<HttpEnv>['getOpenAPI31Document']>;

/** What routes are grouped by, those first that most readers look for. */
const TAGS = [
  { name: 'agents', description: 'What is for sale, and calling it' },
  { name: 'calls', description: 'What became of calls' },
  { name: 'billing', description: 'Credits: bought, spent, limited, disputed and accounted for' },
  { name: 'earnings', description: 'What selling brings, and its way to your bank' },
  { name: 'webhooks', description: 'Being told what happens; what is sent is at the end, under Webhooks' },
  { name: 'publishing', description: 'Putting an agent up for sale' },
  { name: 'operator', description: 'For whoever runs this gateway' },
  { name: 'system', description: 'Whether it runs' },
];

/** `/openapi.json`: made of the very definitions that check the requests, once, when first asked for. */
export function serveOpenApi(app: OpenAPIHono<HttpEnv>, deps: HttpDeps): void {
  let document: Document | undefined;
  app.openAPIRegistry.registerComponent('securitySchemes', 'apiKey', {
    type: 'http',
    scheme: 'bearer',
    description: 'An API key, sk_live_… or sk_test_…; also accepted in the header X-API-Key.',
  });
  describeWebhooks(app);
  app.get('/openapi.json', (c) => {
    document ??= app.getOpenAPI31Document({
      openapi: '3.1.0',
      info: {
        title: 'Sentinel',
        version: deps.version,
        description:
          'Find paid agents, call them, and see what it cost. Amounts are decimal strings of credits (1 credit = US$0.01). Lists are cursor pages. Errors are problem details (RFC 9457) with a stable `code`.',
      },
      servers: [{ url: deps.publicUrl }],
      tags: TAGS,
    });
    return c.json(document);
  });
}
