import { setTimeout as wait } from 'node:timers/promises';
import { traceOf } from '../base/log.ts';
import { retryAfterMs } from './backoff.ts';
import { claimDue, LEASE_MS, type Claimed } from './claim-due.ts';
import type { WebhookDeps } from './deps.ts';
import { markGone } from './endpoints.ts';
import type { EndedAttempt } from './record-attempts.ts';
import type { Attempt } from './sender.ts';
import { signatureHeaders } from './signature.ts';

/** How long a run waits for requests none of which ends; they go on, and a later run fills what they leave. */
const PATIENCE_MS = 1_000;
/** Then it is time to look for what happened meanwhile. */
const LONGEST_RUN_MS = 2_000;
const GONE = 410;

/**
 * Sends what is due until nothing more is, or for two seconds, and answers how many requests it began. What a
 * slow receiver keeps open is not waited for: it stays under way in `deps.flights`.
 */
export async function deliverDue(deps: WebhookDeps): Promise<number> {
  const { flights, clock } = deps;
  const before = clock.elapsed();
  let sent = 0;
  for (;;) {
    const claimed = await claimDue(deps);
    for (const each of claimed) flights.add(each, deliver(deps, each));
    sent += claimed.length;
    if (flights.isIdle() || clock.elapsed() - before > LONGEST_RUN_MS) return sent;
    if (!(await landsInTime(flights.landed()))) return sent;
  }
}

async function landsInTime(landed: Promise<void>): Promise<boolean> {
  const done = new AbortController();
  try {
    return await Promise.race([landed.then(() => true), wait(PATIENCE_MS, false, { signal: done.signal })]);
  } finally {
    done.abort();
  }
}

/** One attempt, from its signature to its record. Never rejects: what we cannot record is sent again. */
async function deliver(deps: WebhookDeps, claimed: Claimed): Promise<'delivered' | 'failed'> {
  const { sender, recorder, clock, log } = deps;
  try {
    const before = clock.elapsed();
    const heldMs = before - claimed.askedElapsed;
    // This process slept so long that another may have taken it, or will before we have ended.
    if (heldMs + sender.timeoutMs >= LEASE_MS) return 'failed';
    const at = Math.trunc(claimed.leasedUntil.getTime() - LEASE_MS + heldMs);

    const secrets =
      claimed.previousSecret === null ? [claimed.secret] : [claimed.secret, claimed.previousSecret];
    const headers = signatureHeaders(claimed.eventId, at, claimed.payload, secrets);
    const attempt = await sender.send(claimed.url, headers, claimed.payload);
    // Sent; from here on it is known to the receiver, and a crash makes it hear of it again.

    const outcome = outcomeOf(attempt, claimed.attempts + 1);
    if (attempt.status === GONE) await markGone(deps.db, claimed.endpointId, claimed.url);
    await recorder.record({
      ...attempt,
      deliveryUuid: claimed.id,
      leasedUntil: claimed.leasedUntil,
      at: new Date(at),
      durationMs: Math.round(clock.elapsed() - before),
      outcome,
    });
    return outcome.kind === 'delivered' ? 'delivered' : 'failed';
  } catch (error) {
    log('error', 'a webhook attempt could not be made or recorded; it will be made again', {
      delivery: claimed.id,
      error: traceOf(error),
    });
    return 'failed';
  }
}

function outcomeOf({ error, status }: Attempt, attempts: number): EndedAttempt['outcome'] {
  if (error === null) return { kind: 'delivered' };
  if (status === GONE) return { kind: 'failed' };
  const afterMs = retryAfterMs(attempts);
  return afterMs === undefined ? { kind: 'failed' } : { kind: 'retry', afterMs };
}
