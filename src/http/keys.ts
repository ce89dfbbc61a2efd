import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { formatCredits, type Currency } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { issueKey } from '../governance/issue-key.ts';
import { SCOPES, type KeyCaps, type Scope } from '../identity/caller.ts';
import { DEFAULT_SCOPES, listKeys, markRevoked, type KeyRow } from '../identity/keys.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, jsonBody, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import {
  amountIn,
  amountOut,
  cursorIn,
  idIn,
  moment,
  organizationIdIn,
  pageOf,
  isText,
  toPage,
  wholeNumber,
} from './words.ts';

const MAX_RATE = 1_000_000;
const currencyOut = z.enum(['live', 'test']);
const scopes = z.array(z.enum(SCOPES));

const wish = z.strictObject({
  organization_id: organizationIdIn,
  name: z.string().trim().min(1, 'must not be blank').max(200).refine(isText, 'must be text').optional(),
  test: z.boolean().optional().openapi({ description: 'A key that spends test credits only.' }),
  scopes: scopes
    .min(1)
    .optional()
    .openapi({ default: [...DEFAULT_SCOPES] }),
  max_per_call: amountIn.optional(),
  cap_day: amountIn.optional(),
  cap_month: amountIn.optional(),
  cap_total: amountIn.optional(),
  rate_per_minute: z.number().int().min(1).max(MAX_RATE).optional(),
  max_concurrent: z.number().int().min(1).max(MAX_RATE).optional(),
});

const issued = z.object({
  id: z.string(),
  key: z.string().openapi({ description: 'Shown this once.' }),
  organization_id: z.string(),
  currency: currencyOut,
  scopes,
});

const keyOut = z
  .object({
    id: z.string(),
    organization_id: z.string(),
    name: z.string(),
    last_four: z.string(),
    currency: currencyOut,
    scopes,
    max_per_call: amountOut.nullable(),
    rate_per_minute: z.number().int(),
    max_concurrent: z.number().int(),
    created_at: moment,
    revoked_at: moment.nullable(),
  })
  .openapi('Key');

export type KeyWishBody = z.input<typeof wish>;
export type IssuedKeyBody = z.infer<typeof issued>;
export type KeyBody = z.infer<typeof keyOut>;

/** The credentials of organizations, for the operator. */
export function keyRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;

  const create = createRoute({
    method: 'post',
    path: '/v1/keys',
    tags: ['operator'],
    summary: 'Make an API key',
    ...signedIn(deps, 'operator'),
    request: { query: noQuery, body: jsonBody(wish) },
    responses: { 201: json(issued, 'The key, for the only time.'), ...refusals },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/keys',
    tags: ['operator'],
    summary: 'Keys, newest first; never the keys themselves',
    ...signedIn(deps, 'operator'),
    request: {
      query: z.strictObject({
        organization_id: organizationIdIn.optional(),
        limit: wholeNumber(1, 100, 20),
        cursor: cursorIn,
      }),
    },
    responses: { 200: json(pageOf(keyOut), 'A page of keys.'), ...refusals },
  });
  const revoke = createRoute({
    method: 'delete',
    path: '/v1/keys/{id}',
    tags: ['operator'],
    summary: 'Revoke a key, at once and everywhere',
    ...signedIn(deps, 'operator'),
    request: { params: z.object({ id: idIn }), query: noQuery },
    responses: { 200: json(keyOut, 'Revoked. Revoking it again changes nothing.'), ...refusals },
  });

  return newRoutes()
    .openapi(create, async (c) => {
      const body = c.req.valid('json');
      const asked = body.scopes ?? [...DEFAULT_SCOPES];
      const currency: Currency = body.test === true ? 'test' : 'live';
      const { id, key } = await issueKey(db, {
        organizationId: body.organization_id,
        currency,
        scopes: asked,
        caps: capsOf(body),
        ...(body.name === undefined ? {} : { name: body.name }),
        ...(body.rate_per_minute === undefined ? {} : { ratePerMinute: body.rate_per_minute }),
        ...(body.max_concurrent === undefined ? {} : { maxConcurrent: body.max_concurrent }),
      });
      const { organization_id } = body;
      return c.json({ id, key, organization_id, currency, scopes: asked }, 201);
    })
    .openapi(list, async (c) => {
      const { organization_id: organizationId, limit, cursor } = c.req.valid('query');
      const rows = await listKeys(db, organizationId, { before: cursor, limit: limit + 1 });
      return c.json(
        toPage(rows, limit, formatKey, (row) => row.id),
        200,
      );
    })
    .openapi(revoke, async (c) => {
      const { id } = c.req.valid('param');
      const row = await db.transaction((tx) => markRevoked(tx, id, undefined));
      if (!row) throw new Problem('NOT_FOUND', `There is no key ${id}.`);
      // The feed tells every process, this one too, a moment later: here it holds before we answer.
      deps.authenticator.forget(id);
      return c.json(formatKey(row), 200);
    });
}

function capsOf(body: z.output<typeof wish>): KeyCaps {
  return {
    ...(body.max_per_call === undefined ? {} : { maxPerCallMicros: body.max_per_call }),
    ...(body.cap_day === undefined ? {} : { capDayMicros: body.cap_day }),
    ...(body.cap_month === undefined ? {} : { capMonthMicros: body.cap_month }),
    ...(body.cap_total === undefined ? {} : { capTotalMicros: body.cap_total }),
  };
}

function formatKey(row: KeyRow): KeyBody {
  return {
    id: row.id,
    organization_id: row.organizationId,
    name: row.name,
    last_four: row.lastFour,
    currency: row.currency,
    scopes: row.scopes as Scope[],
    max_per_call: row.maxPerCallMicros === null ? null : formatCredits(row.maxPerCallMicros),
    rate_per_minute: row.ratePerMinute,
    max_concurrent: row.maxConcurrent,
    created_at: row.createdAt.toISOString(),
    revoked_at: row.revokedAt?.toISOString() ?? null,
  };
}
