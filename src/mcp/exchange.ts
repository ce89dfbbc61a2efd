import type { EventStream } from '../base/event-stream.ts';

/** One HTTP request to the endpoint, whichever server it came through. */
export type Exchange = {
  /** Path and query. */
  readonly target: string;
  /** The id its answer carries and the logs speak of. */
  readonly requestId: string;
  /** By its name in small letters; one that was sent twice is joined by a comma. */
  header: (name: string) => string | undefined;
  allHeaders: () => Headers;
  /** The whole body, or undefined as soon as it is known to be larger than that. Rejects when it breaks off. */
  readBody: (maxBytes: number) => Promise<Uint8Array | undefined>;
  /** The client has left before it had its answer. */
  isGone: () => boolean;
  /** Calls back when the client leaves before it has its answer, at once if it has already. The answer stops that. */
  onGone: (listener: () => void) => () => void;
};

/** What an exchange is answered with. */
export type Answer = TextAnswer | { kind: 'events'; stream: EventStream };

/** An empty text is no body at all. */
export type TextAnswer = { kind: 'text'; status: number; headers: Record<string, string>; text: string };

export const JSON_HEADERS = { 'content-type': 'application/json' };

export function answerText(
  text: string,
  status = 200,
  headers: Record<string, string> = JSON_HEADERS,
): TextAnswer {
  return { kind: 'text', status, headers, text };
}

export function answerEmpty(status: number): TextAnswer {
  return answerText('', status, {});
}
