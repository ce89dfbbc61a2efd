import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { hasWideNumber, parseAsDoubles, parseExact } from '../base/exact-json.ts';
import { isJsonObject, type JsonObject } from '../base/json.ts';
import { Problem } from '../base/problem.ts';
import { LABEL, type CallResult, type PaidCallRequest } from '../calls/call.ts';
import { handlePaidCall } from '../calls/paid-call.ts';
import { parseFilters } from '../catalog/filters.ts';
import type { Caller } from '../identity/caller.ts';
import { filterQuery } from './agents.ts';
import { answerCall, callAnswer } from './call-answer.ts';
import { streamCall } from './call-stream.ts';
import type { HttpDeps, HttpEnv } from './deps.ts';
import { json, jsonBody, newRoutes, refusals, signedIn } from './route.ts';
import { agentIdIn, amountIn } from './words.ts';

const KEY_WORDS = 'must be 16 to 128 printable characters without blanks';
const idempotencyKey = z.string().regex(/^[\x21-\x7e]{16,128}$/, KEY_WORDS);

const label = z.string().regex(LABEL, 'must be 1 to 128 printable ASCII characters').optional();
const termHeaders = z.object({
  'idempotency-key': idempotencyKey.optional(),
  'x-sentinel-session': label.openapi({ description: 'The run or session the call belongs to.' }),
  'x-sentinel-caller': label.openapi({
    description: 'On whose behalf the key calls: a person or another agent, as you name them.',
  }),
});

const invocation = z.strictObject({
  inputs: z.unknown().openapi({
    type: 'object',
    description: "The arguments, as the agent's input_schema wants them. Faults are pointers into these.",
  }),
  stream: z.boolean().optional().openapi({ description: 'Answer with server-sent events.' }),
  idempotency_key: idempotencyKey
    .optional()
    .openapi({ description: 'The same key within 24 hours is the same purchase: it is charged once.' }),
  max_credits: amountIn.optional().openapi({ description: 'The most this call may cost.' }),
});

/** The paid call over REST. */
export function invokeRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const invoke = createRoute({
    method: 'post',
    path: '/v1/agents/{id}/invoke',
    tags: ['agents'],
    summary: 'Call an agent and pay if it answers as promised',
    description:
      'With `stream`, each chunk is `event: chunk` with `{"chunk"}` (and `progress` and `total` where an MCP tool says them), then `event: done` with the answer or `event: error` with the problem. A refusal before the first chunk is an ordinary problem with its status.',
    // The scope is the paid call's to check: a refusal of it is recorded like every other.
    ...signedIn(deps),
    request: {
      params: z.object({ id: agentIdIn }),
      query: z.strictObject(filterQuery),
      headers: termHeaders,
      body: jsonBody(invocation),
    },
    responses: { 200: json(callAnswer, 'The answer, and what it cost.'), ...refusals },
  });

  return newRoutes().openapi(invoke, async (c) => {
    const body = c.req.valid('json');
    const headers = c.req.valid('header');
    const key = idempotencyKeyOf(headers['idempotency-key'], body.idempotency_key);
    const { 'x-sentinel-session': session, 'x-sentinel-caller': actingFor } = headers;
    const request: PaidCallRequest = {
      agentId: c.req.valid('param').id,
      ...(await readInputs(c, body.inputs)),
      filters: parseFilters(new URL(c.req.url).searchParams).filters,
      wire: 'rest',
      requestId: c.get('requestId'),
      signal: c.req.raw.signal,
      ...(key === undefined ? {} : { idempotencyKey: key }),
      ...(body.max_credits === undefined ? {} : { maxMicros: body.max_credits }),
      ...(session === undefined ? {} : { session }),
      ...(actingFor === undefined ? {} : { actingFor }),
    };
    const answer =
      body.stream === true
        ? await streamCall(c, (reader) => runCall({ ...request, ...reader }, c.get('caller'), deps))
        : answerCall(c, await runCall(request, c.get('caller'), deps));
    // Built by hand because a refusal may carry a receipt; the definition above describes both.
    return answer as never;
  });
}

function runCall(request: PaidCallRequest, caller: Caller, deps: HttpDeps): Promise<CallResult> {
  return handlePaidCall(request, caller, deps.calls);
}

/** The arguments as parsed and, where they hold numbers that no double does, with these as they were written. */
async function readInputs(
  c: Context<HttpEnv>,
  parsed: unknown,
): Promise<Pick<PaidCallRequest, 'input' | 'exactInput'>> {
  const text = await c.req.text();
  if (!isJsonObject(parsed) || !hasWideNumber(text)) return { input: parsed };
  const [asDoubles, exact] = [parseAsDoubles(text) as JsonObject, parseExact(text) as JsonObject];
  return { input: asDoubles['inputs'], exactInput: exact['inputs'] as JsonObject };
}

/** A header and a member that disagree would be two purchases to one side and one to the other. */
function idempotencyKeyOf(header: string | undefined, member: string | undefined): string | undefined {
  if (header !== undefined && member !== undefined && header !== member) {
    throw new Problem('INVALID_INPUT', 'Idempotency-Key and idempotency_key differ; send only one of them.', {
      faults: [{ path: '/idempotency_key', message: 'differs from the header Idempotency-Key' }],
    });
  }
  return header ?? member;
}
