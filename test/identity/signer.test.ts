import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { createSigner } from '../../src/identity/signer.ts';
import { newSigningKeyPem, readSigningKey } from '../../src/identity/signing-key.ts';

const { privateKey } = readSigningKey(newSigningKeyPem());
const publicKey = createPublicKey(privateKey);

test('every text gets its own signature, alone or among many, whatever is in it', async () => {
  const sign = createSigner(privateKey);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ unit: 'binary' }), { maxLength: 300, size: 'max' }),
      async (texts) => {
        const signatures = await Promise.all(texts.map((text) => sign(text)));
        for (const [index, text] of texts.entries()) {
          const signature = signatures[index];
          assert.ok(signature && verify(null, Buffer.from(text), publicKey, signature), JSON.stringify(text));
        }
      },
    ),
    { numRuns: 40 },
  );
});

test('the signature of a text is the same, whether it is made here or on the thread', async () => {
  const sign = createSigner(privateKey);
  const alone = await sign('one');
  const [among] = await Promise.all(['one', 'two', 'three', 'four'].map((text) => sign(text)));
  assert.deepEqual(among, alone);
});

test('a signer holds its process while it has signatures to make, and not a moment longer', async () => {
  const script = `
    const { createSigner } = await import(${JSON.stringify(new URL('../../src/identity/signer.ts', import.meta.url).href)});
    const { generateKeyPairSync } = await import('node:crypto');
    const sign = createSigner(generateKeyPairSync('ed25519').privateKey);
    Promise.all(Array.from({ length: 50 }, (_, index) => sign(String(index)))).then((all) => console.log(all.length));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    timeout: 30_000,
  });
  assert.equal(stdout, '50\n');
});
