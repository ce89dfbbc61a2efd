import { pino } from 'pino';
import type { Log } from '../base/log.ts';

/** Structured lines on standard error, so that standard output stays what a command prints. */
export function createLog(): Log {
  const logger = pino(
    { level: 'info', base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination(2),
  );
  return (level, message, fields) => logger[level](fields ?? {}, message);
}
