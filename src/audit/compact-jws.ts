import type { Sign } from '../base/signer.ts';

/** The key that signs, and the name its public half has in our JWKS. */
export type JwsKey = { keyId: string; sign: Sign };

/**
 * Signs texts as RFC 7515 compact JWS with EdDSA. `typ` says what the text is, so that one kind of statement
 * is never taken for another.
 */
export function createJwsSigner(key: JwsKey, typ: string): (payload: string) => Promise<string> {
  const header = base64url(JSON.stringify({ alg: 'EdDSA', kid: key.keyId, typ }));
  return async (payload) => {
    const input = `${header}.${base64url(payload)}`;
    const signature = await key.sign(input);
    return `${input}.${signature.toString('base64url')}`;
  };
}

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url');
}
