import type { ClientRequest, IncomingHttpHeaders, IncomingMessage, Agent as HttpAgent } from 'node:http';
import { type ServerEvent, readEvents } from './server-events.ts';

/** One HTTP exchange's outcome. Nothing here throws: what the network does is an answer like any other. */
export type Reply =
  | { kind: 'stream'; headers: IncomingHttpHeaders; events: AsyncGenerator<ServerEvent, void> }
  | { kind: 'text'; status: number; headers: IncomingHttpHeaders; text: string }
  /** No usable answer. `stale`: the connection had been idle and was closed under us, so nothing was wrong. */
  | { kind: 'lost'; cause: string; retryable: boolean; stale: boolean };

/** The gateway's side: Streamable HTTP with the key on every request. */
export type Gateway = {
  post(body: string, headers: Record<string, string>, signal: AbortSignal): Promise<Reply>;
  get(headers: Record<string, string>, signal: AbortSignal): Promise<Reply>;
  delete(headers: Record<string, string>, signal: AbortSignal): Promise<Reply>;
  close(): void;
};

const CONNECT_TIMEOUT_MS = 10_000;
/** Longer than any agent may take (300 s): after this much silence the connection is dead, not the agent slow. */
const SILENCE_TIMEOUT_MS = 330_000;
/** An answer of the largest size an agent may give, which an MCP result says twice, once of it as a text. */
const MAX_ANSWER_BYTES = 192 * 1024 * 1024;
/** From this size on a body is sent when the gateway has said that it takes it. */
const ASK_FIRST_BYTES = 256 * 1024;
/** Who does not know the question does not answer it; HTTP has such clients send the body after a while. */
const ASK_FIRST_MS = 3_000;

/**
 * `node:http` and not `fetch`: it follows no redirect, so the key goes nowhere but to the configured
 * address, it tells a refused connection from a broken one, and `fetch` costs 20 ms of start-up.
 */
export async function connectGateway(url: URL, key: string, userAgent: string): Promise<Gateway> {
  // Loading TLS takes a tenth of the start-up, and a gateway on this machine has none.
  const http = url.protocol === 'https:' ? await import('node:https') : await import('node:http');
  // Certificates are always checked, whatever NODE_TLS_REJECT_UNAUTHORIZED says: the key is behind them.
  const agent: HttpAgent = new http.Agent({
    keepAlive: true,
    ...(url.protocol === 'https:' && { rejectUnauthorized: true }),
  });

  async function send(
    method: string,
    body: string | undefined,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Reply> {
    const length = body === undefined ? 0 : Buffer.byteLength(body);
    if (length < ASK_FIRST_BYTES) return sendOnce(method, body, headers, signal);
    const reply = await sendOnce(method, body, { ...headers, expect: '100-continue' }, signal);
    // Something on the way does not do what was asked (RFC 9110 section 15.5.18); without the question it may.
    const isUnknown = reply.kind === 'text' && reply.status === 417;
    return isUnknown ? sendOnce(method, body, headers, signal) : reply;
  }

  function sendOnce(
    method: string,
    body: string | undefined,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Reply> {
    return new Promise((resolve) => {
      let request: ClientRequest;
      try {
        request = http.request(url, {
          method,
          agent,
          signal,
          headers: {
            ...headers,
            authorization: `Bearer ${key}`,
            'user-agent': userAgent,
            ...(body !== undefined && {
              'content-type': 'application/json',
              'content-length': Buffer.byteLength(body),
            }),
          },
        });
      } catch (error) {
        resolve({ ...describeLoss(error, false), retryable: false });
        return;
      }
      giveUpOnSilence(request);
      // Errors after the answer began end its body instead; this listener then only keeps them from throwing.
      request.on('error', (error) => resolve(describeLoss(error, request.reusedSocket)));
      const sendBody = whenAsked(request, body, 'expect' in headers);
      request.once('response', (response) => {
        const isUnsent = sendBody.cancel();
        void readReply(response).then((reply) => {
          resolve(reply);
          // The connection would wait for a body that nobody wants.
          if (isUnsent && reply.kind !== 'stream') request.destroy();
        });
      });
    });
  }

  const accept = { accept: 'application/json, text/event-stream' };
  return {
    post: (body, headers, signal) => send('POST', body, { ...headers, ...accept }, signal),
    get: (headers, signal) => send('GET', undefined, { ...headers, accept: 'text/event-stream' }, signal),
    delete: (headers, signal) => send('DELETE', undefined, { ...headers, ...accept }, signal),
    close: () => agent.destroy(),
  };
}

/** Sends the body at once, or when the gateway asks for it; `cancel` says whether it was still to be sent. */
function whenAsked(
  request: ClientRequest,
  body: string | undefined,
  asksFirst: boolean,
): { cancel(): boolean } {
  if (!asksFirst) {
    request.end(body);
    return { cancel: () => false };
  }
  let isSent = false;
  const send = (): void => {
    clearTimeout(timer);
    if (isSent || request.destroyed) return;
    isSent = true;
    request.end(body);
  };
  const timer = setTimeout(send, ASK_FIRST_MS);
  request.once('continue', send).once('close', () => clearTimeout(timer));
  request.flushHeaders();
  return {
    cancel() {
      clearTimeout(timer);
      const wasSent = isSent;
      isSent = true;
      return !wasSent;
    },
  };
}

function giveUpOnSilence(request: ClientRequest): void {
  request.once('socket', (socket) => {
    if (!socket.connecting) return;
    const timer = setTimeout(() => request.destroy(networkError('ETIMEDOUT')), CONNECT_TIMEOUT_MS);
    const clear = (): void => clearTimeout(timer);
    socket.once('connect', clear).once('close', clear);
  });
  request.setTimeout(SILENCE_TIMEOUT_MS, () => request.destroy(networkError('ETIMEDOUT')));
}

async function readReply(response: IncomingMessage): Promise<Reply> {
  const { headers } = response;
  const status = response.statusCode ?? 0;
  if (status === 200 && /^text\/event-stream\b/i.test(headers['content-type'] ?? '')) {
    return { kind: 'stream', headers, events: readEvents(response) };
  }
  try {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > MAX_ANSWER_BYTES) {
        response.destroy();
        return { kind: 'lost', cause: 'the answer is larger than 192 MiB', retryable: false, stale: false };
      }
      chunks.push(chunk);
    }
    return { kind: 'text', status, headers, text: Buffer.concat(chunks).toString('utf8') };
  } catch (error) {
    return describeLoss(error, false);
  }
}

/** Certificate faults stay the same however often one asks; everything else may be a gateway restarting. */
const LASTING = /^(CERT_|ERR_TLS|ERR_INVALID|ERR_SSL|EPROTO|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|HPE_)/;

const CERTIFICATE = /CERT|UNABLE_TO_/;
const UNTRUSTED = 'its certificate is not trusted (NODE_EXTRA_CA_CERTS may name an authority of your own)';

const WORDS: Record<string, string> = {
  ECONNREFUSED: 'the connection was refused',
  ECONNRESET: 'the connection was cut',
  EPIPE: 'the connection was cut',
  ENOTFOUND: 'its name could not be resolved',
  EAI_AGAIN: 'its name could not be resolved',
  ETIMEDOUT: 'it did not respond in time',
  EHOSTUNREACH: 'there is no route to it',
  ENETUNREACH: 'the network is down',
};

function describeLoss(error: unknown, reusedSocket: boolean): Extract<Reply, { kind: 'lost' }> {
  const code = errorCode(error);
  const cut = code === 'ECONNRESET' || code === 'EPIPE';
  return {
    kind: 'lost',
    cause: `${WORDS[code] ?? (CERTIFICATE.test(code) ? UNTRUSTED : 'the connection failed')} (${code})`,
    retryable: !LASTING.test(code),
    stale: reusedSocket && cut,
  };
}

function errorCode(error: unknown): string {
  // A host with several addresses fails with one error per address; they say the same thing.
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  const code = first instanceof Error && 'code' in first ? first.code : undefined;
  return typeof code === 'string' ? code : 'unknown';
}

function networkError(code: string): Error {
  return Object.assign(new Error(code), { code });
}
