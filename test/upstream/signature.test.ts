import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { createSigner } from '../../src/identity/signer.ts';
import { createRequestSigner, verifyRequestSignature } from '../../src/upstream/signature.ts';
import type { SignedRequest } from '../../src/upstream/signature.ts';
import { jsonAnswer, openUpstream, requestTo, startRawAgent } from './raw-agent.ts';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const NOW = 1_800_000_000_000;
const at = (milliseconds: number) => ({ now: () => milliseconds, elapsed: () => 0 });
const findKey = (keyId: string) => (keyId === 'gateway-1' ? publicKey : undefined);
const sign64 = createSigner(privateKey);
const signer = createRequestSigner({ keyId: 'gateway-1', sign: sign64, clock: at(NOW) });

/** What an agent receives for a call that is signed at `NOW`. */
async function receiveSigned(t: TestContext, protocol: 'http' | 'mcp'): Promise<SignedRequest[]> {
  const agent = await startRawAgent(t, ({ socket, body }) => {
    const { id, method } = JSON.parse(body) as { id?: unknown; method?: string };
    const result =
      method === 'initialize'
        ? { protocolVersion: '2025-11-25' }
        : { content: [{ type: 'text', text: 'x' }] };
    socket.write(jsonAnswer({ jsonrpc: '2.0', id, result }));
  });
  const outcome = await openUpstream(t, { signer }).invoke(
    requestTo({ protocol, url: agent.url, tool: 'x' }, { callId: 'call_1', requestId: 'req_1' }),
  );
  assert.equal(outcome.kind, 'answer');
  return agent.requests.map(({ head, body }) => {
    const lines = head.split('\r\n').slice(1);
    const headers = lines.map((line) => [
      line.slice(0, line.indexOf(':')).toLowerCase(),
      line.slice(line.indexOf(':') + 2),
    ]);
    return {
      method: 'POST',
      url: agent.url,
      headers: Object.fromEntries(headers) as Record<string, string>,
      body: Buffer.from(body, 'latin1'),
    };
  });
}

test('an agent can verify every request it gets, the handshake of a session included', async (t) => {
  for (const protocol of ['http', 'mcp'] as const) {
    const requests = await receiveSigned(t, protocol);
    assert.equal(requests.length, protocol === 'http' ? 1 : 3);
    for (const request of requests) {
      assert.deepEqual(verifyRequestSignature(request, { findKey, clock: at(NOW) }), {
        kind: 'valid',
        keyId: 'gateway-1',
        callId: 'call_1',
        requestId: 'req_1',
      });
    }
  }
});

test('nothing of a signed request can be changed', async (t) => {
  const [request] = await receiveSigned(t, 'http');
  assert.ok(request);
  const { headers } = request;
  const with_ = (changed: Record<string, string | undefined>) => ({
    ...request,
    headers: { ...headers, ...changed },
  });
  const input = String(headers['signature-input']);
  const tampered: Record<string, SignedRequest> = {
    method: { ...request, method: 'PUT' },
    url: { ...request, url: `${request.url}?admin=1` },
    body: { ...request, body: Buffer.from('{"question":"what?"}') },
    'digest and body': {
      ...with_({ 'content-digest': 'sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:' }),
      body: Buffer.alloc(0),
    },
    type: with_({ 'content-type': 'text/plain' }),
    'call id': with_({ 'x-sentinel-call-id': 'call_2' }),
    'request id': with_({ 'x-sentinel-request-id': 'req_2' }),
    created: with_({ 'signature-input': input.replace('created=1800000000', 'created=1800000001') }),
    'covered parts': with_({ 'signature-input': input.replace('"content-digest" ', '') }),
    algorithm: with_({ 'signature-input': input.replace('ed25519', 'hmac-sha256') }),
    signature: with_({ signature: `sentinel=:${'A'.repeat(86)}==:` }),
    'no signature': with_({ signature: undefined }),
    'no signature input': with_({ 'signature-input': undefined }),
    'no digest': with_({ 'content-digest': undefined }),
  };
  for (const [part, changed] of Object.entries(tampered)) {
    assert.equal(verifyRequestSignature(changed, { findKey, clock: at(NOW) }).kind, 'invalid', part);
  }
});

test('a signature is good for five minutes, and only with a key of the gateway', async (t) => {
  const [request] = await receiveSigned(t, 'http');
  assert.ok(request);
  const kind = (clockMs: number, keys = findKey) =>
    verifyRequestSignature(request, { findKey: keys, clock: at(clockMs) }).kind;
  assert.equal(kind(NOW + 299_000), 'valid');
  assert.equal(kind(NOW + 302_000), 'invalid');
  assert.equal(kind(NOW - 302_000), 'invalid');
  assert.equal(
    kind(NOW, () => undefined),
    'invalid',
  );
  assert.equal(
    kind(NOW, () => generateKeyPairSync('ed25519').publicKey),
    'invalid',
  );
  assert.equal(
    kind(NOW, () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey),
    'invalid',
  );
});

test('the signature base is the one of RFC 9421, so any implementation of it can verify', async () => {
  // Ed25519 is deterministic: the base, written out here by hand, must give the same signature.
  const headers = await signer('https://agent.example/run?a=b', Buffer.from('{"hello": "world"}'), {
    callId: 'call_1',
    requestId: 'req_1',
  });
  // The digest of this body is the example of RFC 9530 section B.1 without its line break.
  const digest = 'sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:';
  const params =
    '("@method" "@target-uri" "content-digest" "content-type" "x-sentinel-call-id" "x-sentinel-request-id")' +
    ';created=1800000000;keyid="gateway-1";alg="ed25519"';
  const base = [
    '"@method": POST',
    '"@target-uri": https://agent.example/run?a=b',
    `"content-digest": ${digest}`,
    '"content-type": application/json',
    '"x-sentinel-call-id": call_1',
    '"x-sentinel-request-id": req_1',
    `"@signature-params": ${params}`,
  ].join('\n');
  assert.deepEqual(headers, {
    'content-digest': digest,
    'signature-input': `sentinel=${params}`,
    signature: `sentinel=:${sign(null, Buffer.from(base), privateKey).toString('base64')}:`,
  });
});

test('a key id that would end its quotes is refused when the gateway starts', () => {
  for (const keyId of ['', 'a"b', 'a\\b', 'a\r\nb', 'ü']) {
    assert.throws(() => createRequestSigner({ keyId, sign: sign64 }), /plain ASCII/);
  }
  assert.equal(createPublicKey(privateKey).asymmetricKeyType, 'ed25519');
});
