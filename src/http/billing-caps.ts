import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { formatCredits } from '../base/money.ts';
import { findBalanceAlert, setBalanceAlert } from '../billing/alerts.ts';
import { findBudget, setBudget } from '../governance/budgets.ts';
import { changeKeyCaps } from '../governance/change-caps.ts';
import { listKeys, type KeyRow } from '../identity/keys.ts';
import { listMeters, type Meter, type MeterCaps } from '../ledger/meters.ts';
import { admitted } from './admission.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, jsonBody, newRoutes, noQuery, refusals, signedIn } from './route.ts';
import { amountIn, amountOut, cursorIn, idIn, moment, pageOf, toPage, wholeNumber } from './words.ts';

const AUTHORITY =
  'Whoever holds a key with the scope billing:write decides what the organization spends, by this key and by others: give it to people and not to agents. It replaces what was there: a cap that is absent or null no longer limits. A cap below what is used refuses further calls and takes nothing back.';

const capIn = amountIn
  .nullish()
  .transform((micros) => micros ?? undefined)
  .openapi({ type: ['string', 'null'], example: '500', description: 'Credits; absent or null: no limit.' });
const windowCapsIn = { cap_day: capIn, cap_month: capIn, cap_total: capIn };
const used = amountOut.nullable().openapi({
  description:
    'Spent or set aside. Null until the first cap is set: calls that nobody limits are not slowed down by counting them, and `/v1/billing/usage` adds up what they cost. The first cap begins with what was spent before it and what calls under way hold.',
});

const standingOut = {
  cap_day: amountOut.nullable(),
  cap_month: amountOut.nullable(),
  cap_total: amountOut.nullable(),
  used_day: used,
  used_month: used,
  used_total: used,
};

const budgetOut = z.object({ currency: z.enum(['live', 'test']), ...standingOut }).openapi('Budget');

const keyCapsOut = z
  .object({
    key_id: z.string(),
    name: z.string(),
    last_four: z.string(),
    currency: z.enum(['live', 'test']),
    revoked_at: moment.nullable(),
    max_per_call: amountOut.nullable(),
    ...standingOut,
  })
  .openapi('KeyCaps');

const alertOut = z
  .object({
    currency: z.enum(['live', 'test']),
    balance_below: amountOut.nullable(),
    told_at: moment.nullable().openapi({ description: 'Since when the balance has been low.' }),
  })
  .openapi('BalanceAlert');

export type BudgetBody = z.infer<typeof budgetOut>;
export type KeyCapsBody = z.infer<typeof keyCapsOut>;
export type AlertBody = z.infer<typeof alertOut>;

/** How much may be spent: by the whole organization, by each of its keys; and when it wants to be told. */
export function billingCapRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { db } = deps.database;
  const now = (): Date => new Date(deps.clock.now());

  const showBudget = createRoute({
    method: 'get',
    path: '/v1/billing/budget',
    tags: ['billing'],
    summary: 'What the organization may spend, and has',
    ...signedIn(deps, 'billing:read'),
    request: { query: noQuery },
    responses: { 200: json(budgetOut, 'The budget. Days and months are UTC.'), ...refusals },
  });
  const putBudget = createRoute({
    method: 'put',
    path: '/v1/billing/budget',
    tags: ['billing'],
    summary: 'Set what the organization may spend, whichever key spends it',
    description: AUTHORITY,
    ...admitted(deps, 'billing:write'),
    request: { query: noQuery, body: jsonBody(z.strictObject(windowCapsIn)) },
    responses: { 200: json(budgetOut, 'The budget now.'), ...refusals },
  });
  const listCaps = createRoute({
    method: 'get',
    path: '/v1/billing/keys',
    tags: ['billing'],
    summary: "The organization's keys, what each may spend, and has",
    ...signedIn(deps, 'billing:read'),
    request: { query: z.strictObject({ limit: wholeNumber(1, 100, 20), cursor: cursorIn }) },
    responses: { 200: json(pageOf(keyCapsOut), 'A page of keys, newest first.'), ...refusals },
  });
  const putCaps = createRoute({
    method: 'put',
    path: '/v1/billing/keys/{id}/caps',
    tags: ['billing'],
    summary: 'Set what one key may spend',
    description: AUTHORITY,
    ...admitted(deps, 'billing:write'),
    request: {
      params: z.object({ id: idIn }),
      query: noQuery,
      body: jsonBody(z.strictObject({ max_per_call: capIn, ...windowCapsIn })),
    },
    responses: { 200: json(keyCapsOut, 'The key now, from its very next call on.'), ...refusals },
  });
  const showAlert = createRoute({
    method: 'get',
    path: '/v1/billing/alerts',
    tags: ['billing'],
    summary: 'Below what balance the organization is told',
    ...signedIn(deps, 'billing:read'),
    request: { query: noQuery },
    responses: { 200: json(alertOut, 'The alert.'), ...refusals },
  });
  const putAlert = createRoute({
    method: 'put',
    path: '/v1/billing/alerts',
    tags: ['billing'],
    summary: 'Be told by the event balance.low, once until the balance is above again',
    ...signedIn(deps, 'billing:write'),
    request: {
      query: noQuery,
      body: jsonBody(
        z.strictObject({
          balance_below: amountIn
            .nullable()
            .openapi({ type: ['string', 'null'], example: '100', description: 'Credits; null: never.' }),
        }),
      ),
    },
    responses: { 200: json(alertOut, 'The alert now. Null: none.'), ...refusals },
  });

  return newRoutes()
    .openapi(showBudget, async (c) => {
      const { accountId, currency } = c.get('caller');
      return c.json({ currency, ...formatMeter(await findBudget(db, accountId, now())) }, 200);
    })
    .openapi(putBudget, async (c) => {
      const { accountId, currency } = c.get('caller');
      await setBudget(db, accountId, capsOf(c.req.valid('json')), now());
      return c.json({ currency, ...formatMeter(await findBudget(db, accountId, now())) }, 200);
    })
    .openapi(listCaps, async (c) => {
      const { limit, cursor } = c.req.valid('query');
      const { organizationId, currency } = c.get('caller');
      const keys = await listKeys(db, organizationId, { currency, before: cursor, limit: limit + 1 });
      const meters = await metersOf(keys);
      return c.json(
        toPage(
          keys,
          limit,
          (key) => formatKeyCaps(key, meters),
          (key) => key.id,
        ),
        200,
      );
    })
    .openapi(putCaps, async (c) => {
      const { id: keyId } = c.req.valid('param');
      const { max_per_call: maxPerCallMicros, ...windows } = c.req.valid('json');
      const { organizationId, currency } = c.get('caller');
      const caps = { ...capsOf(windows), ...(maxPerCallMicros === undefined ? {} : { maxPerCallMicros }) };
      const key = await changeKeyCaps(db, { keyId, organizationId, currency, caps, now: now() });
      // The feed tells every process, this one too, a moment later: here it holds before we answer.
      deps.authenticator.forget(keyId);
      return c.json(formatKeyCaps(key, await metersOf([key])), 200);
    })
    .openapi(showAlert, async (c) => c.json(await readAlert(c.get('caller')), 200))
    .openapi(putAlert, async (c) => {
      const { balance_below: threshold } = c.req.valid('json');
      const caller = c.get('caller');
      await db.transaction((tx) => setBalanceAlert(tx, caller, threshold ?? undefined));
      return c.json(await readAlert(caller), 200);
    });

  async function metersOf(keys: readonly KeyRow[]): Promise<Map<bigint, Meter>> {
    const ids = keys.map(({ meterId }) => meterId).filter((id) => id !== null);
    return listMeters(db, ids, now());
  }

  async function readAlert(owner: Parameters<typeof findBalanceAlert>[1]): Promise<AlertBody> {
    const alert = await findBalanceAlert(db, owner);
    return {
      currency: owner.currency,
      balance_below: amount(alert?.thresholdMicros),
      told_at: alert?.toldAt?.toISOString() ?? null,
    };
  }
}

type WindowCaps = z.output<z.ZodObject<typeof windowCapsIn>>;

function capsOf({ cap_day, cap_month, cap_total }: WindowCaps): MeterCaps {
  return {
    ...(cap_day === undefined ? {} : { capDayMicros: cap_day }),
    ...(cap_month === undefined ? {} : { capMonthMicros: cap_month }),
    ...(cap_total === undefined ? {} : { capTotalMicros: cap_total }),
  };
}

function formatKeyCaps(key: KeyRow, meters: Map<bigint, Meter>): KeyCapsBody {
  return {
    key_id: key.id,
    name: key.name,
    last_four: key.lastFour,
    currency: key.currency,
    revoked_at: key.revokedAt?.toISOString() ?? null,
    max_per_call: amount(key.maxPerCallMicros ?? undefined),
    ...formatMeter(key.meterId === null ? undefined : meters.get(key.meterId)),
  };
}

function formatMeter(meter: Meter | undefined): Omit<BudgetBody, 'currency'> {
  return {
    cap_day: amount(meter?.capDayMicros),
    cap_month: amount(meter?.capMonthMicros),
    cap_total: amount(meter?.capTotalMicros),
    used_day: amount(meter?.usedDayMicros),
    used_month: amount(meter?.usedMonthMicros),
    used_total: amount(meter?.usedTotalMicros),
  };
}

function amount(micros: bigint | undefined): string | null {
  return micros === undefined ? null : formatCredits(micros);
}
