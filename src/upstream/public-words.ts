import { isJsonObject } from '../base/json.ts';
import type { Json } from '../base/json.ts';
import { parseAnswerJson } from './answer-json.ts';
import type { UpstreamOutcome } from './upstream.ts';

/**
 * What an agent says about its own failure, fit for others to read: its `error`, `message` or `detail`
 * (RFC 9457 and common habit) on one line of at most 300 characters, without control or direction marks.
 * Undefined when it says nothing of that kind.
 */
export function publicWords(body: Json): string | undefined {
  if (typeof body === 'string') return plainLine(body);
  if (!isJsonObject(body)) return undefined;
  for (const member of ['detail', 'message', 'error', 'title'] as const) {
    const said = body[member];
    if (typeof said === 'string' && said !== '') return plainLine(said);
    if (member === 'error' && isJsonObject(said)) return publicWords(said);
  }
  return undefined;
}

/** `it answered 422: the page has no text`, or `it answered 422` when the body says nothing that can be shown. */
export function outcomeOfRefusal(body: Buffer, status: number): UpstreamOutcome {
  const parsed = parseAnswerJson(body);
  const words = parsed.kind === 'ok' ? publicWords(parsed.value) : undefined;
  const detail = words ? `it answered ${status}: ${words}` : `it answered ${status}`;
  return INPUT_AT_FAULT.has(status)
    ? { kind: 'agent_error', detail, inputAtFault: true }
    : { kind: 'agent_error', detail };
}

/** RFC 9110 section 15.5: what the request says is wrong, or too much, and will be so again. */
const INPUT_AT_FAULT = new Set([400, 404, 409, 413, 415, 422]);

function plainLine(text: string): string {
  const line = text
    .slice(0, 2_000)
    // Cc and Cf: control characters, zero-width and bidirectional marks. Unpaired surrogates are no text either.
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\s]+/gu, ' ')
    .trim();
  return line.length > 300 ? `${line.slice(0, 299).replace(/[\uD800-\uDBFF]$/, '')}…` : line;
}
