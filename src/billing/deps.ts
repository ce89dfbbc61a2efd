import type { Log } from '../base/log.ts';
import type { Db } from '../db/db.ts';
import type { StripeAccess } from './stripe.ts';

/** What billing works with; built once, in runtime/. It has no clock: what time it is, the database says. */
export type BillingDeps = {
  db: Db;
  /** Undefined: no Stripe key is configured, and what needs one answers STRIPE_NOT_CONFIGURED. */
  stripe: StripeAccess | undefined;
  /** The origin clients reach us at, without a trailing slash: where Stripe sends people back to. */
  publicUrl: string;
  log: Log;
};
