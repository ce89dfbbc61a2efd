import { traceOf } from '../base/log.ts';
import { Problem } from '../base/problem.ts';
import { problemOfThrown } from '../db/thrown-problem.ts';
import { answerEmpty, type Answer, type Exchange, type TextAnswer } from './exchange.ts';
import type { RequestId } from './parse-request.ts';
import type { McpParts } from './parts.ts';
import { refuseProblem, refuseWithoutReason } from './refusals.ts';

export type Handler = (exchange: Exchange, parts: McpParts) => Promise<Answer>;

/** Nothing a request does ends in an unhandled rejection. */
export async function guard(exchange: Exchange, handle: Handler, parts: McpParts): Promise<Answer> {
  try {
    return await handle(exchange, parts);
  } catch (error) {
    return answerThrown(error, exchange, parts);
  }
}

/** No internal text reaches the client; it goes to the log, unless nobody waits for the answer any more. */
export function answerThrown(
  error: unknown,
  exchange: Exchange,
  { deps, options: { challenge } }: McpParts,
  id: RequestId | null = null,
): TextAnswer {
  if (error instanceof Problem) return refuseProblem(error, challenge, id);
  if (exchange.isGone()) return answerEmpty(499);
  deps.log('error', 'an MCP request failed', { request: exchange.requestId, error: traceOf(error) });
  const problem = problemOfThrown(error);
  return problem.code === 'UNAVAILABLE' ? refuseProblem(problem, challenge, id) : refuseWithoutReason(id);
}
