import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { uuidOfId } from '../base/ids.ts';
import {
  DELIVERY_STATUSES,
  getDelivery,
  listDeliveries,
  replayDelivery,
  type Delivery,
  type DeliveryDetail,
} from '../webhooks/deliveries.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import { badCursor, cursorIn, moment, pageOf, toPage, webhookIdIn, wholeNumber } from './words.ts';

const deliveryOut = z
  .object({
    id: z.string(),
    endpoint_id: z.string(),
    webhook_id: z.string().openapi({ description: 'The `webhook-id` header: the same at every attempt.' }),
    type: z.string(),
    status: z.enum(DELIVERY_STATUSES),
    attempts: z.number().int().openapi({ description: 'Since it was made, or replayed.' }),
    next_attempt_at: moment.nullable(),
    last_status: z.number().int().nullable(),
    last_error: z.string().nullable(),
    created_at: moment,
    delivered_at: moment.nullable(),
  })
  .openapi('WebhookDelivery');

export const deliveryDetailOut = deliveryOut
  .extend({
    payload: z.record(z.string(), z.unknown()),
    log: z
      .array(
        z.object({
          at: moment,
          duration_ms: z.number().int(),
          status: z.number().int().nullable(),
          error: z.string().nullable(),
          answer: z.string().nullable().openapi({ description: 'The first 1,024 bytes of it.' }),
        }),
      )
      .openapi({ description: 'Every attempt there was, oldest first.' }),
  })
  .openapi('WebhookDeliveryDetail');

export type WebhookDeliveryBody = z.infer<typeof deliveryOut>;
export type WebhookDeliveryDetailBody = z.infer<typeof deliveryDetailOut>;

/** What was sent to a webhook, how that went, and sending it again. Kept for 30 days. */
export function webhookDeliveryRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;
  const params = z.object({ id: webhookIdIn });

  const list = createRoute({
    method: 'get',
    path: '/v1/webhooks/{id}/deliveries',
    tags: ['webhooks'],
    summary: 'What was sent to a webhook, newest first',
    ...signedIn(deps, 'billing:read'),
    request: {
      params,
      query: z.strictObject({
        status: z.enum(DELIVERY_STATUSES).optional(),
        limit: wholeNumber(1, 100, 20),
        cursor: cursorIn,
      }),
    },
    responses: { 200: json(pageOf(deliveryOut), 'A page of deliveries.'), ...refusals },
  });
  const get = createRoute({
    method: 'get',
    path: '/v1/webhooks/deliveries/{id}',
    tags: ['webhooks'],
    summary: 'One delivery: what was sent, and how each attempt went',
    ...signedIn(deps, 'billing:read'),
    request: { params, query: noQuery },
    responses: { 200: json(deliveryDetailOut, 'The delivery.'), ...refusals },
  });
  const replay = createRoute({
    method: 'post',
    path: '/v1/webhooks/deliveries/{id}/replay',
    tags: ['webhooks'],
    summary: 'Send it again now, with the same webhook-id',
    ...signedIn(deps, 'billing:write'),
    request: { params, query: noQuery },
    responses: { 202: json(deliveryDetailOut, 'On its way.'), ...refusals },
  });

  return newRoutes()
    .openapi(list, async (c) => {
      const { status, limit, cursor } = c.req.valid('query');
      const before = cursor === undefined ? undefined : uuidOfId('whd', cursor);
      if (cursor !== undefined && before === undefined) throw badCursor();
      const rows = await listDeliveries(db, c.get('caller'), c.req.valid('param').id, {
        status,
        before,
        limit: limit + 1,
      });
      return c.json(
        toPage(rows, limit, formatDelivery, (row) => row.id),
        200,
      );
    })
    .openapi(get, async (c) => {
      const delivery = await getDelivery(db, c.get('caller'), c.req.valid('param').id);
      return c.json(formatDeliveryDetail(delivery), 200);
    })
    .openapi(replay, async (c) => {
      const delivery = await db.transaction((tx) =>
        replayDelivery(tx, c.get('caller'), c.req.valid('param').id),
      );
      return c.json(formatDeliveryDetail(delivery), 202);
    });
}

function formatDelivery(row: Delivery): WebhookDeliveryBody {
  return {
    id: row.id,
    endpoint_id: row.endpointId,
    webhook_id: row.eventId,
    type: row.type,
    status: row.status,
    attempts: row.attempts,
    next_attempt_at: row.nextAttemptAt?.toISOString() ?? null,
    last_status: row.lastStatus ?? null,
    last_error: row.lastError ?? null,
    created_at: row.createdAt.toISOString(),
    delivered_at: row.deliveredAt?.toISOString() ?? null,
  };
}

export function formatDeliveryDetail(detail: DeliveryDetail): WebhookDeliveryDetailBody {
  return {
    ...formatDelivery(detail),
    payload: detail.payload,
    log: detail.log.map(({ at, durationMs, status, error, answer }) => ({
      at: at.toISOString(),
      duration_ms: durationMs,
      status,
      error,
      answer,
    })),
  };
}
