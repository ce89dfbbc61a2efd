import { Stripe } from 'stripe';
import { invariant } from '../base/invariant.ts';

/** Cents as Stripe's JSON has them. Exact: no amount we let through comes near 2^53. */
export function toStripeAmount(cents: bigint): number {
  const amount = Number(cents);
  invariant(Number.isSafeInteger(amount) && amount > 0, 'an amount fits what Stripe takes');
  return amount;
}

export function fromStripeAmount(amount: number): bigint {
  invariant(Number.isSafeInteger(amount), 'Stripe counts whole cents');
  return BigInt(amount);
}

/** Stripe names things by id, or sends them whole where that was asked for. */
export function idOf(thing: string | { id: string } | null | undefined): string | undefined {
  return typeof thing === 'string' ? thing : thing?.id;
}

/** The thing itself, where it was sent whole. */
export function wholeOf<Thing extends object>(thing: string | Thing | null | undefined): Thing | undefined {
  return typeof thing === 'object' && thing !== null ? thing : undefined;
}

/**
 * True when Stripe said no and nothing was done. Anything else (no answer, a 5xx, the same request still under
 * way) leaves open whether it was; so do a wrong key and too many requests, which pass.
 */
export function isRefusal(error: unknown): error is Stripe.errors.StripeError {
  if (!(error instanceof Stripe.errors.StripeError)) return false;
  // The key was used with other parameters: then something was asked for, and may have been done.
  if (error instanceof Stripe.errors.StripeIdempotencyError) return false;
  return [400, 402, 403, 404].includes(error.statusCode ?? 500);
}
