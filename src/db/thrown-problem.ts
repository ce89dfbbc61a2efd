import { internalProblem, Problem } from '../base/problem.ts';
import { hasCode } from './error-code.ts';

/**
 * What a client is told about something that was thrown: a refusal as it is, a database that is away or that gave
 * up a long statement as UNAVAILABLE, and everything else as our own fault. The internal text stays in `cause`.
 */
export function problemOfThrown(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (hasCode(error, GIVEN_UP_CODE)) {
    return new Problem(
      'UNAVAILABLE',
      'The database did not finish this in time and gave it up. Nothing was charged. Ask for less at once, such as a shorter time, or try again later.',
      { retry_after_seconds: 30 },
      { cause: error },
    );
  }
  if (!isDatabaseAway(error)) return internalProblem(error);
  return new Problem(
    'UNAVAILABLE',
    'The database cannot be reached. Nothing was charged; try again shortly.',
    { retry_after_seconds: 5 },
    { cause: error },
  );
}

// Node's connection errors, and PostgreSQL's classes 08 (connection), 53 (resources) and 57P (shutdown).
const AWAY_CODE = /^(ECONNREFUSED|ECONNRESET|ETIMEDOUT|EPIPE|ENOENT|08\w{3}|53\w{3}|57P\w{2})$/;
/** A statement that was cancelled: ours run into the time limit of their connection. */
const GIVEN_UP_CODE = /^57014$/;
const AWAY_TEXT = /connection terminated|is not queryable|timeout exceeded when trying to connect/i;

function isDatabaseAway(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if (AWAY_TEXT.test(at.message)) return true;
  return hasCode(error, AWAY_CODE);
}
