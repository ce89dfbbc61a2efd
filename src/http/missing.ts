import type { Context, Hono } from 'hono';
import { Problem } from '../base/problem.ts';
import type { HttpEnv } from './env.ts';
import { problemResponse } from './problem-response.ts';

type Known = { method: string; path: RegExp };

/** Nothing here: 405 with the methods that are, where the path is known by another method, else 404. */
export function answerMissing(app: Hono<HttpEnv>): (c: Context<HttpEnv>) => Response {
  let known: Known[] | undefined;
  return (c) => {
    known ??= knownRoutes(app);
    const methods = new Set(known.filter(({ path }) => path.test(c.req.path)).map(({ method }) => method));
    if (methods.has('GET')) methods.add('HEAD');
    if (methods.size === 0) {
      return problemResponse(
        c,
        new Problem('NOT_FOUND', 'There is nothing at this address. The API is described at /docs.'),
      );
    }
    const allow = [...methods].sort().join(', ');
    const response = problemResponse(
      c,
      new Problem('METHOD_NOT_ALLOWED', `This address answers to ${allow} only.`),
    );
    response.headers.set('allow', allow);
    return response;
  };
}

/** Middleware answers to every method and on wildcards; a route has a method and a path of its own. */
function knownRoutes(app: Hono<HttpEnv>): Known[] {
  return app.routes
    .filter(({ method, path }) => method !== 'ALL' && !path.includes('*'))
    .map(({ method, path }) => ({ method, path: patternOf(path) }));
}

function patternOf(path: string): RegExp {
  const steps = path
    .split('/')
    .map((step) => (step.startsWith(':') ? '[^/]+' : step.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')));
  return new RegExp(`^${steps.join('/')}$`);
}
