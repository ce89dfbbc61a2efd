import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { EVENT_TYPES } from '../audit/events.ts';
import { Problem } from '../base/problem.ts';
import {
  MAX_ENDPOINTS,
  getEndpoint,
  insertEndpoint,
  listEndpoints,
  markDeleted,
  rotateSecret,
  updateEndpoint,
  type WebhookEndpoint,
} from '../webhooks/endpoints.ts';
import { insertTestDelivery } from '../webhooks/deliveries.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, jsonBody, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import { formatDeliveryDetail, deliveryDetailOut } from './webhook-deliveries.ts';
import { isText, moment, OPERATOR_MAY_ALLOW, pageOf, textIn, webhookIdIn } from './words.ts';

const eventType = z.enum(EVENT_TYPES);
const urlIn = z.string({ error: 'must be a URL' }).refine(isText, 'must be a URL');
const descriptionIn = textIn(500);
const eventsIn = z
  .array(eventType)
  .max(50)
  .transform((types) => [...new Set(types)])
  .openapi({ description: 'Which events to hear of; none chosen means all of them.' });

const webhookOut = z
  .object({
    id: z.string(),
    url: z.string(),
    description: z.string(),
    events: z.array(eventType),
    currency: z.enum(['live', 'test']),
    disabled: z.boolean(),
    disabled_reason: z.string().nullable().openapi({ description: 'Why, when nobody asked for it.' }),
    previous_secret_expires_at: moment.nullable(),
    created_at: moment,
  })
  .openapi('Webhook');

const webhookWithSecret = webhookOut
  .extend({ secret: z.string().openapi({ description: 'Shown this once.', example: 'whsec_…' }) })
  .openapi('WebhookWithSecret');

export type WebhookBody = z.infer<typeof webhookOut>;
export type WebhookWithSecretBody = z.infer<typeof webhookWithSecret>;

/** Where an organization is told what happened to it, signed as Standard Webhooks says. */
export function webhookRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;
  const params = z.object({ id: webhookIdIn });

  const create = createRoute({
    method: 'post',
    path: '/v1/webhooks',
    tags: ['webhooks'],
    summary: 'Be told what happens, at a URL',
    description: `Requests are signed as Standard Webhooks says. At most ${MAX_ENDPOINTS}; it hears of what happens from now on, of the key's currency.`,
    ...signedIn(deps, 'billing:write'),
    request: {
      query: noQuery,
      body: jsonBody(
        z.strictObject({
          url: urlIn,
          events: eventsIn.optional(),
          description: descriptionIn.optional(),
        }),
      ),
    },
    responses: { 201: json(webhookWithSecret, 'Made. The secret, for the only time.'), ...refusals },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/webhooks',
    tags: ['webhooks'],
    summary: 'Your webhooks, oldest first, all on one page',
    ...signedIn(deps, 'billing:read'),
    request: { query: noQuery },
    responses: { 200: json(pageOf(webhookOut), 'All of them.'), ...refusals },
  });
  const get = createRoute({
    method: 'get',
    path: '/v1/webhooks/{id}',
    tags: ['webhooks'],
    summary: 'One webhook',
    ...signedIn(deps, 'billing:read'),
    request: { params, query: noQuery },
    responses: { 200: json(webhookOut, 'The webhook.'), ...refusals },
  });
  const update = createRoute({
    method: 'patch',
    path: '/v1/webhooks/{id}',
    tags: ['webhooks'],
    summary: 'Change a webhook, stop it, or start it again',
    description: 'While it is disabled nothing is sent: what is on its way waits, what happens is not kept.',
    ...signedIn(deps, 'billing:write'),
    request: {
      params,
      query: noQuery,
      body: jsonBody(
        z.strictObject({
          url: urlIn.optional(),
          events: eventsIn.optional(),
          description: descriptionIn.optional(),
          disabled: z.boolean().optional(),
        }),
      ),
    },
    responses: { 200: json(webhookOut, 'As it is now.'), ...refusals },
  });
  const remove = createRoute({
    method: 'delete',
    path: '/v1/webhooks/{id}',
    tags: ['webhooks'],
    summary: 'Delete a webhook and its deliveries',
    ...signedIn(deps, 'billing:write'),
    request: { params, query: noQuery },
    responses: { 200: json(webhookOut, 'As it was.'), ...refusals },
  });
  const rotate = createRoute({
    method: 'post',
    path: '/v1/webhooks/{id}/rotate-secret',
    tags: ['webhooks'],
    summary: 'Get a new secret; for 24 hours the old one signs as well',
    ...signedIn(deps, 'billing:write'),
    request: { params, query: noQuery },
    responses: { 200: json(webhookWithSecret, 'The new secret, for the only time.'), ...refusals },
  });
  const tryOut = createRoute({
    method: 'post',
    path: '/v1/webhooks/{id}/test',
    tags: ['webhooks'],
    summary: 'Send a webhook.test, to see that your receiver works',
    ...signedIn(deps, 'billing:write'),
    request: { params, query: noQuery },
    responses: { 202: json(deliveryDetailOut, 'On its way.'), ...refusals },
  });

  async function checkUrl(url: string): Promise<void> {
    const refused = await deps.webhooks.sender.check(url);
    if (!refused) return;
    const { reason, operatorMayAllow } = refused;
    const hint = operatorMayAllow ? ` ${OPERATOR_MAY_ALLOW}` : '';
    throw new Problem('INVALID_INPUT', `Nothing can be sent to this URL: it ${reason}.${hint}`, {
      faults: [{ path: '/url', message: reason }],
    });
  }

  return newRoutes()
    .openapi(create, async (c) => {
      const { url, events = [], description = '' } = c.req.valid('json');
      await checkUrl(url);
      const owner = c.get('caller');
      const { endpoint, secret } = await db.transaction((tx) =>
        insertEndpoint(tx, owner, { url, description, eventTypes: events }),
      );
      return c.json({ ...formatWebhook(endpoint, owner.currency), secret }, 201);
    })
    .openapi(list, async (c) => {
      const owner = c.get('caller');
      const endpoints = await listEndpoints(db, owner);
      const items = endpoints.map((endpoint) => formatWebhook(endpoint, owner.currency));
      return c.json({ items, next_cursor: null }, 200);
    })
    .openapi(get, async (c) => {
      const owner = c.get('caller');
      const endpoint = await getEndpoint(db, owner, c.req.valid('param').id);
      return c.json(formatWebhook(endpoint, owner.currency), 200);
    })
    .openapi(update, async (c) => {
      const owner = c.get('caller');
      const { id } = c.req.valid('param');
      const { url, events, description, disabled } = c.req.valid('json');
      if (url !== undefined) await checkUrl(url);
      const endpoint = await db.transaction((tx) =>
        updateEndpoint(tx, owner, id, {
          ...(url === undefined ? {} : { url }),
          ...(events === undefined ? {} : { eventTypes: events }),
          ...(description === undefined ? {} : { description }),
          ...(disabled === undefined ? {} : { isDisabled: disabled }),
        }),
      );
      return c.json(formatWebhook(endpoint, owner.currency), 200);
    })
    .openapi(remove, async (c) => {
      const owner = c.get('caller');
      const endpoint = await db.transaction((tx) => markDeleted(tx, owner, c.req.valid('param').id));
      return c.json(formatWebhook(endpoint, owner.currency), 200);
    })
    .openapi(rotate, async (c) => {
      const owner = c.get('caller');
      const { endpoint, secret } = await db.transaction((tx) =>
        rotateSecret(tx, owner, c.req.valid('param').id),
      );
      return c.json({ ...formatWebhook(endpoint, owner.currency), secret }, 200);
    })
    .openapi(tryOut, async (c) => {
      const owner = c.get('caller');
      const delivery = await db.transaction((tx) => insertTestDelivery(tx, owner, c.req.valid('param').id));
      return c.json(formatDeliveryDetail(delivery), 202);
    });
}

function formatWebhook(endpoint: WebhookEndpoint, currency: WebhookBody['currency']): WebhookBody {
  return {
    id: endpoint.id,
    url: endpoint.url,
    description: endpoint.description,
    events: endpoint.eventTypes,
    currency,
    disabled: endpoint.isDisabled,
    disabled_reason: endpoint.disabledReason ?? null,
    previous_secret_expires_at: endpoint.previousSecretExpiresAt?.toISOString() ?? null,
    created_at: endpoint.createdAt.toISOString(),
  };
}
