import type { IncomingHttpHeaders } from 'node:http';
import { type JsonObject, isJsonObject } from '../base/json.ts';
import { readAnswer } from './answer.ts';
import type { Gateway } from './gateway.ts';
import { isAway, pause } from './outage.ts';

/**
 * What the protocol revisions before 2026-07-28 keep between requests: the negotiated version, the session
 * id if the server gives one, and the stream on which the server speaks unasked.
 */
export type Session = {
  /** The headers every request after `initialize` carries. */
  headers(): Record<string, string>;
  /** The server took `initialize`. Its text is kept, so that the session can be opened again. */
  open(initializeText: string, sessionId: string | undefined): void;
  /** True once a server of those revisions took `initialize`. */
  isOpen(): boolean;
  /** The host was told this result of `initialize`. */
  agree(result: JsonObject): void;
  /** Opens the session again after the server forgot it. One renewal at a time; false when it failed. */
  renew(staleId: string): Promise<boolean>;
  /** Listens to what the server says unasked, until `close`. A server may offer no such stream. */
  follow(): void;
  /** Tells the server that the session is over. */
  close(): Promise<void>;
};

const INITIALIZED = '{"jsonrpc":"2.0","method":"notifications/initialized"}';
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const GOODBYE_TIMEOUT_MS = 1_000;

export function startSession(gateway: Gateway, deliver: (text: string) => Promise<void>): Session {
  let initializeText: string | undefined;
  let sessionId: string | undefined;
  let version: string | undefined;
  let renewal: Promise<boolean> | undefined;
  let following: AbortController | undefined;

  const session: Session = {
    headers: () => ({
      ...(sessionId !== undefined && { 'mcp-session-id': sessionId }),
      ...(version !== undefined && { 'mcp-protocol-version': version }),
    }),
    open(text, id) {
      initializeText = text;
      sessionId = id;
    },
    isOpen: () => initializeText !== undefined,
    agree(result) {
      const agreed = result['protocolVersion'];
      if (typeof agreed === 'string' && /^[\x21-\x7e]+$/.test(agreed)) version = agreed;
    },
    async renew(staleId) {
      if (sessionId !== staleId) return true;
      renewal ??= openAgain().finally(() => (renewal = undefined));
      return renewal;
    },
    follow() {
      following?.abort();
      following = new AbortController();
      void followServer(following.signal);
    },
    async close() {
      following?.abort();
      if (sessionId !== undefined)
        await gateway.delete(session.headers(), AbortSignal.timeout(GOODBYE_TIMEOUT_MS));
    },
  };

  async function openAgain(): Promise<boolean> {
    if (initializeText === undefined) return false;
    const signal = AbortSignal.timeout(HANDSHAKE_TIMEOUT_MS);
    const reply = await gateway.post(initializeText, {}, signal);
    const result = (await readAnswer(reply))?.['result'];
    if (reply.kind === 'lost' || !isJsonObject(result)) return false;
    session.open(initializeText, sessionIdOf(reply.headers));
    session.agree(result);
    await gateway.post(INITIALIZED, session.headers(), signal);
    if (following !== undefined) session.follow();
    return true;
  }

  async function followServer(signal: AbortSignal): Promise<void> {
    let lastEventId: string | undefined;
    let waitMs = FIRST_WAIT_MS;
    while (!signal.aborted) {
      const stale = sessionId;
      const reply = await gateway.get(
        { ...session.headers(), ...(lastEventId !== undefined && { 'last-event-id': lastEventId }) },
        signal,
      );
      if (reply.kind === 'stream') {
        waitMs = FIRST_WAIT_MS;
        for await (const event of reply.events) {
          if (event.kind === 'id') lastEventId = event.id;
          else if (event.kind === 'retry') waitMs = Math.min(event.retryMs, LONGEST_WAIT_MS);
          else await deliver(event.text);
        }
      } else if (reply.kind === 'text' && reply.status === 404 && stale !== undefined) {
        // A renewed session follows on its own; a renewal that failed is tried again after the wait.
        if (await session.renew(stale)) return;
      } else if (reply.kind === 'text' ? !isAway(reply.status) : !reply.retryable) {
        // 405 is the normal answer of a server that never speaks unasked.
        return;
      }
      await pause(waitMs, signal);
      if (reply.kind !== 'stream') waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
    }
  }

  return session;
}

/** The session id an answer carries. Sent twice it comes as one joined text, which no session has. */
export function sessionIdOf(headers: IncomingHttpHeaders): string | undefined {
  const id = headers['mcp-session-id'];
  return typeof id === 'string' && id !== '' ? id : undefined;
}
