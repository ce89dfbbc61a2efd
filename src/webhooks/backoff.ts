const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** How long after each failed attempt the next one comes: eleven attempts in about a day. */
export const RETRY_AFTER_MS = [
  5 * SECOND,
  30 * SECOND,
  2 * MINUTE,
  10 * MINUTE,
  30 * MINUTE,
  HOUR,
  2 * HOUR,
  4 * HOUR,
  8 * HOUR,
  8 * HOUR,
] as const;

/** A receiver that comes back must not meet everything it missed in one moment. */
const JITTER = 0.1;

/** How long after `attempts` of them failed the next one is due; undefined when that was the last. */
export function retryAfterMs(attempts: number, random: () => number = Math.random): number | undefined {
  const waitMs = RETRY_AFTER_MS[attempts - 1];
  if (waitMs === undefined) return undefined;
  return Math.round(waitMs * (1 + JITTER * (2 * random() - 1)));
}
