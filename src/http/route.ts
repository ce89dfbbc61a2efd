import { OpenAPIHono, z } from '@hono/zod-openapi';
import type { Hook } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import { Problem, type Fault } from '../base/problem.ts';
import { assertScope } from '../identity/authenticate.ts';
import type { Scope } from '../identity/caller.ts';
import type { Authenticator } from '../identity/authenticate.ts';
import type { HttpEnv } from './env.ts';

/** An empty set of routes; what zod refuses becomes INVALID_INPUT with every failing place. */
export function newRoutes(): OpenAPIHono<HttpEnv> {
  return new OpenAPIHono<HttpEnv>({ defaultHook: refuseInvalid });
}

/**
 * For a route's definition: only callers whose key has the scope get in, before anything else of the request
 * is judged. Without a scope any valid key does, and the handler asks for more.
 */
export function signedIn(
  deps: { authenticator: Authenticator },
  scope?: Scope,
): { security: { apiKey: string[] }[]; middleware: MiddlewareHandler<HttpEnv> } {
  return {
    security: [{ apiKey: scope === undefined ? [] : [scope] }],
    middleware: async (c, next) => {
      const caller = await deps.authenticator.authenticate({
        authorization: c.req.header('authorization'),
        apiKey: c.req.header('x-api-key'),
      });
      if (scope !== undefined) assertScope(caller, scope);
      c.set('caller', caller);
      await next();
    },
  };
}

/** A JSON answer, for a route's definition. */
export function json<Schema extends z.ZodType>(schema: Schema, description: string) {
  return { description, content: { 'application/json': { schema } } };
}

/** A JSON request body, for a route's definition. */
export function jsonBody<Schema extends z.ZodType>(schema: Schema) {
  return { required: true, content: { 'application/json': { schema } } };
}

/** Every refusal of every route has this one form. */
export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    detail: z.string(),
    code: z.string().openapi({ example: 'INVALID_INPUT' }),
    retryable: z.boolean(),
    request_id: z.string(),
    faults: z
      .array(z.object({ path: z.string(), message: z.string() }))
      .optional()
      .openapi({ description: 'Every failing place, as a JSON Pointer (RFC 6901).' }),
  })
  .openapi('Problem');

/** The refusals of a route behind a key, for its definition. */
export const refusals = {
  default: {
    description: 'A refusal: 400 input, 401 key, 403 scope or limit, 404, 409, 413, 415, 429, 5xx.',
    content: { 'application/problem+json': { schema: problemSchema } },
  },
} as const;

/** No query parameter at all: a misspelt one is told, not ignored. */
export const noQuery = z.strictObject({});

// The answer to a large body that is all wrong is not larger still.
const MOST_FAULTS = 100;
const MOST_PLACES = 20;

type Refused = Parameters<Hook<unknown, HttpEnv, string, unknown>>[0];

function refuseInvalid(result: Refused): void {
  if (result.success) return;
  const all = result.error.issues.flatMap(faultsOf);
  const faults = all.slice(0, MOST_FAULTS);
  const places = [...new Set(all.map(({ path }) => path || '(root)'))];
  const named = places.slice(0, MOST_PLACES).join(', ');
  const more = places.length > MOST_PLACES ? ` and ${places.length - MOST_PLACES} more` : '';
  const part = result.target === 'json' ? 'body' : result.target === 'param' ? 'path' : result.target;
  throw new Problem('INVALID_INPUT', `The ${part} does not have the expected form: ${named}${more}.`, {
    faults,
  });
}

function faultsOf(issue: z.core.$ZodIssue): Fault[] {
  const path = pointer(issue.path);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: `${path}${pointer([key])}`, message: 'is not known here' }));
  }
  return [{ path, message: wordsOf(issue.message) }];
}

/** zod's own words, in the form ours have: what is wrong with the place that is named. */
function wordsOf(message: string): string {
  if (message.endsWith('received undefined')) return 'is required';
  return message.replace(/^Invalid (input|option): expected /, 'must be ');
}

/** RFC 6901. What a client sent is shortened before it is repeated. */
function pointer(path: readonly PropertyKey[]): string {
  return path
    .map((step) => `/${String(step).slice(0, 100).replaceAll('~', '~0').replaceAll('/', '~1')}`)
    .join('');
}
