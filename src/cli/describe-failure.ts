import { withoutParameters } from '../base/log.ts';
import { ApiProblem, GatewayAway } from '../client/failures.ts';
import { printable } from './print.ts';

/** A failure that says itself what was wrong and what to do. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
}

/** What was wrong and what to do, for a person at a terminal. */
export function describeFailure(failure: unknown): string {
  const error = withoutParameters(failure);
  if (error instanceof GatewayAway) return `No Sentinel answers at ${error.url}. Start it with: npm start`;
  if (error instanceof ApiProblem) return describeProblem(error);
  return error instanceof Error ? error.message : String(error);
}

function describeProblem(problem: ApiProblem): string {
  switch (problem.code) {
    case 'INVALID_INPUT':
      return oneLine(
        problem.faults.length === 0
          ? problem.message
          : problem.faults.map(({ path, message }) => `${nameOf(path)} ${message}`).join('; '),
      );
    case 'INTERNAL':
      return oneLine(`${problem.message} (request ${problem.requestId ?? 'unknown'})`);
    default:
      return oneLine(problem.message);
  }
}

/** `/cap_day` as a person knows it from the command line. */
function nameOf(path: string): string {
  return path === '' ? 'The request' : path.slice(1).replaceAll('/', '.');
}

function oneLine(text: string): string {
  return printable(text.replaceAll('\n', ' '));
}
