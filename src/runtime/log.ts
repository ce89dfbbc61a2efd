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
  return (level, message, fields = {}) => logger[level](withoutParameters(fields), message);
}

/** Drizzle puts a failed statement's parameters into its message: keys' hashes, arguments, answers. */
function withoutParameters(fields: Record<string, unknown>): Record<string, unknown> {
  const { error } = fields;
  if (typeof error !== 'string' || !error.includes('\nparams: ')) return fields;
  return { ...fields, error: error.replaceAll(/\nparams: [^]*?(?=\n {4}at |$)/g, '') };
}

const plainLog: Log = (level, message, fields = {}) => {
  const details = Object.entries(withoutParameters(fields))
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  process.stderr.write(`${level === 'info' ? '' : `${level}: `}${message}${details.join('')}\n`);
};
