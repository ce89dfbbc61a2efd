import { type JsonObject, isJsonObject } from '../base/json.ts';
import { type Exchange, type ExchangeDeps, runExchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import type { Host } from './host.ts';
import { withIdempotencyKey } from './idempotency.ts';
import { type Message, claimedVersion, formatError, idKey, parseMessage } from './message.ts';
import { type OneWay, sendOneWay } from './one-way.ts';
import { startSession } from './session.ts';
import { rememberToolHeaders } from './tool-headers.ts';
import { type UnderWay, openExchange, repeatsProgress } from './under-way.ts';

export type Relay = {
  /** Takes one line from the host. Returns at once; answers go to the host as they come. */
  accept(text: string): void;
  /** Gives up everything under way and takes leave of the gateway. */
  close(): Promise<void>;
};

export type RelayDeps = {
  host: Host;
  gateway: Gateway;
  url: URL;
  key: string;
  retryWindowMs: number;
  /** One line for the person who reads the host's log. */
  log: (line: string) => void;
};

/** After its answer a stream may still hold a late notification; longer than this it is just a forgotten connection. */
const LINGER_MS = 5_000;

/**
 * Relays messages between one host and the gateway, both ways and in both eras of the protocol. It looks
 * into a message only as far as the transport demands; its text passes through as it came.
 */
export function startRelay({ host, gateway, url, key, retryWindowMs, log }: RelayDeps): Relay {
  const underWay = new Map<string, UnderWay>();
  const toolHeaders = rememberToolHeaders();
  const session = startSession(gateway, (text) => deliver(text));
  // What follows `initialize` and `notifications/initialized` must not overtake them: a server would refuse it.
  let ready: Promise<unknown> = Promise.resolve();
  // Notifications and answers keep the order the host sent them in; requests run side by side.
  let inOrder: Promise<void> = Promise.resolve();
  const closed = new AbortController();
  const oneWayDeps = { gateway, retryWindowMs, closed: closed.signal, log };

  const exchangeDeps: ExchangeDeps = {
    gateway,
    session,
    url,
    retryWindowMs,
    headersOf: ({ method, params, stateless }) => {
      if (stateless) return toolHeaders.headersOf(method, params);
      return method === 'initialize' ? {} : session.headers();
    },
    deliver,
  };

  function accept(text: string): void {
    const message = parseMessage(text);
    switch (message.kind) {
      case 'request':
        return acceptRequest(message, text);
      case 'notification':
        if (message.method === 'notifications/cancelled') return acceptCancel(message.params, text);
        inOrder = sendInOrder(oneWay(text, message.method, message.params));
        if (message.method === 'notifications/initialized') ready = inOrder.then(() => session.follow());
        return undefined;
      case 'answer':
        inOrder = sendInOrder(oneWay(text, 'an answer of the host', {}));
        return undefined;
      case 'malformed':
        return void host.write(formatError(message.id, message.code, message.words));
    }
  }

  function acceptRequest({ id, method, params }: Extract<Message, { kind: 'request' }>, text: string): void {
    if (underWay.has(idKey(id))) {
      // Answering under that id would answer the first request.
      void host.write(formatError(null, -32600, `Invalid request: the id ${idKey(id)} is still in use`));
      return;
    }
    const exchange = openExchange(
      id,
      method,
      params,
      method === 'tools/call' ? withIdempotencyKey(text, params) : text,
    );
    underWay.set(idKey(id), exchange);
    const before = ready;
    if (method === 'initialize') ready = exchange.settledSoon;
    void run(exchange, before);
  }

  async function run(exchange: UnderWay, before: Promise<unknown>): Promise<void> {
    await before;
    const refusal = exchange.settled ? undefined : await runExchange(exchange, exchangeDeps);
    clearTimeout(exchange.linger);
    if (refusal === undefined || exchange.settled) return;
    settle(exchange);
    clearTimeout(exchange.linger);
    log(refusal.message);
    await toHost(formatError(exchange.id, refusal.code, refusal.message, refusal.data));
  }

  function acceptCancel(params: JsonObject, text: string): void {
    const id = params['requestId'];
    const exchange = typeof id === 'string' || typeof id === 'number' ? underWay.get(idKey(id)) : undefined;
    // To the stateless era the closed connection is the cancellation, and the notification means nothing.
    const stateless = exchange?.stateless ?? !session.isOpen();
    if (!stateless) void sendOneWay(oneWay(text, 'notifications/cancelled', params), oneWayDeps);
    if (exchange === undefined) return;
    settle(exchange);
    exchange.abort.abort();
  }

  /** Hands one message of the gateway to the host; `exchange` is the one on whose stream it came. */
  async function deliver(text: string, exchange?: Exchange): Promise<void> {
    if (closed.signal.aborted) return;
    const message = parseMessage(text);
    if (message.kind === 'malformed') {
      log('The gateway sent something that is not a JSON-RPC message; it was dropped.');
    } else if (message.kind === 'answer') {
      const answered = underWay.get(idKey(message.id));
      // Cancelled meanwhile, or answered twice: the host is not waiting for this any more.
      if (answered === undefined) return;
      settle(answered);
      if (answered !== exchange) answered.abort.abort();
      await toHost(observeAnswer(answered, message.body, text));
    } else if (exchange === undefined || !repeatsProgress(exchange as UnderWay, message)) {
      await toHost(text);
    }
  }

  function observeAnswer(exchange: Exchange, body: JsonObject, text: string): string {
    const result = body['result'];
    if (!isJsonObject(result)) return text;
    if (exchange.method === 'initialize') session.agree(result);
    // Looking through every schema costs time, and almost no list mentions the word.
    if (exchange.method !== 'tools/list' || !exchange.stateless || !text.includes('x-mcp-header'))
      return text;
    const learned = toolHeaders.learn(result);
    if (learned.kind === 'unchanged') return text;
    log(`Tools left out because their x-mcp-header declarations are invalid: ${learned.dropped.join(', ')}`);
    return JSON.stringify({ ...body, result: learned.result });
  }

  function oneWay(text: string, name: string, params: JsonObject): OneWay {
    const stateless = claimedVersion(params) !== undefined;
    return {
      text,
      name,
      headers: () => (stateless ? toolHeaders.headersOf(name, params) : session.headers()),
    };
  }

  async function sendInOrder(message: OneWay): Promise<void> {
    const [before, previous] = [ready, inOrder];
    await before;
    await previous;
    await sendOneWay(message, oneWayDeps);
  }

  function settle(exchange: UnderWay): void {
    exchange.settled = true;
    underWay.delete(idKey(exchange.id));
    exchange.resolveSettled();
    exchange.linger = setTimeout(() => exchange.abort.abort(), LINGER_MS);
    exchange.linger.unref();
  }

  /** Should the gateway ever echo the key, it still does not reach the host's transcript. */
  function toHost(text: string): Promise<void> {
    return host.write(text.includes(key) ? text.replaceAll(key, 'sk_…') : text);
  }

  return {
    accept,
    async close() {
      closed.abort();
      for (const exchange of underWay.values()) {
        settle(exchange);
        exchange.abort.abort();
      }
      await session.close();
      gateway.close();
    },
  };
}
