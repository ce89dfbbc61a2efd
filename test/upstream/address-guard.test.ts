import assert from 'node:assert/strict';
import type { LookupAddress } from 'node:dns';
import { test } from 'node:test';
import { checkEndpointUrl, guardLookup, isPublicAddress } from '../../src/upstream/address-guard.ts';
import { jsonAnswer, openUpstream, requestTo, startRawAgent } from './raw-agent.ts';
import { REFUSED_URLS } from './refused-urls.ts';

for (const [url, reason] of REFUSED_URLS) {
  test(`${url} may not be an agent's endpoint`, async (t) => {
    const operatorMayAllow = checkEndpointUrl(url, { allowEndpoint: () => true }).kind === 'ok';
    assert.deepEqual(checkEndpointUrl(url), { kind: 'refused', reason, operatorMayAllow });

    const upstream = openUpstream(t, {
      allowEndpoint: () => false,
      resolve: () => assert.fail('nothing refused is ever looked up'),
    });
    const outcome = await upstream.invoke(requestTo({ protocol: 'http', url }));
    assert.deepEqual(outcome, { kind: 'unreachable', detail: `its URL ${reason}` });
  });
}

test('a URL of more than 2,048 characters may not be an endpoint', () => {
  const url = `https://agent.example/${'x'.repeat(2_026)}`;
  assert.equal(checkEndpointUrl(url).kind, 'ok');
  assert.equal(checkEndpointUrl(`${url}x`).kind, 'refused');
});

test('public endpoints are accepted, in their normal form', () => {
  const accepted = {
    'https://agent.example/run?x=1': 'https://agent.example/run?x=1',
    'https://agent.example:443/': 'https://agent.example/',
    'https://agent.example:8443/': 'https://agent.example:8443/',
    'https://bücher.example/': 'https://xn--bcher-kva.example/',
    'https://8.8.8.8/': 'https://8.8.8.8/',
    'https://[2606:4700::1111]/': 'https://[2606:4700::1111]/',
    // Looks private and is not; where it leads is judged when it is looked up.
    'https://127.0.0.1.nip.io/': 'https://127.0.0.1.nip.io/',
  };
  for (const [text, href] of Object.entries(accepted)) {
    const verdict = checkEndpointUrl(text);
    assert.equal(verdict.kind === 'ok' && verdict.url.href, href);
  }
});

test('the operator allows exactly one host and port, and still no credentials or other schemes', () => {
  const rules = { allowEndpoint: (url: URL) => url.host === '127.0.0.1:9000' };
  assert.equal(checkEndpointUrl('http://127.0.0.1:9000/run', rules).kind, 'ok');
  assert.equal(checkEndpointUrl('http://127.1:9000/run', rules).kind, 'ok');
  for (const url of [
    'http://127.0.0.1:9001/',
    'http://u@127.0.0.1:9000/',
    'ftp://127.0.0.1:9000/',
    'https://127.0.0.2:9000/',
  ]) {
    assert.equal(checkEndpointUrl(url, rules).kind, 'refused', url);
  }
});

test('what an IPv6 address carries is what is judged', () => {
  for (const address of ['::ffff:8.8.8.8', '64:ff9b::8.8.8.8', '2002:808:808::1', '2a00:1450::1']) {
    assert.equal(isPublicAddress(address), true, address);
  }
  for (const address of [
    '::ffff:10.0.0.1',
    '64:ff9b::a00:1',
    '2002:a00:1::',
    'fe80::1%eth0',
    'no address',
    '',
  ]) {
    assert.equal(isPublicAddress(address), false, address);
  }
});

/** A resolver that gives the next of `answers` each time it is asked. */
function resolver(...answers: string[][]) {
  const asked: string[] = [];
  const resolve = (name: string, callback: (error: null, addresses: LookupAddress[]) => void) => {
    asked.push(name);
    const addresses = answers[asked.length - 1] ?? [];
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    );
  };
  return { asked, resolve };
}

test('a connection goes to exactly the addresses that were checked, resolved once', () => {
  const { asked, resolve } = resolver(['8.8.8.8', '2606:4700::1111'], ['127.0.0.1']);
  guardLookup(resolve)('agent.example', { all: true }, (error, addresses) => {
    assert.equal(error, null);
    assert.deepEqual(addresses, [
      { address: '8.8.8.8', family: 4 },
      { address: '2606:4700::1111', family: 6 },
    ]);
  });
  assert.deepEqual(asked, ['agent.example']);
});

test('a name is refused when one of its addresses is private, and when it has none', () => {
  for (const addresses of [
    ['127.0.0.1'],
    ['8.8.8.8', '10.0.0.1'],
    ['8.8.8.8', '::ffff:169.254.169.254'],
    [],
  ]) {
    let refused = 0;
    guardLookup(resolver(addresses).resolve)('agent.example', {}, (error) => {
      assert.equal((error as NodeJS.ErrnoException).code, 'SENTINEL_ADDRESS_REFUSED');
      refused++;
    });
    assert.equal(refused, 1);
  }
});

test('a name that turns private after it was checked is refused at the next connection', async (t) => {
  const agent = await startRawAgent(t, ({ socket }) => void socket.write(jsonAnswer('leaked')));
  const port = new URL(agent.origin).port;
  const { asked, resolve } = resolver(['8.8.8.8'], ['127.0.0.1'], ['::1']);
  guardLookup(resolve)('rebind.example', {}, (error) => assert.equal(error, null));

  const upstream = openUpstream(t, { allowEndpoint: () => false, resolve });
  for (const protocol of ['http', 'mcp'] as const) {
    const endpoint = { protocol, url: `https://rebind.example:${port}/`, tool: 'x' };
    assert.deepEqual(await upstream.invoke(requestTo(endpoint)), {
      kind: 'unreachable',
      detail: 'its host name leads to an address that is not public',
    });
  }
  assert.equal(asked.length, 3);
  assert.equal(agent.sockets.length, 0, 'nothing ever connected');
});

test('permission that is taken back is gone at the next call', async (t) => {
  const agent = await startRawAgent(t, ({ socket }) => void socket.write(jsonAnswer(1)));
  let isAllowed = true;
  const upstream = openUpstream(t, { allowEndpoint: () => isAllowed });
  const endpoint = { protocol: 'http' as const, url: agent.url };
  assert.equal((await upstream.invoke(requestTo(endpoint))).kind, 'answer');
  isAllowed = false;
  assert.equal((await upstream.invoke(requestTo(endpoint))).kind, 'unreachable');
  assert.equal(agent.requests.length, 1);
});
