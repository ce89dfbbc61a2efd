import type { Json } from '../base/json.ts';
import { identify } from './signature.ts';
import type { CallIdentity, RequestSigner } from './signature.ts';

/** A POST as it will go on the wire. */
export type SignedPost = {
  /** All of them. Signatures are made elsewhere and together, so they may still be coming. */
  headers: Promise<Record<string, string>>;
  body: Buffer;
};

/** The headers of every POST, whatever it carries. Nothing of the buyer's request is among them. */
const JSON_POST = {
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
  const headers = identify(signer, url, body, identity).then((identified) => ({
    ...JSON_POST,
    ...extraHeaders,
    ...identified,
  }));
  // Who sends it hears of a failure; of one that is never sent nobody needs to.
  headers.catch(() => {});
  return { headers, body };
}
