import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';

/** The key the gateway signs with: requests to agents, so that a seller can tell they are ours. */
export type SigningKey = {
  /** The RFC 7638 thumbprint of the public key. */
  keyId: string;
  privateKey: KeyObject;
  /** What anyone may know: RFC 8037 `OKP` key as it stands in the JWKS. */
  publicJwk: { kty: 'OKP'; crv: 'Ed25519'; x: string; kid: string; alg: 'EdDSA'; use: 'sig' };
};

/** A new Ed25519 key as PKCS #8 PEM. */
export function newSigningKeyPem(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** Throws when the PEM is not an Ed25519 private key. */
export function readSigningKey(pem: string): SigningKey {
  const privateKey = createPrivateKey(pem);
  if (privateKey.asymmetricKeyType !== 'ed25519') {
    throw new Error(`The signing key is ${privateKey.asymmetricKeyType ?? 'unknown'}; it must be Ed25519.`);
  }
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
  if (x === undefined) throw new Error('The signing key has no public half.');
  // RFC 7638 section 3.2: the required members in lexicographic order.
  const keyId = createHash('sha256')
    .update(JSON.stringify({ crv: 'Ed25519', kty: 'OKP', x }))
    .digest('base64url');
  return {
    keyId,
    privateKey,
    publicJwk: { kty: 'OKP', crv: 'Ed25519', x, kid: keyId, alg: 'EdDSA', use: 'sig' },
  };
}
