import type { Problem } from '../base/problem.ts';
import { explainFilterFault } from './connection.ts';
import { answerText, JSON_HEADERS, type TextAnswer } from './exchange.ts';
import { INVALID_PARAMS, type MessageFault, type RequestId } from './parse-request.ts';
import { formatError } from './rpc-text.ts';

const SERVER_ERROR = -32_000;
const INTERNAL_ERROR = -32_603;

/** An HTTP answer that says no to a whole request, as a JSON-RPC error without an id. */
export function refuse(status: number, message: string, headers: Record<string, string> = {}): TextAnswer {
  const text = formatError(null, { code: SERVER_ERROR, message });
  return answerText(text, status, { ...JSON_HEADERS, ...headers });
}

export function refuseMessage({ code, message, id }: MessageFault): TextAnswer {
  return answerText(formatError(id, { code, message }), 400);
}

/** A refusal of the connection itself: its key, or the filters in its URL. */
export function refuseProblem(problem: Problem, challenge: string, id: RequestId | null = null): TextAnswer {
  const { code, status } = problem;
  const isFilterFault = code === 'INVALID_INPUT';
  const error = {
    code: isFilterFault ? INVALID_PARAMS : status >= 500 ? INTERNAL_ERROR : SERVER_ERROR,
    message: isFilterFault ? explainFilterFault(problem) : problem.message,
    data: { code, ...problem.extras },
  };
  const headers = {
    ...JSON_HEADERS,
    ...(code === 'UNAUTHENTICATED' ? { 'www-authenticate': challenge } : {}),
    ...(code === 'PAYLOAD_TOO_LARGE' ? CLOSING : {}),
  };
  return answerText(formatError(id, error), status, headers);
}

/** What happened is in the log; the client learns that it was not its fault. */
export function refuseWithoutReason(id: RequestId | null): TextAnswer {
  return answerText(formatError(id, { code: INTERNAL_ERROR, message: 'Internal error.' }), 500);
}

/** Asks the client to stop sending; the server reads on for a while, so that the answer arrives. */
const CLOSING = { connection: 'close' };
