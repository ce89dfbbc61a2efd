import type { MiddlewareHandler } from 'hono';
import { newId } from '../base/ids.ts';
import { Problem } from '../base/problem.ts';
import { requireStripe } from '../billing/stripe.ts';
import type { GateAnswer } from '../governance/gate.ts';
import type { Caller, Scope } from '../identity/caller.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { signedIn } from './route.ts';

/** Far more than people buy or are paid, and far less than Stripe takes from all organizations together. */
const ASKS_PER_MINUTE = 30;
/** Longer than Stripe is waited for, every retry included. */
const LONGEST_MS = 5 * 60_000;

/** `signedIn`, for a route that is nothing without Stripe: whoever lacks that is told so before anything else. */
export function withStripe(deps: Pick<HttpDeps, 'authenticator' | 'billing'>, scope: Scope) {
  const { security, middleware } = signedIn(deps, scope);
  const isConfigured: MiddlewareHandler<HttpEnv> = async (_, next) => {
    requireStripe(deps.billing);
    await next();
  };
  return { security, middleware: [middleware, isConfigured] };
}

/**
 * Asks Stripe on behalf of an organization, so many times a minute whichever of its keys and currencies asks: all
 * organizations of this gateway share one account there, and a script that is stuck must not use up what Stripe
 * takes from it.
 */
export async function askStripeFor<Answer>(
  deps: Pick<HttpDeps, 'calls'>,
  caller: Caller,
  ask: () => Promise<Answer>,
): Promise<Answer> {
  const turn = await enter(deps, caller, 'asks');
  if (turn.kind !== 'entered') throw tooOften(turn.kind === 'rate_limited' ? turn.retryAfterMs : 0);
  return ask().finally(() => turn.leave(0n));
}

/** The same for a look that can do without: what is `known` is answered when Stripe was asked too often. */
export async function lookAtStripeFor<Answer>(
  deps: Pick<HttpDeps, 'calls'>,
  caller: Caller,
  look: () => Promise<Answer>,
  known: () => Promise<Answer>,
): Promise<Answer> {
  // Counted apart: whoever looks every second can still pay.
  const turn = await enter(deps, caller, 'looks');
  return turn.kind === 'entered' ? look().finally(() => turn.leave(0n)) : known();
}

/** The gate that bounds the calls of a key, so it holds for all processes alike. */
function enter(
  { calls }: Pick<HttpDeps, 'calls'>,
  { organizationId, accountId }: Caller,
  what: 'asks' | 'looks',
): Promise<GateAnswer> {
  return calls.gate.enter({
    caller: {
      keyId: `stripe-${what}:${organizationId}`,
      accountId,
      ratePerMinute: ASKS_PER_MINUTE,
      maxConcurrent: ASKS_PER_MINUTE,
    },
    callId: newId('req'),
    amountMicros: 0n,
    ttlMs: LONGEST_MS,
  });
}

function tooOften(retryAfterMs: number): Problem {
  const seconds = Math.max(1, Math.ceil(retryAfterMs / 1_000));
  return new Problem(
    'RATE_LIMITED',
    `Your organization may have Stripe asked ${ASKS_PER_MINUTE} times a minute, by all of its keys together. Nothing was done; try again in ${seconds} s.`,
    { retry_after_seconds: seconds },
  );
}
