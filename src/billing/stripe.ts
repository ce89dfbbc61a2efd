import { isIPv4 } from 'node:net';
import { Stripe } from 'stripe';
import { Problem } from '../base/problem.ts';
import type { Currency } from '../base/money.ts';

export type StripeOptions = {
  secretKey: string;
  /**
   * One for each endpoint in Stripe: our own account's and the connected accounts' have different ones. None:
   * incoming webhooks cannot be verified and are refused; reconciliation still finds payments.
   */
  webhookSecrets: readonly string[];
  /** Another host than Stripe's own: a stand-in such as `http://127.0.0.1:12111`, or a proxy on the way to Stripe. */
  apiBase: string | undefined;
};

/** Stripe, and whose money it moves. */
export type StripeAccess = {
  client: Stripe;
  webhookSecrets: readonly string[];
  /** True when payments are real: the key is a live one. */
  isLive: boolean;
  /** False when requests go to a stand-in on this machine; any other host may be Stripe, or lead there. */
  isStripe: boolean;
};

// A payment is asked for while a person or an agent waits; what fails is tried again by a job.
const TIMEOUT_MS = 20_000;
const RETRIES = 2;

export function openStripe({ secretKey, webhookSecrets, apiBase }: StripeOptions): StripeAccess {
  const base = apiBase === undefined ? undefined : new URL(apiBase);
  const client = new Stripe(secretKey, {
    timeout: TIMEOUT_MS,
    maxNetworkRetries: RETRIES,
    telemetry: false,
    ...(base
      ? {
          // Whoever connects wants an IPv6 address without its brackets.
          host: base.hostname.replaceAll(/[[\]]/g, ''),
          port: base.port === '' ? (base.protocol === 'https:' ? 443 : 80) : Number(base.port),
          protocol: base.protocol === 'https:' ? 'https' : 'http',
        }
      : {}),
  });
  const isStripe = base === undefined || !isLoopback(base.hostname);
  return { client, webhookSecrets, isLive: /^(sk|rk)_live_/.test(secretKey), isStripe };
}

function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' || hostname === '[::1]' || (isIPv4(hostname) && hostname.startsWith('127.'))
  );
}

/** Throws STRIPE_NOT_CONFIGURED when this gateway has no Stripe key. */
export function requireStripe(deps: { stripe: StripeAccess | undefined }): StripeAccess {
  if (deps.stripe) return deps.stripe;
  throw new Problem(
    'STRIPE_NOT_CONFIGURED',
    'This gateway has no Stripe key, so no money can be paid in or out here. Its operator sets STRIPE_SECRET_KEY; test credits still work.',
  );
}

/**
 * True when money of this currency can move through this Stripe account: a test payment never becomes
 * live credits, and live money never test credits. A stand-in on this machine moves no money at all, so there
 * both may be tried.
 */
export function stripeMoves(stripe: StripeAccess, currency: Currency): boolean {
  return stripe.isLive === (currency === 'live') || (!stripe.isStripe && currency === 'live');
}

/** Throws unless credits of this currency can be bought through this Stripe account. */
export function assertStripeMoves(stripe: StripeAccess, currency: Currency): void {
  if (stripeMoves(stripe, currency)) return;
  throw new Problem(
    'CONFLICT',
    stripe.isLive
      ? 'Test credits cannot be bought with real money; the operator grants them. Use a live key (sk_live_…) to buy credits.'
      : 'This gateway is connected to Stripe in test mode, where only test credits can be bought. Use a test key (sk_test_…).',
  );
}
