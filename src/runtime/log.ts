import { pino } from 'pino';
import type { Log } from '../base/log.ts';

/**
 * Structured lines on standard error, so that standard output stays what a command prints. A person at a
 * terminal gets the same as plain words.
 */
export function createLog(): Log {
  if (process.stderr.isTTY) return plainLog;
  const logger = pino(
    { level: 'info', base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination(2),
  );
  return (level, message, fields = {}) => logger[level](cutParameters(fields), message);
}

/**
 * For texts of errors that are not from `traceOf`. Nothing after the word is kept, not even a stack: any line
 * of it may be inside a parameter.
 */
function cutParameters(fields: Record<string, unknown>): Record<string, unknown> {
  const { error } = fields;
  if (typeof error !== 'string') return fields;
  const [told] = error.split('\nparams: ', 1);
  return { ...fields, error: told };
}

const plainLog: Log = (level, message, fields = {}) => {
  const details = Object.entries(cutParameters(fields))
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  process.stderr.write(`${level === 'info' ? '' : `${level}: `}${message}${details.join('')}\n`);
};
