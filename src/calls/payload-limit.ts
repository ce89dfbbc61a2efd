import { Problem } from '../base/problem.ts';
import type { Agent } from '../catalog/agent.ts';

/** What may stand around the arguments in the body that carries them: the envelope, the terms, and blanks. */
export const MAX_ENVELOPE_BYTES = 64 * 1024;

/** Throws PAYLOAD_TOO_LARGE for arguments that have more bytes, as the agent would be sent them, than it takes. */
export function checkArgumentBytes(agent: Agent, argumentsText: string): void {
  const { maxPayloadBytes } = agent;
  // No character has more than three bytes in UTF-8 for each of its UTF-16 units, so most texts need no count.
  if (argumentsText.length * 3 <= maxPayloadBytes) return;
  const bytes = Buffer.byteLength(argumentsText);
  if (bytes <= maxPayloadBytes) return;
  throw new Problem(
    'PAYLOAD_TOO_LARGE',
    `The arguments have ${bytes} bytes as JSON, and ${agent.id} takes at most ${maxPayloadBytes}. Send less in one call.`,
    { limit_bytes: maxPayloadBytes },
  );
}
