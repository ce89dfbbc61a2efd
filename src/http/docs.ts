import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { Hono } from 'hono';
import { Problem } from '../base/problem.ts';
import type { HttpEnv } from './env.ts';

const TYPES: Record<string, string> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Sentinel API</title>
    <link rel="icon" href="/docs/favicon-32x32.png">
    <link rel="stylesheet" href="/docs/swagger-ui.css">
    <style>
      /* No answer of ours has links, and on a telephone their column takes a third of the width. */
      .swagger-ui .response-col_links { display: none; }
    </style>
  </head>
  <body>
    <div id="reference"></div>
    <script src="/docs/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
`;

const START = `SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#reference',
  deepLinking: true,
  validatorUrl: null,
  // The list of schemas is closed: it is as long as the reference itself.
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
});
`;

// Scripts only from here; Swagger UI sets styles inline and draws its icons from data URLs. A key that is
// typed in must not leave for anywhere else, and nobody may frame the page it is typed into.
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** The readable API reference: Swagger UI from this machine, without a single request elsewhere. */
export function docsRoutes(): Hono<HttpEnv> {
  const routes = new Hono<HttpEnv>();
  routes.get('/docs', (c) => {
    c.header('content-security-policy', POLICY);
    c.header('referrer-policy', 'no-referrer');
    return c.html(PAGE);
  });
  routes.get('/docs/start.js', (c) => {
    c.header('content-type', 'text/javascript; charset=utf-8');
    return c.body(START);
  });
  routes.get('/docs/:file', async (c) => {
    const file = c.req.param('file');
    const type = TYPES[file];
    if (type === undefined) throw new Problem('NOT_FOUND', 'There is no such file here.');
    c.header('content-type', type);
    c.header('cache-control', 'public, max-age=3600');
    return c.body(await readFile(swaggerFile(file)));
  });
  return routes;
}

const { resolve } = createRequire(import.meta.url);

function swaggerFile(name: string): string {
  return resolve(`swagger-ui-dist/${name}`);
}
