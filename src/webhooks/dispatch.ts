import { deliverDue } from './deliver-due.ts';
import type { WebhookDeps } from './deps.ts';
import { fanOut } from './fan-out.ts';

/** A run ends then even if there is more: the next one is not far, and whoever stops the gateway waits for this. */
const LONGEST_RUN_MS = 10_000;

/**
 * Tells whoever wants to hear what happened since the last time, and sends what is due, until there is nothing
 * more to do. Any number of processes may, at any time.
 */
export async function dispatchWebhooks(deps: WebhookDeps): Promise<void> {
  const before = deps.clock.elapsed();
  for (;;) {
    const made = await fanOut(deps);
    const sent = await deliverDue(deps);
    if (made === 0 && sent === 0) return;
    if (deps.clock.elapsed() - before > LONGEST_RUN_MS) return;
  }
}
