import { createHmac, randomBytes } from 'node:crypto';
import { invariant } from '../base/invariant.ts';

const PREFIX = 'whsec_';
/** The specification asks for 24 to 64. */
const SECRET_BYTES = 32;

/** A new secret, as Standard Webhooks writes them: `whsec_` and base64. */
export function newWebhookSecret(): string {
  return `${PREFIX}${randomBytes(SECRET_BYTES).toString('base64')}`;
}

/**
 * The three headers of Standard Webhooks 1.0 (standardwebhooks.com): an HMAC-SHA256 over id, time and body
 * for each secret. A receiver accepts the request when any one of them is right, so during a rotation both
 * the old secret and the new one work.
 */
export function signatureHeaders(
  webhookId: string,
  sentAtMs: number,
  body: string,
  secrets: readonly string[],
): Record<string, string> {
  // Seconds, and not a digit more: a receiver compares the header's text.
  const timestamp = Math.floor(sentAtMs / 1_000).toString();
  const signatures = secrets.map((secret) => {
    invariant(secret.startsWith(PREFIX), 'a webhook secret has its prefix');
    const key = Buffer.from(secret.slice(PREFIX.length), 'base64');
    return `v1,${createHmac('sha256', key).update(`${webhookId}.${timestamp}.${body}`).digest('base64')}`;
  });
  return {
    'webhook-id': webhookId,
    'webhook-timestamp': timestamp,
    'webhook-signature': signatures.join(' '),
  };
}
