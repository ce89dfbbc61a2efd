import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { handleStripeEvent, verifyStripeEvent } from '../billing/stripe-events.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, newRoutes, noQuery, refusals } from './route.ts';

export const STRIPE_WEBHOOK_PATH = '/v1/billing/webhooks/stripe';

const acknowledged = z.object({ received: z.literal(true) });

/** Where Stripe tells what happened to payments and payouts. The signature is the key. */
export function stripeWebhookRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const hear = createRoute({
    method: 'post',
    path: STRIPE_WEBHOOK_PATH,
    tags: ['billing'],
    summary: 'For Stripe: an event, signed',
    description:
      'The body is an event as Stripe sends it, with its `Stripe-Signature`. Anything whose signature is right is acknowledged, once or again; what could not be written down is answered 5xx, and Stripe sends it again.',
    request: { query: noQuery },
    responses: { 200: json(acknowledged, 'Heard.'), ...refusals },
  });

  return newRoutes().openapi(hear, async (c) => {
    // The bytes as they came: what is signed is not JSON but text.
    const body = Buffer.from(await c.req.arrayBuffer());
    const event = await verifyStripeEvent(deps.billing, body, c.req.header('stripe-signature'));
    await handleStripeEvent(deps.billing, event);
    return c.json({ received: true as const }, 200);
  });
}
