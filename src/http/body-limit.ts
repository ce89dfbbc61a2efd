import type { Context, MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { contentCodings, explainCoding, isJsonInUtf8, parseMediaType } from '../base/http-fields.ts';
import { Problem } from '../base/problem.ts';
import type { HttpEnv } from './env.ts';

/** The most bytes a body may have, and how whoever sends more is told. */
export type BodyLimit = { maxBytes: number; words: string };

/** What any address takes of which nothing else is known. */
export function plainLimit(maxBytes: number): BodyLimit {
  return { maxBytes, words: `A body has at most ${maxBytes} bytes here. Send less in one request.` };
}

/**
 * Before anything reads the body: refuses one that is too large, by its declared length or while it is counted, one
 * that is coded, and JSON that is not UTF-8. Where `of` answers undefined, another of these comes later.
 */
export function limitBody(of: (c: Context<HttpEnv>) => BodyLimit | undefined): MiddlewareHandler<HttpEnv> {
  return async (c, next) => {
    const limit = hasBody(c) ? of(c) : undefined;
    if (limit === undefined) return next();
    const { maxBytes } = limit;
    const refuse = (): never => {
      throw new Problem('PAYLOAD_TOO_LARGE', limit.words, { limit_bytes: maxBytes });
    };
    const [coding] = contentCodings(c.req.header('content-encoding'));
    if (coding !== undefined) throw new Problem('UNSUPPORTED_MEDIA_TYPE', explainCoding(coding));
    readContentType(c);
    const declared = c.req.header('content-length');
    if (declared === undefined) return bodyLimit({ maxSize: maxBytes, onError: refuse })(c, next);
    // Without a look at the body, which would ask a client that waits for our word to send it.
    return Number(declared) > maxBytes ? refuse() : next();
  };
}

function hasBody(c: Context<HttpEnv>): boolean {
  const isRead = c.req.method !== 'GET' && c.req.method !== 'HEAD';
  return (
    isRead &&
    (c.req.header('content-length') !== undefined || c.req.header('transfer-encoding') !== undefined)
  );
}

/** What is JSON for us is made so for the routes' own check, which knows fewer ways to write it. */
function readContentType(c: Context<HttpEnv>): void {
  const type = c.req.header('content-type');
  if (type === undefined || type === JSON_TYPE || parseMediaType(type)?.type !== JSON_TYPE) return;
  if (!isJsonInUtf8(type)) {
    const detail = 'JSON is taken in UTF-8 only. Send "Content-Type: application/json".';
    throw new Problem('UNSUPPORTED_MEDIA_TYPE', detail);
  }
  c.req.raw.headers.set('content-type', JSON_TYPE);
}

const JSON_TYPE = 'application/json';
