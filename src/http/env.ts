import type { Caller } from '../identity/caller.ts';

/** What every handler can ask the context for; `caller` only behind `signedIn`. */
export type HttpEnv = {
  Variables: {
    requestId: string;
    caller: Caller;
    /** The headers every answer has; a route that makes its answer with them sets `hasDefaultHeaders`. */
    defaultHeaders?: Record<string, string>;
    hasDefaultHeaders?: boolean;
  };
};
