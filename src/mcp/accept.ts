import { parseAccept } from 'hono/utils/accept';
import type { AnswerForm } from './answer-as-it-comes.ts';

/**
 * Which of our two forms a client reads, or undefined when it reads neither. Events are sent to those who name
 * them: many a client says that it takes anything and cannot read a stream.
 */
export function readAccept(accept: string | undefined): AnswerForm | undefined {
  if (accept === WHAT_HOSTS_SEND) return BOTH;
  const ranges = parseAccept(accept ?? '');
  if (ranges.length === 0) return { json: true, sse: false };
  const takes = (...types: string[]): boolean => {
    // The narrowest range that fits decides, whatever its place (RFC 9110 section 12.5.1).
    const found = types.map((type) => ranges.find((range) => range.type.toLowerCase() === type));
    return (found.find((range) => range !== undefined)?.q ?? 0) > 0;
  };
  const json = takes('application/json', 'application/*', '*/*');
  const sse = takes('text/event-stream');
  return sse || json ? { json, sse } : undefined;
}

// The transport asks for exactly this, so nearly every request has it.
const WHAT_HOSTS_SEND = 'application/json, text/event-stream';
const BOTH: AnswerForm = { json: true, sse: true };
