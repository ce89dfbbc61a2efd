import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { insertOrganization, listOrganizations, type Organization } from '../identity/organizations.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, jsonBody, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import { cursorIn, moment, pageOf, isText, toPage, wholeNumber } from './words.ts';

const organizationOut = z
  .object({ id: z.string(), name: z.string(), created_at: moment })
  .openapi('Organization');

export type OrganizationBody = z.infer<typeof organizationOut>;

/** The tenants, for the operator. */
export function organizationRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;

  const create = createRoute({
    method: 'post',
    path: '/v1/orgs',
    tags: ['operator'],
    summary: 'Make an organization',
    ...signedIn(deps, 'operator'),
    request: {
      query: noQuery,
      body: jsonBody(
        z.strictObject({
          name: z.string().trim().min(1, 'must not be blank').max(200).refine(isText, 'must be text'),
        }),
      ),
    },
    responses: { 201: json(organizationOut, 'Made.'), ...refusals },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/orgs',
    tags: ['operator'],
    summary: 'Every organization, oldest first',
    ...signedIn(deps, 'operator'),
    request: { query: z.strictObject({ limit: wholeNumber(1, 100, 20), cursor: cursorIn }) },
    responses: { 200: json(pageOf(organizationOut), 'A page of organizations.'), ...refusals },
  });

  return newRoutes()
    .openapi(create, async (c) => {
      const { name } = c.req.valid('json');
      return c.json(formatOrganization(await db.transaction((tx) => insertOrganization(tx, name))), 201);
    })
    .openapi(list, async (c) => {
      const { limit, cursor } = c.req.valid('query');
      const rows = await listOrganizations(db, { after: cursor, limit: limit + 1 });
      return c.json(
        toPage(rows, limit, formatOrganization, (row) => row.id),
        200,
      );
    });
}

function formatOrganization(row: Organization): OrganizationBody {
  return { id: row.id, name: row.name, created_at: row.createdAt.toISOString() };
}
