import { pino } from 'pino';
import type { Log } from '../base/log.ts';

/** Structured lines on standard error, so that standard output stays what a command prints. */
export function createLog(): Log {
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
