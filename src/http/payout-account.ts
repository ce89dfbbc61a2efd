import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { formatCredits, MICROS_PER_CREDIT, type Currency } from '../base/money.ts';
import {
  DEFAULT_MINIMUM_MICROS,
  DEFAULT_SCHEDULE,
  getCurrentPayoutAccount,
  getPayoutAccount,
  openOnboarding,
  PAYOUT_SCHEDULES,
  savePayoutSchedule,
  type PayoutAccount,
} from '../billing/payout-accounts.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, jsonBody, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import { askStripeFor, lookAtStripeFor, withStripe } from './stripe-asked.ts';
import { amountIn, amountOut, moment } from './words.ts';

const linkOut = z
  .object({
    url: z.string().openapi({ description: "Stripe's onboarding, for a person to open. Works once." }),
    expires_at: moment,
  })
  .openapi('PayoutOnboarding');

const disabledOut = z.object({
  status: z.enum(['onboarding', 'pending', 'restricted', 'rejected', 'gone']).openapi({
    description:
      '`gone`: disconnected, deleted or unknown to Stripe; the link of POST connects a new account. `pending`: Stripe is at work. `rejected`: for good.',
  }),
  reason: z.string().nullable().openapi({
    description: "Stripe's word, or `account.deauthorized`, `account.deleted`, `account.unknown`.",
  }),
  meaning: z.string(),
  next_step: z.string().nullable(),
  since: moment.nullable().openapi({ description: 'When it was found to be gone.' }),
});

const accountOut = z
  .object({
    currency: z.enum(['live', 'test']),
    connected: z.boolean().openapi({
      description: 'False until an onboarding link was asked for, and again when the account is gone.',
    }),
    ready: z.boolean().openapi({ description: 'Stripe pays this account.' }),
    requirements: z.array(z.string()).openapi({ description: 'What Stripe still wants to know.' }),
    disabled: disabledOut.optional().openapi({
      description:
        'Why Stripe does not pay the account, once it was asked. Payouts are paused meanwhile and the credits stay available.',
    }),
    schedule: z.enum(PAYOUT_SCHEDULES),
    minimum_credits: amountOut.openapi({ description: 'What is less is not paid by the schedule.' }),
  })
  .openapi('PayoutAccount');

const scheduleIn = z.strictObject({
  schedule: z.enum(PAYOUT_SCHEDULES, `must be one of ${PAYOUT_SCHEDULES.join(', ')}`).openapi({
    description: 'Weekly is on Mondays, monthly on the first, in UTC.',
    default: DEFAULT_SCHEDULE,
  }),
  minimum_credits: amountIn
    .refine((micros) => micros >= MICROS_PER_CREDIT, 'must be at least "1", one cent')
    .openapi({
      type: 'string',
      default: formatCredits(DEFAULT_MINIMUM_MICROS),
    }),
});

export type PayoutAccountBody = z.infer<typeof accountOut>;

/** Where and when the key's organization is paid, in the key's own currency. */
export function payoutAccountRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const path = '/v1/billing/payouts/account';
  const tags = ['earnings'];

  const onboard = createRoute({
    method: 'post',
    path,
    tags,
    summary: 'A link to open or complete the account you are paid into',
    description:
      'The Stripe account is made the first time, and anew when the one there was is gone. Ask again for a new link whenever one is needed.',
    ...withStripe(deps, 'billing:write'),
    request: { query: noQuery },
    responses: { 200: json(linkOut, 'The link.'), ...refusals },
  });
  const show = createRoute({
    method: 'get',
    path,
    tags,
    summary: 'Whether you can be paid, and when you are',
    ...signedIn(deps, 'billing:read'),
    request: { query: noQuery },
    responses: { 200: json(accountOut, 'The account.'), ...refusals },
  });
  const schedule = createRoute({
    method: 'put',
    path,
    tags,
    summary: 'When you are paid, and from how much on',
    ...signedIn(deps, 'billing:write'),
    request: { query: noQuery, body: jsonBody(scheduleIn) },
    responses: { 200: json(accountOut, 'The account, changed.'), ...refusals },
  });

  return newRoutes()
    .openapi(onboard, async (c) => {
      const caller = c.get('caller');
      const open = () => openOnboarding(deps.billing, payeeOf(caller));
      const { url, expiresAt } = await askStripeFor(deps, caller, open);
      return c.json({ url, expires_at: expiresAt.toISOString() }, 200);
    })
    .openapi(show, async (c) => {
      const caller = c.get('caller');
      const payee = payeeOf(caller);
      const account = await lookAtStripeFor(
        deps,
        caller,
        () => getCurrentPayoutAccount(deps.billing, payee),
        () => getPayoutAccount(deps.database.db, payee),
      );
      return c.json(formatAccount(payee.currency, account), 200);
    })
    .openapi(schedule, async (c) => {
      const body = c.req.valid('json');
      const payee = payeeOf(c.get('caller'));
      const wish = { schedule: body.schedule, minimumMicros: body.minimum_credits };
      return c.json(formatAccount(payee.currency, await savePayoutSchedule(deps.billing, payee, wish)), 200);
    });
}

function payeeOf(caller: { organizationId: string; currency: Currency }) {
  return { organizationId: caller.organizationId, currency: caller.currency };
}

function formatAccount(currency: Currency, account: PayoutAccount): PayoutAccountBody {
  return {
    currency,
    connected: account.stripeAccountId !== undefined && account.goneAt === undefined,
    ready: account.isReady,
    requirements: account.requirements,
    ...disabledOf(account),
    schedule: account.schedule,
    minimum_credits: formatCredits(account.minimumMicros),
  };
}

function disabledOf(account: PayoutAccount): Pick<PayoutAccountBody, 'disabled'> {
  const { stored: status, shown, next } = account.standing;
  if (status === 'unconnected' || status === 'ready') return {};
  const reason = account.disabledReason ?? null;
  const since = account.goneAt?.toISOString() ?? null;
  return { disabled: { status, reason, meaning: shown, next_step: next, since } };
}
