import { createSigner } from '../../src/identity/signer.ts';
import { newSigningKeyPem, readSigningKey } from '../../src/identity/signing-key.ts';

/** A signing key of a gateway under test. */
export const testKeyPem = newSigningKeyPem();
export const testSigningKey = readSigningKey(testKeyPem);
export const testKey = { keyId: testSigningKey.keyId, sign: createSigner(testSigningKey.privateKey) };
