import type { IncomingHttpHeaders } from 'node:http';
import { parseRetryAfterMs } from '../base/http-fields.ts';
import { type JsonObject, isJsonObject } from '../base/json.ts';
import { redact } from './redact.ts';
import type { RefusedSettings } from './settings.ts';

/**
 * What the host is told when there is no answer to relay: a JSON-RPC error whose message a person can act
 * on, because that message is all most hosts show. `data.code` is one of the gateway's own problem codes.
 */
export type Refusal = { code: number; message: string; data: JsonObject };

/** JSON-RPC leaves -32000 and below to implementations, and hosts read no other meaning into this one. */
const PROXY_ERROR = -32000;

const DOCTOR = '`npx -y @sentinel-network/mcp-proxy doctor` checks the whole set-up.';

/** The address as people may see it: the filters in its query are nobody's concern in an error. */
export function showUrl(url: URL): string {
  return redact(url.origin + url.pathname);
}

/** The environment does not say enough to reach the gateway at all. */
export function refuseSettings({ variable, words }: RefusedSettings): Refusal {
  const code = variable === 'SENTINEL_API_KEY' ? 'UNAUTHENTICATED' : 'UNAVAILABLE';
  return { code: PROXY_ERROR, message: words, data: { code, retryable: false } };
}

/** The gateway could not be reached for as long as we were willing to try. */
export function refuseUnavailable(url: URL, cause: string, triedMs: number): Refusal {
  const tried = triedMs >= 1000 ? ` (tried for ${Math.round(triedMs / 1000)} s)` : '';
  return {
    code: PROXY_ERROR,
    message: `The Sentinel gateway at ${showUrl(url)} cannot be reached: ${redact(cause)}${tried}. Check your network and SENTINEL_URL, then try again. ${DOCTOR}`,
    data: { code: 'UNAVAILABLE', retryable: true },
  };
}

/** An HTTP answer that holds no JSON-RPC message. */
export function refuseStatus(url: URL, status: number, headers: IncomingHttpHeaders, body: string): Refusal {
  const refuse = (code: string, message: string, retryable = false): Refusal => ({
    code: PROXY_ERROR,
    message,
    data: { code, retryable, status },
  });
  const at = showUrl(url);

  if (status === 401) {
    return refuse(
      'UNAUTHENTICATED',
      `Sentinel refused the API key (HTTP 401 from ${at}). Check SENTINEL_API_KEY in the env block of this server in your host's configuration: the key may be mistyped, revoked, or from another gateway. ${DOCTOR}`,
    );
  }
  if (status >= 300 && status < 400) {
    const target = redact((headers.location ?? 'nowhere').split('?')[0] ?? '');
    return refuse(
      'UNAVAILABLE',
      `${at} redirects to ${target} (HTTP ${status}). Redirects are not followed, so that your key goes nowhere else. If that address is right, set SENTINEL_URL to it.`,
    );
  }
  if (status === 429) {
    const afterMs = parseRetryAfterMs(headers['retry-after'] ?? '', Date.now()) ?? 0;
    return refuse(
      'RATE_LIMITED',
      `Too many requests for this key (HTTP 429). Try again ${afterMs > 0 ? `in ${Math.ceil(afterMs / 1000)} s` : 'later'}.`,
      true,
    );
  }
  const detail = problemDetail(body);
  if (detail !== undefined)
    return refuse('INVALID_INPUT', `Sentinel refused the request (HTTP ${status}): ${detail}`);
  if (status === 404 || status === 405) {
    return refuse(
      'NOT_FOUND',
      `There is no MCP endpoint at ${at} (HTTP ${status}). Check SENTINEL_URL; its path is usually /mcp.`,
    );
  }
  if (status >= 200 && status < 300) {
    const type = (headers['content-type'] ?? 'no content type').split(';')[0] ?? '';
    return refuse(
      'UNAVAILABLE',
      `${at} answered with ${type} instead of an MCP message. Check SENTINEL_URL. ${DOCTOR}`,
    );
  }
  return refuse(
    'UNAVAILABLE',
    `The Sentinel gateway at ${at} answered HTTP ${status}. ${DOCTOR}`,
    status >= 500,
  );
}

/** The public words of an RFC 9457 problem, say which filter of the URL is wrong. */
function problemDetail(body: string): string | undefined {
  try {
    const problem: unknown = JSON.parse(body);
    if (!isJsonObject(problem)) return undefined;
    const text = problem['detail'] ?? problem['title'];
    return typeof text === 'string' ? redact(text).slice(0, 500) : undefined;
  } catch {
    return undefined;
  }
}
