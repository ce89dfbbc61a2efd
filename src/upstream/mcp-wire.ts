import { isJsonObject } from '../base/json.ts';
import type { Json, JsonObject } from '../base/json.ts';
import { parseAnswerJson, parseJsonText } from './answer-json.ts';
import type { AnswerJson } from './answer-json.ts';
import { readAnswer } from './answer.ts';
import type { Exchange } from './exchange.ts';
import type { Target } from './pools.ts';
import { outcomeOfRefusal } from './public-words.ts';
import type { CallIdentity, RequestSigner } from './signature.ts';
import { signDelete, signPost } from './signed-post.ts';
import type { SignedDelete, SignedPost } from './signed-post.ts';
import type { UpstreamOutcome } from './upstream.ts';

/** How an MCP server wants to be spoken to: what the handshake learnt. */
export type Link =
  /** 2024-11-05 to 2025-11-25: after `initialize`; some servers give a session id. */
  | { era: 'session'; version: string; sessionId?: string }
  /** 2026-07-28: every request stands alone. */
  | { era: 'stateless' };

export type Written = { exact: JsonObject; isWellFormed: boolean };

/** What a server says to one POST. */
export type MessageListener = {
  /** Each JSON-RPC message, in order; `written` has its numbers as they were written. */
  message(message: JsonObject, written: Written): void;
  /** All was said. `wasStream`: it was a stream, which may have broken off. */
  ended(wasStream: boolean): void;
  /** Not 2xx. `message` is the JSON-RPC error in the body, if there is one. */
  refused(status: number, outcome: UpstreamOutcome, message: JsonObject | undefined): void;
  failed(outcome: UpstreamOutcome, code: string): void;
  crashed(error: unknown): void;
  /** The session id that came with the answer. */
  sessionId?(id: string): void;
};

export const CLIENT_INFO = { name: 'sentinel', version: '0.1.0' };
export const STATELESS_VERSION = '2026-07-28';
/** The server does not speak the version the request names (2026-07-28, and the answer to `initialize` there). */
export const UNSUPPORTED_VERSION = -32022;

/** The `_meta` every request carries in the stateless era. */
export const STATELESS_META = {
  'io.modelcontextprotocol/protocolVersion': STATELESS_VERSION,
  'io.modelcontextprotocol/clientInfo': CLIENT_INFO,
  'io.modelcontextprotocol/clientCapabilities': {},
};

/** Writes and signs one JSON-RPC message to the server at that URL. `name` is the tool's or resource's it is about. */
export function signMessage(
  url: string,
  message: JsonObject,
  identity: CallIdentity,
  signer: RequestSigner | undefined,
  to: { link?: Link; name?: string },
): SignedPost {
  return signPost(url, message, identity, signer, linkHeaders(to.link, message, to.name));
}

/** Writes and signs the goodbye to a session. */
export function signGoodbye(
  url: string,
  link: Link,
  identity: CallIdentity,
  signer: RequestSigner | undefined,
): SignedDelete {
  return signDelete(url, identity, signer, linkHeaders(link, {}, undefined));
}

/** Sends one JSON-RPC message and tells what comes back. */
export function postMessage(
  target: Target,
  post: SignedPost,
  maxBytes: number,
  listener: MessageListener,
): Exchange {
  const tell = ({ value, exact, isWellFormed }: AnswerJson) => {
    if (isJsonObject(value)) listener.message(value, { exact: exact as JsonObject, isWellFormed });
    // Batches existed in 2025-03-26 only.
    else if (Array.isArray(value))
      value.forEach((item, at) => tell({ value: item, exact: (exact as Json[])[at]!, isWellFormed }));
  };

  return readAnswer(target, post, maxBytes, {
    head(answerHeaders) {
      const id = answerHeaders['mcp-session-id'];
      if (id !== undefined) listener.sessionId?.(id);
    },
    whole(bytes) {
      if (bytes.length > 0) {
        const parsed = parseAnswerJson(bytes);
        if (parsed.kind === 'bad')
          return listener.failed({ kind: 'output_invalid', detail: parsed.detail }, '');
        tell(parsed);
      }
      listener.ended(false);
    },
    frame(event) {
      // A stream that can be resumed opens with an event that has an id and no data.
      if (event.data === '' || (event.event !== undefined && event.event !== 'message')) return;
      const parsed = parseJsonText(event.data);
      if (parsed.kind === 'bad')
        return listener.failed({ kind: 'output_invalid', detail: parsed.detail }, '');
      tell(parsed);
    },
    framesEnded: () => listener.ended(true),
    refused(bytes, status) {
      const parsed = parseAnswerJson(bytes);
      const said = parsed.kind === 'ok' && isJsonObject(parsed.value) ? parsed.value : undefined;
      listener.refused(
        status,
        outcomeOfRefusal(bytes, status),
        isJsonObject(said?.['error']) ? said : undefined,
      );
    },
    failed: (outcome, code) => listener.failed(outcome, code),
    crashed: (error) => listener.crashed(error),
  });
}

function linkHeaders(
  link: Link | undefined,
  message: JsonObject,
  name: string | undefined,
): Record<string, string> {
  if (!link) return {};
  if (link.era === 'session') {
    const version = { 'mcp-protocol-version': link.version };
    return link.sessionId === undefined ? version : { ...version, 'mcp-session-id': link.sessionId };
  }
  const headers: Record<string, string> = { 'mcp-protocol-version': STATELESS_VERSION };
  if (typeof message['method'] === 'string') headers['mcp-method'] = message['method'];
  if (name !== undefined) headers['mcp-name'] = headerValue(name);
  return headers;
}

/** A tool's name comes from a manifest, a resource's from a server: what a header cannot carry travels as base64, as the revision asks. */
export function headerValue(text: string): string {
  const isPlain = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(text) && !text.startsWith('=?base64?');
  return isPlain ? text : `=?base64?${Buffer.from(text).toString('base64')}?=`;
}
