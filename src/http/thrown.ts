import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { internalProblem, Problem } from '../base/problem.ts';
import { traceOf, type Log } from '../base/log.ts';
import { problemOfThrown } from '../db/thrown-problem.ts';
import type { HttpEnv } from './env.ts';
import { problemResponse } from './problem-response.ts';

/** The outermost error handler: whatever was thrown becomes a refusal a client may read. */
export function answerThrown(log: Log): (error: Error, c: Context<HttpEnv>) => Response {
  return (error, c) => {
    const problem = problemOf(error);
    if (problem.code === 'INTERNAL' || problem.code === 'UNAVAILABLE') {
      log('error', 'a request failed', {
        request: c.get('requestId'),
        method: c.req.method,
        route: c.req.routePath,
        error: traceOf(problem.cause ?? problem),
      });
    }
    return problemResponse(c, problem);
  };
}

function problemOf(error: unknown): Problem {
  return error instanceof HTTPException ? problemOfHono(error) : problemOfThrown(error);
}

/** What Hono's own validators refuse before a handler runs. */
function problemOfHono(error: HTTPException): Problem {
  if (error.status === 400) {
    const faults = [{ path: '', message: 'is not valid JSON' }];
    return new Problem('INVALID_INPUT', 'The body is not valid JSON.', { faults });
  }
  if (error.status === 415) {
    const detail = 'Send the body as JSON, with the header "Content-Type: application/json".';
    return new Problem('UNSUPPORTED_MEDIA_TYPE', detail);
  }
  return internalProblem(error);
}
