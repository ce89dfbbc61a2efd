import type { Json } from '../base/json.ts';
import { identify } from './signature.ts';
import type { CallIdentity, RequestSigner } from './signature.ts';

/** A POST as it will go on the wire. */
export type SignedPost = {
  method?: 'POST';
  /** All of them. Signatures are made elsewhere and together, so they may still be coming. */
  headers: Promise<Record<string, string>>;
  body: Buffer;
};

/** What tells a server that a session is over. */
export type SignedDelete = { method: 'DELETE'; headers: Promise<Record<string, string>>; body: null };

/** The headers of every request, whatever it carries. Nothing of the buyer's request is among them. */
const JSON_HEADERS = {
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
  'accept-encoding': 'identity',
  'user-agent': 'sentinel',
};

/** Writes a POST to that URL and has it signed. It may be sent later, or never. */
export function signPost(
  url: string,
  message: Json,
  identity: CallIdentity,
  signer: RequestSigner | undefined,
  extraHeaders?: Record<string, string>,
): SignedPost {
  const body = Buffer.from(JSON.stringify(message));
  return { headers: signHeaders('POST', url, body, identity, signer, extraHeaders), body };
}

/** As `signPost`, for a DELETE. It is signed like a POST, over the digest of no content. */
export function signDelete(
  url: string,
  identity: CallIdentity,
  signer: RequestSigner | undefined,
  extraHeaders: Record<string, string>,
): SignedDelete {
  const headers = signHeaders('DELETE', url, Buffer.alloc(0), identity, signer, extraHeaders);
  return { method: 'DELETE', headers, body: null };
}

function signHeaders(
  method: 'POST' | 'DELETE',
  url: string,
  body: Buffer,
  identity: CallIdentity,
  signer: RequestSigner | undefined,
  extraHeaders?: Record<string, string>,
): Promise<Record<string, string>> {
  const headers = identify(signer, url, body, identity, method).then((identified) => ({
    ...JSON_HEADERS,
    ...extraHeaders,
    ...identified,
  }));
  // Who sends it hears of a failure; of one that is never sent nobody needs to.
  headers.catch(() => {});
  return headers;
}
