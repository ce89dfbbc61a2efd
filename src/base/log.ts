/**
 * One structured log line. `fields` never contain API keys, arguments or answers: what a buyer sends and
 * gets is theirs.
 */
export type Log = (
  level: 'info' | 'warn' | 'error',
  message: string,
  fields?: Record<string, unknown>,
) => void;

/** Swallows every line: for one-shot commands and tests that do not look at the log. */
export const silentLog: Log = () => {};

/**
 * The driver's own error where a statement failed. Drizzle wraps it in one whose message holds every
 * parameter: keys' hashes, secrets, arguments, answers.
 */
export function withoutParameters(error: unknown): unknown {
  const isWrapped = error instanceof Error && 'query' in error && 'params' in error;
  return isWrapped ? (error.cause ?? new Error('a statement failed')) : error;
}

/** What the log is told of something thrown: its message and where it was thrown. */
export function traceOf(thrown: unknown): string {
  const error = withoutParameters(thrown);
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
