import { type Clock, systemClock } from '../base/clock.ts';
import { type JsonObject, isJsonObject } from '../base/json.ts';
import type { Gateway, Reply } from './gateway.ts';
import { type MessageId, parseMessage } from './message.ts';
import { type Loss, isAway, pause, retryAfterMs, startOutage } from './outage.ts';
import type { ServerEvent } from './server-events.ts';
import { type Session, sessionIdOf } from './session.ts';
import { type Refusal, refuseStatus, refuseUnavailable } from './words.ts';

/** One request of the host, from its arrival until it is answered or cancelled. */
export type Exchange = {
  id: MessageId;
  method: string;
  params: JsonObject;
  /** What is sent, each time it is sent: byte for byte the same. */
  text: string;
  /** True from 2026-07-28 on: no session, and closing the connection is how a request is cancelled. */
  stateless: boolean;
  abort: AbortController;
  /** Answered or cancelled: from here on nobody waits for it. */
  settled: boolean;
};

export type ExchangeDeps = {
  gateway: Gateway;
  session: Session;
  url: URL;
  retryWindowMs: number;
  headersOf(exchange: Exchange): Record<string, string>;
  /** Hands one message of the gateway to the host. Settles the exchange that it answers. */
  deliver(text: string, exchange: Exchange): Promise<void>;
  clock?: Clock;
};

type Try =
  | { kind: 'done' }
  | { kind: 'refused'; refusal: Refusal }
  | { kind: 'session-gone'; sessionId: string }
  | { kind: 'lost'; loss: Loss };

/** A host with a start-up limit of its own (30 s is common) has to see our words before it gives up. */
const HANDSHAKE_WINDOW_MS = 10_000;
const MAX_RENEWALS = 2;

/**
 * send → relay what comes → (lost? wait and send the same text again). Returns the refusal to answer with
 * when the gateway never gave an answer; nothing when the exchange is settled.
 */
export async function runExchange(exchange: Exchange, deps: ExchangeDeps): Promise<Refusal | undefined> {
  const handshake = exchange.method === 'initialize' || exchange.method === 'server/discover';
  const windowMs = handshake ? Math.min(deps.retryWindowMs, HANDSHAKE_WINDOW_MS) : deps.retryWindowMs;
  const outage = startOutage(windowMs, deps.clock ?? systemClock);
  let renewals = 0;

  for (;;) {
    let outcome = await tryOnce(exchange, deps);
    if (exchange.settled || outcome.kind === 'done') return undefined;
    if (outcome.kind === 'refused') return outcome.refusal;

    if (outcome.kind === 'session-gone') {
      renewals += 1;
      const renewed = renewals <= MAX_RENEWALS && (await deps.session.renew(outcome.sessionId));
      if (renewed) continue;
      outcome = {
        kind: 'lost',
        loss: { cause: 'it forgot the session and opened no new one', retryable: renewals <= MAX_RENEWALS },
      };
    }
    const verdict = await outage.wait(outcome.loss, exchange.abort.signal);
    if (exchange.settled) return undefined;
    if (verdict.kind === 'over') return refuseUnavailable(deps.url, outcome.loss.cause, verdict.triedMs);
  }
}

async function tryOnce(exchange: Exchange, deps: ExchangeDeps): Promise<Try> {
  const headers = deps.headersOf(exchange);
  const reply = await deps.gateway.post(exchange.text, headers, exchange.abort.signal);
  if (exchange.settled) return { kind: 'done' };
  if (reply.kind === 'lost') return { kind: 'lost', loss: reply };
  if (exchange.method === 'initialize') deps.session.open(exchange.text, sessionIdOf(reply.headers));
  if (reply.kind === 'stream') return relayStream(reply.events, exchange, deps);

  const sessionId = headers['mcp-session-id'];
  if (reply.status === 404 && sessionId !== undefined) return { kind: 'session-gone', sessionId };
  return relayText(reply, exchange, deps);
}

async function relayText(
  reply: Extract<Reply, { kind: 'text' }>,
  exchange: Exchange,
  deps: ExchangeDeps,
): Promise<Try> {
  const { status, headers, text } = reply;
  if (isAway(status)) {
    const loss = {
      cause: `it answered HTTP ${status}`,
      retryable: true,
      retryAfterMs: retryAfterMs(headers['retry-after'], deps.clock ?? systemClock),
    };
    return { kind: 'lost', loss };
  }
  if (status !== 401) {
    const message = parseMessage(text);
    if (message.kind === 'answer' && message.id === exchange.id) {
      await deps.deliver(text, exchange);
      return { kind: 'done' };
    }
    const refusal = readRefusal(text);
    if (refusal !== undefined) return { kind: 'refused', refusal };
  }
  return { kind: 'refused', refusal: refuseStatus(deps.url, status, headers, text) };
}

/** A JSON-RPC error without an id: refused before the gateway knew whose request it was. It is still ours. */
function readRefusal(text: string): Refusal | undefined {
  try {
    const body: unknown = JSON.parse(text);
    const error = isJsonObject(body) && (body['id'] ?? null) === null ? body['error'] : undefined;
    if (!isJsonObject(error)) return undefined;
    const { code, message, data } = error;
    if (typeof code !== 'number' || typeof message !== 'string') return undefined;
    return { code, message, data: isJsonObject(data) ? data : {} };
  } catch {
    return undefined;
  }
}

async function relayStream(
  events: AsyncIterable<ServerEvent>,
  exchange: Exchange,
  deps: ExchangeDeps,
): Promise<Try> {
  let { lastEventId, retryMs, heard } = await relayEvents(events, exchange, deps);
  // Servers of 2025-11-25 may hang up in the middle and expect to be asked for the rest (SEP-1699).
  while (!exchange.settled && !exchange.stateless && lastEventId !== undefined) {
    await pause(retryMs, exchange.abort.signal);
    if (exchange.settled) break;
    const headers = { ...deps.session.headers(), 'last-event-id': lastEventId };
    const reply = await deps.gateway.get(headers, exchange.abort.signal);
    if (reply.kind !== 'stream') break;
    const resumed = await relayEvents(reply.events, exchange, deps);
    // A stream without a single event is no progress: fall back to asking from the start.
    if (resumed.lastEventId === undefined && !resumed.heard) break;
    lastEventId = resumed.lastEventId ?? lastEventId;
    retryMs = resumed.retryMs;
    heard ||= resumed.heard;
  }
  if (exchange.settled) return { kind: 'done' };
  return {
    kind: 'lost',
    loss: { cause: 'the connection was cut before the answer', retryable: true, heard },
  };
}

const DEFAULT_RESUME_MS = 1_000;

async function relayEvents(
  events: AsyncIterable<ServerEvent>,
  exchange: Exchange,
  deps: ExchangeDeps,
): Promise<{ lastEventId: string | undefined; retryMs: number; heard: boolean }> {
  let lastEventId: string | undefined;
  let retryMs = DEFAULT_RESUME_MS;
  let heard = false;
  for await (const event of events) {
    if (event.kind === 'id') lastEventId = event.id;
    else if (event.kind === 'retry') retryMs = Math.min(event.retryMs, 60_000);
    else {
      heard = true;
      await deps.deliver(event.text, exchange);
    }
  }
  return { lastEventId, retryMs, heard };
}
