import type { Context, MiddlewareHandler } from 'hono';
import { Problem } from '../base/problem.ts';
import type { Scope } from '../identity/caller.ts';
import type { Authenticator } from '../identity/authenticate.ts';
import type { HttpEnv } from './env.ts';
import { signedIn } from './route.ts';
import { createTurns, type Turns } from './turns.ts';

/** Of the connections to the database, which paid calls need as well. */
const MOST_AT_ONCE = 3;
const MOST_WAITING = 4;
const RETRY_AFTER_SECONDS = 5;

/** Who may read long stretches of the journal now. */
export type Admission = {
  /** One at a time for each organization, from the question to the end of the answer. */
  enter(organizationId: string, signal: AbortSignal): Promise<() => void>;
  /** Few at a time altogether, and only while something is read: a slow reader is in nobody's way. */
  read<Result>(work: () => Promise<Result>, signal: AbortSignal): Promise<Result>;
};

export function createAdmission(): Admission {
  const organizations = new Map<string, Turns>();
  // Whoever waits here is the one of its organization, so they are as few as there are organizations.
  const all = createTurns({ most: MOST_AT_ONCE, mostWaiting: Infinity, refuse: tooMany });

  return {
    enter: async (organizationId, signal) => {
      const turns =
        organizations.get(organizationId) ??
        createTurns({ most: 1, mostWaiting: MOST_WAITING, refuse: tooMany });
      organizations.set(organizationId, turns);
      try {
        const leave = await turns.enter(signal);
        return () => {
          leave();
          forgetIdle(turns);
        };
      } catch (error) {
        forgetIdle(turns);
        throw error;
      }

      function forgetIdle(left: Turns): void {
        if (left.isIdle() && organizations.get(organizationId) === left) organizations.delete(organizationId);
      }
    },
    read: async (work, signal) => {
      const leave = await all.enter(signal);
      try {
        return await work();
      } finally {
        leave();
      }
    },
  };
}

/**
 * `signedIn`, for a route that reads long stretches of the journal: one organization's many questions wait for
 * each other, and never hold all connections to the database, which paid calls need.
 */
export function admitted(deps: { authenticator: Authenticator; admission: Admission }, scope: Scope) {
  const { security, middleware } = signedIn(deps, scope);
  return { security, middleware: [middleware, inTurn(deps.admission)] };
}

function inTurn(admission: Admission): MiddlewareHandler<HttpEnv> {
  return async (c, next) => {
    const { signal } = c.req.raw;
    const leave = await admission.enter(c.get('caller').organizationId, signal);
    try {
      await admission.read(next, signal);
    } catch (error) {
      leave();
      throw error;
    }
    const { body } = c.res;
    // Nobody reads what follows the head, and nobody cancels it.
    if (body === null || c.req.method === 'HEAD' || signal.aborted) {
      await body?.cancel();
      return leave();
    }
    signal.addEventListener('abort', leave, { once: true });
    replaceBody(c, admission, body, leave);
  };
}

/** The same answer, that says when it has ended: read to its end, broken off, or no longer wanted. */
function replaceBody(
  c: Context<HttpEnv>,
  admission: Admission,
  body: ReadableStream<Uint8Array>,
  leave: () => void,
): void {
  const { signal } = c.req.raw;
  const reader = body.getReader();
  let isGone = false;
  const counted = new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        try {
          const { done, value } = await admission.read(() => reader.read(), signal);
          if (isGone) return;
          if (!done) return controller.enqueue(value);
          leave();
          controller.close();
        } catch (error) {
          leave();
          throw error;
        }
      },
      cancel: async (reason) => {
        isGone = true;
        leave();
        await reader.cancel(reason);
      },
    },
    // Nothing is read ahead of its reader.
    { highWaterMark: 0 },
  );
  c.res = new Response(counted, c.res);
}

function tooMany(): Problem {
  return new Problem(
    'RATE_LIMITED',
    `Your organization has one of these questions answered at a time, and ${MOST_WAITING} are waiting. Ask again in ${RETRY_AFTER_SECONDS} s, and one after the other.`,
    { retry_after_seconds: RETRY_AFTER_SECONDS },
  );
}
