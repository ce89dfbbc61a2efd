import { isIP } from 'node:net';
import { ADDRESS_REFUSED, checkEndpointUrl, guardLookup } from '../upstream/address-guard.ts';
import type { EndpointRules, Resolve } from '../upstream/address-guard.ts';
import { startExchange } from '../upstream/exchange.ts';
import { createPools } from '../upstream/pools.ts';

export type SenderOptions = EndpointRules & {
  /** How names become addresses; the system's resolver when absent. */
  resolve?: Resolve | undefined;
  /** Connecting, sending and waiting for the answer together: 15 s. */
  timeoutMs?: number;
};

/** How one attempt ended. `error` is public: it is in the delivery log. */
export type Attempt = {
  /** The HTTP status, unless there was no answer. */
  status: number | null;
  /** Null when the receiver accepted it. */
  error: string | null;
  /** The first characters of what the receiver answered. */
  answer: string | null;
};

/** `reason` follows the URL. Some of what is refused is the operator's to allow. */
export type Refusal = { reason: string; operatorMayAllow: boolean };

/** Speaks to the receivers of webhooks, through the guard that agents are called through. */
export type Sender = {
  timeoutMs: number;
  /** Why nothing may be sent to this URL. Looks its host up. */
  check(url: string): Promise<Refusal | undefined>;
  /** Never throws for what a receiver does. Only 2xx is acceptance; no redirect is followed. */
  send(url: string, headers: Record<string, string>, body: string): Promise<Attempt>;
  /** Ends what is under way. */
  close(): Promise<void>;
};

const TIMEOUT_MS = 15_000;
const CONNECT_TIMEOUT_MS = 5_000;
const ANSWER_BYTES = 1_024;
/** The status says all; how long we wait for a receiver to end its sentence. */
const ANSWER_MS = 1_000;
const LEADS_ASIDE: Refusal = {
  reason: 'must not lead to an address that is not public',
  operatorMayAllow: true,
};
const NOT_FOUND: Refusal = { reason: 'has a host name that cannot be found', operatorMayAllow: false };
const HEADERS = {
  'content-type': 'application/json',
  accept: '*/*',
  'accept-encoding': 'identity',
  'user-agent': 'sentinel-webhooks',
};

export function createSender(options: SenderOptions): Sender {
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const pools = createPools({
    ...options,
    // Receivers of several organizations may live behind one origin; each of them is bounded where it is claimed.
    maxConnectionsPerOrigin: 128,
    connectTimeoutMs: Math.min(CONNECT_TIMEOUT_MS, timeoutMs),
    sweepEveryMs: 60_000,
  });
  const lookup = guardLookup(options.resolve);

  async function check(text: string): Promise<Refusal | undefined> {
    const verdict = checkEndpointUrl(text, options);
    if (verdict.kind === 'refused') return verdict;
    const { hostname } = verdict.url;
    if (options.allowEndpoint?.(verdict.url) || isIP(hostname.replace(/^\[|\]$/g, '')) !== 0)
      return undefined;
    return new Promise((resolve) => {
      lookup(hostname, { all: true }, (error) => {
        if (error?.code === ADDRESS_REFUSED) resolve(LEADS_ASIDE);
        else if (error?.code === 'ENOTFOUND') resolve(NOT_FOUND);
        // A resolver that is out of order says nothing about the URL, and every delivery asks again.
        else resolve(undefined);
      });
    });
  }

  function send(url: string, headers: Record<string, string>, body: string): Promise<Attempt> {
    // Checked again at every attempt: what was allowed when the endpoint was made may no longer be.
    const found = pools.find(url);
    if (found.kind === 'refused') {
      return Promise.resolve({ status: null, error: `its URL ${found.reason}`, answer: null });
    }
    return new Promise((resolve, reject) => {
      let status: number | null = null;
      const parts: Buffer[] = [];
      let bytes = 0;
      let timer = setTimeout(() => end('it did not answer in time'), timeoutMs);

      function end(failure: string | null): void {
        clearTimeout(timer);
        if (status === null) {
          exchange.abort();
          resolve({ status, error: failure, answer: null });
        } else {
          exchange.drain();
          resolve({ status, error: refusalOf(status), answer: textOf(parts) });
        }
      }

      const post = { headers: Promise.resolve({ ...HEADERS, ...headers }), body: Buffer.from(body) };
      const exchange = startExchange(found.target, post, {
        head(answered) {
          status = answered;
          clearTimeout(timer);
          timer = setTimeout(() => end(null), ANSWER_MS);
        },
        data(chunk) {
          parts.push(chunk);
          bytes += chunk.length;
          if (bytes >= ANSWER_BYTES) end(null);
        },
        end: () => end(null),
        failed: ({ detail }) => end(detail),
        crashed: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
    });
  }

  return { timeoutMs, check, send, close: () => pools.close() };
}

function refusalOf(status: number): string | null {
  if (status >= 200 && status < 300) return null;
  return status >= 300 && status < 400
    ? `it answered ${status}; redirects are not followed`
    : `it answered ${status}`;
}

/** What a receiver says is kept as text; NUL is the one character PostgreSQL has no text for. */
function textOf(parts: Buffer[]): string {
  return Buffer.concat(parts).subarray(0, ANSWER_BYTES).toString('utf8').replaceAll('\0', '\uFFFD');
}
