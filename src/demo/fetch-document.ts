import { Agent, request, type Dispatcher } from 'undici';
import { ipLiteralOf, isPublicAddress, lookupPublic, PRIVATE_ADDRESS } from './public-address.ts';
import { Refusal } from './refusal.ts';

/** A document that has begun to arrive. Reading `body` refuses at the first byte past the limit. */
export type Document = { url: URL; contentType: string; body: AsyncIterable<Uint8Array> };

/** Downloads what a stranger's URL names, from public addresses only. */
export type DocumentFetcher = {
  fetch(url: string, limits: DownloadLimits): Promise<Document>;
  close(): Promise<void>;
};

export type DownloadLimits = {
  /** The `Accept` header. */
  accept: string;
  /** Content types that are refused before a byte of the body is read. */
  refuse?: RegExp;
  maxBytes: number;
  /** Ends the whole download, however slowly its bytes drip. */
  signal: AbortSignal;
};

const MAX_REDIRECTS = 5;
/** Between two bytes. The whole download is bounded by the caller's signal. */
const IDLE_TIMEOUT_MS = 10_000;

/**
 * `ownOrigin` is the single exception from the address rule: the origin that serves the sample documents. It
 * is compared as an origin, so another port of the same machine stays out of reach.
 */
export function createDocumentFetcher(ownOrigin: () => string): DocumentFetcher {
  const timeouts = { headersTimeout: IDLE_TIMEOUT_MS, bodyTimeout: IDLE_TIMEOUT_MS };
  const publicOnly = new Agent({ ...timeouts, connect: { timeout: IDLE_TIMEOUT_MS, lookup: lookupPublic } });
  const ownSamples = new Agent({ ...timeouts, connect: { timeout: IDLE_TIMEOUT_MS } });

  return {
    async fetch(text, limits) {
      const { accept, maxBytes, signal } = limits;
      let url = parseUrl(text);
      // Redirects are followed by hand: every hop is a new stranger's URL and passes the same checks.
      for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
        const isOwn = url.origin === ownOrigin();
        if (!isOwn) refusePrivateLiteral(url);
        const response = await send(url, { accept, signal, dispatcher: isOwn ? ownSamples : publicOnly });
        const location = response.headers['location'];
        if (response.statusCode >= 300 && response.statusCode < 400 && typeof location === 'string') {
          response.body.destroy();
          url = parseUrl(location, url);
          continue;
        }
        const contentType = contentTypeOf(response);
        refuseUnusable(url, response, limits);
        return {
          url,
          contentType,
          body: limit(response.body, maxBytes, url, signal),
        };
      }
      throw new Refusal(422, `${describe(url)} redirects more than ${MAX_REDIRECTS} times.`);
    },
    async close() {
      await Promise.all([publicOnly.destroy(), ownSamples.destroy()]);
    },
  };
}

/** The whole document in one piece. */
export async function readAll(document: Document): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  for await (const part of document.body) parts.push(part);
  const whole = Buffer.concat(parts);
  // A copy of its own: a pooled buffer must not be transferred to another thread.
  return new Uint8Array(whole);
}

function parseUrl(text: string, base?: URL): URL {
  const url = URL.parse(text, base?.href);
  if (!url) throw new Refusal(400, 'The url is not a valid absolute URL.');
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new Refusal(400, `Only http and https URLs can be downloaded, not ${url.protocol}`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new Refusal(400, 'A url with a user name or password in it is not accepted.');
  }
  return url;
}

// A literal never reaches the lookup function, so it is checked here.
function refusePrivateLiteral(url: URL): void {
  const literal = ipLiteralOf(url);
  if (literal !== undefined && !isPublicAddress(literal)) throw privateAddress(url);
}

function privateAddress(url: URL): Refusal {
  return new Refusal(
    403,
    `${describe(url)} is at a private or local address; only public URLs can be downloaded.`,
  );
}

async function send(
  url: URL,
  options: { accept: string; signal: AbortSignal; dispatcher: Dispatcher },
): Promise<Dispatcher.ResponseData> {
  const { accept, signal, dispatcher } = options;
  try {
    const response = await request(url, {
      headers: { accept, 'user-agent': 'sentinel-demo-agent/1.0' },
      signal,
      dispatcher,
    });
    // A body that is given up says so with an event; whoever reads it hears of a lost connection anyway.
    response.body.on('error', () => {});
    return response;
  } catch (error) {
    throw connectionRefusal(error, url, signal);
  }
}

function connectionRefusal(error: unknown, url: URL, signal: AbortSignal): Refusal {
  if (error instanceof Refusal) return error;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === PRIVATE_ADDRESS) return privateAddress(url);
  if (signal.aborted || (typeof code === 'string' && code.endsWith('_TIMEOUT'))) {
    return new Refusal(504, `${describe(url)} took too long to download.`, { cause: error });
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return new Refusal(422, `The host name ${url.hostname} could not be resolved.`, { cause: error });
  }
  return new Refusal(502, `${describe(url)} could not be downloaded: the connection failed.`, {
    cause: error,
  });
}

function contentTypeOf({ headers }: Dispatcher.ResponseData): string {
  const contentType = headers['content-type'];
  return typeof contentType === 'string' ? contentType.toLowerCase() : '';
}

function refuseUnusable(
  url: URL,
  response: Dispatcher.ResponseData,
  { maxBytes, refuse }: DownloadLimits,
): void {
  const { statusCode, headers, body } = response;
  if (statusCode !== 200) {
    body.destroy();
    throw new Refusal(422, `${describe(url)} answered with HTTP status ${statusCode} instead of a document.`);
  }
  const contentType = contentTypeOf(response);
  if (refuse?.test(contentType)) {
    body.destroy();
    throw new Refusal(422, `${describe(url)} is of the type ${contentType}, which this agent cannot read.`);
  }
  if (Number(headers['content-length'] ?? 0) > maxBytes) {
    body.destroy();
    throw tooLarge(url, maxBytes);
  }
}

async function* limit(
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
  url: URL,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let size = 0;
  try {
    for await (const part of body) {
      size += part.byteLength;
      if (size > maxBytes) throw tooLarge(url, maxBytes);
      yield part;
    }
  } catch (error) {
    throw connectionRefusal(error, url, signal);
  }
}

function tooLarge(url: URL, maxBytes: number): Refusal {
  return new Refusal(413, `${describe(url)} is larger than ${maxBytes / 1_000_000} MB.`);
}

/** Without the query, which may carry a secret of the buyer. */
function describe(url: URL): string {
  return `${url.origin}${url.pathname}`;
}
