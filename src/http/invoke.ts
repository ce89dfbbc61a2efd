import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { hasWideNumber, parseAsDoubles, parseExact } from '../base/exact-json.ts';
import { isJsonObject, type JsonObject } from '../base/json.ts';
import { Problem } from '../base/problem.ts';
import {
  IDEMPOTENCY_KEY,
  IDEMPOTENCY_KEY_WORDS,
  LABEL,
  type CallResult,
  type PaidCallRequest,
} from '../calls/call.ts';
import { handlePaidCall } from '../calls/paid-call.ts';
import { MAX_ENVELOPE_BYTES } from '../calls/payload-limit.ts';
import { matchesFilters, type Agent, type AgentFilters } from '../catalog/agent.ts';
import { parseFilters } from '../catalog/filters.ts';
import type { Caller } from '../identity/caller.ts';
import { filterQuery } from './agents.ts';
import { limitBody, type BodyLimit } from './body-limit.ts';
import { answerCall, callAnswer } from './call-answer.ts';
import { streamCall } from './call-stream.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { json, jsonBody, newRoutes, refusals, signedIn } from './route.ts';
import { agentIdIn, amountIn } from './words.ts';

const idempotencyKey = z.string().regex(IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_WORDS);

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

/** A call: the one address whose body is limited by what it is for. */
export const INVOKE_PATH = /^\/v1\/agents\/([^/]+)\/invoke$/;

/** The paid call over REST. */
export function invokeRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { security, middleware } = signedIn(deps);
  const invoke = createRoute({
    method: 'post',
    path: '/v1/agents/{id}/invoke',
    tags: ['agents'],
    summary: 'Call an agent and pay if it answers as promised',
    description:
      'With `stream`, each chunk is `event: chunk` with `{"chunk"}` (and `progress` and `total` where an MCP tool says them), then `event: done` with the answer or `event: error` with the problem. A refusal before the first chunk is an ordinary problem with its status. The arguments have at most as many bytes as the agent takes (`max_payload_bytes`; 10485760 where its manifest says nothing).',
    // The scope is the paid call's to check: a refusal of it is recorded like every other.
    security,
    middleware: [middleware, limitBody((c) => limitOfCall(c, deps))] as const,
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
      filters: filtersOf(c),
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

/** That of the agent. One that is not there for this caller, and one that is hidden, have the same. */
function limitOfCall(c: Context<HttpEnv>, { catalog }: HttpDeps): BodyLimit {
  const agent = catalog.find(c.req.param('id') ?? '');
  const visible = agent && isVisible(agent, c) ? agent : undefined;
  const maxPayloadBytes = visible?.maxPayloadBytes ?? catalog.maxPayloadBytes;
  const maxBytes = maxPayloadBytes + MAX_ENVELOPE_BYTES;
  const who = visible ? visible.id : 'any agent';
  return {
    maxBytes,
    words: `The body has more than ${maxBytes} bytes, and ${who} takes arguments of at most ${maxPayloadBytes}. Send less in one call.`,
  };
}

function isVisible(agent: Agent, c: Context<HttpEnv>): boolean {
  try {
    return matchesFilters(agent, filtersOf(c));
  } catch {
    // Filters that cannot be read are refused with everything else of the request, whoever the agent is.
    return false;
  }
}

function filtersOf(c: Context<HttpEnv>): AgentFilters {
  return parseFilters(new URL(c.req.url).searchParams).filters;
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
