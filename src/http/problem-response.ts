import type { Context } from 'hono';
import type { Problem } from '../base/problem.ts';
import type { HttpEnv } from './env.ts';

/** A refusal as RFC 9457 problem details. `members` are further public ones, such as a receipt. */
export function problemResponse(
  c: Context<HttpEnv>,
  problem: Problem,
  members: Record<string, unknown> = {},
): Response {
  const headers: Record<string, string> = { 'content-type': 'application/problem+json' };
  const { retry_after_seconds: retryAfter } = problem.extras;
  if (retryAfter !== undefined) headers['retry-after'] = String(retryAfter);
  // RFC 9110 section 15.5.2 demands a challenge. No resource metadata: this is not the OAuth endpoint.
  if (problem.code === 'UNAUTHENTICATED') headers['www-authenticate'] = 'Bearer realm="sentinel"';
  // RFC 9110 section 15.5.16: what would have been taken.
  if (problem.code === 'UNSUPPORTED_MEDIA_TYPE') Object.assign(headers, TAKEN);
  // Asks the client to stop sending; the server reads on for a while, so that this answer arrives.
  if (problem.code === 'PAYLOAD_TOO_LARGE') headers['connection'] = 'close';
  const body = JSON.stringify({ ...formatProblem(problem, c.get('requestId')), ...members });
  return new Response(body, { status: problem.status, headers });
}

const TAKEN = { accept: 'application/json', 'accept-encoding': 'identity' };

/** The members of the problem details, in the order people read them. */
export function formatProblem(problem: Problem, requestId: string): Record<string, unknown> {
  return {
    type: `urn:sentinel:problem:${problem.code.toLowerCase().replaceAll('_', '-')}`,
    title: problem.title,
    status: problem.status,
    detail: problem.message,
    code: problem.code,
    retryable: problem.retryable,
    request_id: requestId,
    ...problem.extras,
  };
}
