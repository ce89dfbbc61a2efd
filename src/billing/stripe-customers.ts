import { and, eq } from 'drizzle-orm';
import { invariant } from '../base/invariant.ts';
import type { Db } from '../db/db.ts';
import type { BillingDeps } from './deps.ts';
import type { StripeAccess } from './stripe.ts';
import { stripeCustomers } from './tables.ts';
import type { Owner } from './top-ups.ts';

export type StripeCustomer = typeof stripeCustomers.$inferSelect;

export async function findCustomer(db: Db, owner: Owner): Promise<StripeCustomer | undefined> {
  const [customer] = await db.select().from(stripeCustomers).where(isOf(owner));
  return customer;
}

/** Who this organization is to Stripe; made on first use. All its payments are found through it. */
export async function openCustomer(
  deps: Pick<BillingDeps, 'db'>,
  stripe: StripeAccess,
  owner: Owner,
): Promise<StripeCustomer> {
  const known = await findCustomer(deps.db, owner);
  if (known) return known;
  const { organizationId, currency } = owner;
  // Two processes at once are given the same one.
  const made = await stripe.client.customers.create(
    { name: organizationId, metadata: { organization: organizationId, currency } },
    { idempotencyKey: `customer:${organizationId}:${currency}` },
  );
  await deps.db.transaction((tx) =>
    tx
      .insert(stripeCustomers)
      .values({ organizationId, currency, customerId: made.id })
      .onConflictDoNothing(),
  );
  const customer = await findCustomer(deps.db, owner);
  invariant(customer, 'a customer that was just kept is there');
  return customer;
}

export function isOf(owner: Owner) {
  return and(
    eq(stripeCustomers.organizationId, owner.organizationId),
    eq(stripeCustomers.currency, owner.currency),
  );
}
