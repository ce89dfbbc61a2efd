import type { RequestId } from './parse-request.ts';

/**
 * Requests under way that a `notifications/cancelled` may end. Legacy clients post it as a request of its own,
 * so it is matched by who sent it and the id as sent.
 */
export type InFlight = {
  /** `scope` is what ids are unique in, at best: an API key, or one session. The answer removes the entry. */
  add(scope: string, id: RequestId, abort: AbortController): () => void;
  cancel(scope: string, id: RequestId): void;
};

export function createInFlight(): InFlight {
  // A list is emptied before the map forgets it: see `base/crowd.ts`.
  const requests = new Map<string, AbortController[]>();
  return {
    add(scope, id, abort) {
      const name = nameOf(scope, id);
      const same = requests.get(name);
      if (same) same.push(abort);
      else requests.set(name, [abort]);
      return () => {
        const left = requests.get(name);
        const at = left?.indexOf(abort) ?? -1;
        if (!left || at === -1) return;
        left.splice(at, 1);
        if (left.length === 0) requests.delete(name);
      };
    },
    cancel(scope, id) {
      const same = requests.get(nameOf(scope, id));
      // Several hosts may share a key and count from the same number: rather none than the wrong one.
      if (same?.length === 1) same[0]?.abort();
    },
  };
}

/** `1` and `"1"` are two ids. */
function nameOf(scope: string, id: RequestId): string {
  if (typeof id === 'string') return `${scope} "${id}`;
  return typeof id === 'number' ? `${scope} ${id}` : `${scope} ${id.rawJSON}`;
}
