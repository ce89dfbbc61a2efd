import type { Problem } from '../base/problem.ts';
import { JSON_HEADERS } from './answer-as-it-comes.ts';
import { explainFilterFault } from './connection.ts';
import { INVALID_PARAMS, type MessageFault } from './parse-request.ts';
import { formatError } from './rpc-text.ts';

const SERVER_ERROR = -32_000;
const INTERNAL_ERROR = -32_603;

/** An HTTP answer that says no to a whole request, as a JSON-RPC error without an id. */
export function refuse(status: number, message: string, headers: Record<string, string> = {}): Response {
  return new Response(formatError(null, { code: SERVER_ERROR, message }), {
    status,
    headers: { ...JSON_HEADERS, ...headers },
  });
}

export function refuseMessage({ code, message, id }: MessageFault): Response {
  return new Response(formatError(id, { code, message }), { status: 400, headers: JSON_HEADERS });
}

/** A refusal of the connection itself: its key, or the filters in its URL. */
export function refuseProblem(problem: Problem): Response {
  const { code, status } = problem;
  const isFilterFault = code === 'INVALID_INPUT';
  const error = {
    code: isFilterFault ? INVALID_PARAMS : status >= 500 ? INTERNAL_ERROR : SERVER_ERROR,
    message: isFilterFault ? explainFilterFault(problem) : problem.message,
    data: { code, ...problem.extras },
  };
  return new Response(formatError(null, error), {
    status,
    // No `resource_metadata`: hosts that find OAuth metadata ignore the key their user configured.
    headers: code === 'UNAUTHENTICATED' ? { ...JSON_HEADERS, ...CHALLENGE } : JSON_HEADERS,
  });
}

const CHALLENGE = { 'www-authenticate': 'Bearer realm="sentinel"' };
