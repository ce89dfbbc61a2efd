import { LRUCache } from 'lru-cache';
import { parseBearer, trimBlanks } from '../base/http-fields.ts';
import { Problem } from '../base/problem.ts';
import type { Db } from '../db/db.ts';
import type { Caller, Scope } from './caller.ts';
import { findKeyByHash, hashKey, isWellFormedKey, type KeyRow } from './keys.ts';

/** Tells who is asking. */
export type Authenticator = {
  /**
   * The caller behind the request's credential. Throws UNAUTHENTICATED; the text never repeats the key and
   * does not tell an unknown key from a revoked one.
   */
  authenticate(headers: { authorization: string | undefined; apiKey: string | undefined }): Promise<Caller>;
  /** A key changed: it is looked up again at its next use. */
  forget(keyId: string): void;
  forgetAll(): void;
};

const MAX_CACHED = 50_000;
// The change feed makes a revocation immediate; this bounds it where the feed is silently stuck.
const CACHE_MS = 10_000;

const NO_KEY =
  'Send your API key in the Authorization header: "Authorization: Bearer sk_live_…". Keys are made with "sentinel keys create".';

/** `isFeedLive` says whether changes reach us: while they do not, every key is looked up at every use. */
export function createAuthenticator(db: Db, isFeedLive: () => boolean): Authenticator {
  // By the hash and not by the key, so that no cache holds a usable credential; finding a hash by equality
  // tells an attacker nothing that helps to guess a key.
  const callers = new LRUCache<string, Caller>({ max: MAX_CACHED, ttl: CACHE_MS });
  let epoch = 0;

  return {
    authenticate: async ({ authorization, apiKey }) => {
      const key = presentedKey(authorization, apiKey);
      if (!isWellFormedKey(key)) throw unknownKey();
      const hash = hashKey(key);
      const known = isFeedLive() ? callers.get(hash) : undefined;
      if (known) return known;
      const epochBefore = epoch;
      const row = await findKeyByHash(db, hash);
      if (!row) throw unknownKey();
      const caller = callerOf(row);
      // A change that arrived while we were reading may be newer than what we read.
      if (epoch === epochBefore) callers.set(hash, caller);
      return caller;
    },
    forget: (keyId) => {
      epoch += 1;
      for (const [hash, caller] of callers.entries()) if (caller.keyId === keyId) callers.delete(hash);
    },
    forgetAll: () => {
      epoch += 1;
      callers.clear();
    },
  };
}

/** Throws FORBIDDEN unless the caller's key carries the scope; an operator's key carries every one. */
export function assertScope(caller: Caller, scope: Scope): void {
  if (caller.scopes.has(scope) || caller.scopes.has('operator')) return;
  throw new Problem(
    'FORBIDDEN',
    `This key lacks the scope ${scope}. Make one that has it with "sentinel keys create --scopes ${scope},…", or ask whoever made this one.`,
  );
}

function presentedKey(authorization: string | undefined, apiKey: string | undefined): string {
  // A header that says nothing is as good as none.
  const given = trimBlanks(authorization ?? '');
  const key = given === '' ? trimBlanks(apiKey ?? '') : (parseBearer(given) ?? '');
  if (key === '') throw new Problem('UNAUTHENTICATED', NO_KEY);
  return key;
}

function unknownKey(): Problem {
  return new Problem(
    'UNAUTHENTICATED',
    'This API key is not valid: it is mistyped, revoked, or from another gateway. List yours with "sentinel keys list".',
  );
}

function callerOf(row: KeyRow): Caller {
  return {
    keyId: row.id,
    organizationId: row.organizationId,
    currency: row.currency,
    scopes: new Set(row.scopes as Scope[]),
    caps: row.maxPerCallMicros === null ? {} : { maxPerCallMicros: row.maxPerCallMicros },
    ratePerMinute: row.ratePerMinute,
    maxConcurrent: row.maxConcurrent,
    accountId: row.accountId,
    ...(row.meterId === null ? {} : { meterId: row.meterId }),
  };
}
