import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { formatCredits } from '../base/money.ts';
import {
  forgetCard,
  getAutoTopUp,
  markAutoTopUpOff,
  setAutoTopUp,
  type AutoTopUp,
} from '../billing/auto-top-up-rules.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, jsonBody, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import { askStripeFor, withStripe } from './stripe-asked.ts';
import { usdIn, usdOf, usdOut } from './usd.ts';
import { amountIn, amountOut } from './words.ts';

const LEAST_CENTS = 500n;
const MOST_CENTS = 1_000_000n;
const MOST_A_MONTH_CENTS = 10_000_000n;

const wish = z
  .strictObject({
    threshold_credits: amountIn.refine((micros) => micros > 0n, 'must be more than 0'),
    amount_usd: usdIn(LEAST_CENTS, MOST_CENTS),
    monthly_ceiling_usd: usdIn(LEAST_CENTS, MOST_A_MONTH_CENTS),
  })
  .refine((body) => body.amount_usd <= body.monthly_ceiling_usd, {
    path: ['monthly_ceiling_usd'],
    message: 'must be at least amount_usd, or nothing would ever be charged',
  });

const autoTopUpOut = z
  .object({
    enabled: z.boolean(),
    threshold_credits: amountOut.nullable(),
    amount_usd: usdOut.nullable(),
    monthly_ceiling_usd: usdOut.nullable(),
    charged_this_month_usd: usdOut,
    card: z.object({ brand: z.string().nullable(), last_four: z.string().nullable() }).nullable(),
    failure: z.string().nullable().openapi({ description: 'Why it was switched off, when you did not.' }),
  })
  .openapi('AutoTopUp');

export type AutoTopUpBody = z.infer<typeof autoTopUpOut>;

/** Credits bought with a saved card when the balance runs low. */
export function autoTopUpRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;
  const path = '/v1/billing/auto-top-up';
  const responses = { 200: json(autoTopUpOut, 'As it is now.'), ...refusals };

  const show = createRoute({
    method: 'get',
    path,
    tags: ['billing'],
    summary: 'Whether credits are bought automatically, and how that goes',
    ...signedIn(deps, 'billing:read'),
    request: { query: noQuery },
    responses,
  });
  const set = createRoute({
    method: 'put',
    path,
    tags: ['billing'],
    summary: 'Buy credits with the saved card when the balance falls below a threshold',
    description:
      'Looked at every minute. Never more than `monthly_ceiling_usd` in a UTC month. A declined card switches it off; setting it again switches it on.',
    ...withStripe(deps, 'billing:write'),
    request: { query: noQuery, body: jsonBody(wish) },
    responses,
  });
  const stop = createRoute({
    method: 'delete',
    path,
    tags: ['billing'],
    summary: 'Buy nothing automatically any more; the card stays saved',
    ...signedIn(deps, 'billing:write'),
    request: { query: noQuery },
    responses,
  });
  const forget = createRoute({
    method: 'delete',
    path: '/v1/billing/card',
    tags: ['billing'],
    summary: 'Forget the saved card, and buy nothing automatically any more',
    ...signedIn(deps, 'billing:write'),
    request: { query: noQuery },
    responses,
  });

  return newRoutes()
    .openapi(show, async (c) => c.json(format(await getAutoTopUp(db, c.get('caller'))), 200))
    .openapi(set, async (c) => {
      const { threshold_credits, amount_usd, monthly_ceiling_usd } = c.req.valid('json');
      const caller = c.get('caller');
      const rule = {
        thresholdMicros: threshold_credits,
        amountCents: amount_usd,
        monthlyCeilingCents: monthly_ceiling_usd,
      };
      // It has the card charged within a minute, also one that was just declined.
      await askStripeFor(deps, caller, () => setAutoTopUp(deps.billing, caller, rule));
      return c.json(format(await getAutoTopUp(db, c.get('caller'))), 200);
    })
    .openapi(stop, async (c) => {
      await db.transaction((tx) => markAutoTopUpOff(tx, c.get('caller'), null));
      return c.json(format(await getAutoTopUp(db, c.get('caller'))), 200);
    })
    .openapi(forget, async (c) => {
      const caller = c.get('caller');
      await askStripeFor(deps, caller, () => forgetCard(deps.billing, caller));
      return c.json(format(await getAutoTopUp(db, c.get('caller'))), 200);
    });
}

function format({ rule, card, chargedCents }: AutoTopUp): AutoTopUpBody {
  return {
    enabled: rule?.isEnabled ?? false,
    threshold_credits: rule ? formatCredits(rule.thresholdMicros) : null,
    amount_usd: rule ? usdOf(rule.amountCents) : null,
    monthly_ceiling_usd: rule ? usdOf(rule.monthlyCeilingCents) : null,
    charged_this_month_usd: usdOf(chargedCents),
    card: card ? { brand: card.brand, last_four: card.lastFour } : null,
    failure: rule?.failure ?? null,
  };
}
