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
