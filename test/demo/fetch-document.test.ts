import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDocumentFetcher, readAll } from '../../src/demo/fetch-document.ts';
import { createIsolatedWork } from '../../src/demo/isolated-work.ts';
import { isPublicAddress } from '../../src/demo/public-address.ts';
import { Refusal } from '../../src/demo/refusal.ts';
import { serveDocuments } from './seller.ts';

const limits = { accept: '*/*', maxBytes: 100, signal: new AbortController().signal };

async function withFetcher(
  ownOrigin: string,
  use: (fetch: (url: string) => Promise<Uint8Array>) => Promise<void>,
): Promise<void> {
  const fetcher = createDocumentFetcher(() => ownOrigin);
  try {
    await use(async (url) => readAll(await fetcher.fetch(url, limits)));
  } finally {
    await fetcher.close();
  }
}

const refusedWith = (status: number) => (error: unknown) =>
  error instanceof Refusal && error.status === status;

void test('only addresses of the public internet are public, in every spelling', () => {
  const privates =
    '127.0.0.1 127.255.0.1 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 192.0.2.1 224.0.0.1 ' +
    '255.255.255.255 :: ::1 fe80::1 fc00::1 fd00:ec2::254 ff02::1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::127.0.0.1 ' +
    '64:ff9b::7f00:1 64:ff9b:1::7f00:1 2002:7f00:1:: 2001::1 2001:db8::1 nonsense';
  for (const address of privates.split(' ')) assert.equal(isPublicAddress(address), false, address);
  for (const address of ['1.1.1.1', '93.184.216.34', '2606:4700:4700::1111', '::ffff:1.1.1.1']) {
    assert.equal(isPublicAddress(address), true, address);
  }
});

void test('a private address is refused before anything is sent, by literal and by name', async () => {
  let requests = 0;
  const server = await serveDocuments({
    get '/'() {
      requests += 1;
      return { body: 'secret' };
    },
  });
  const { port } = new URL(server.origin);
  await withFetcher('http://127.0.0.1:1', async (fetch) => {
    const hosts = [
      '127.0.0.1',
      'localhost',
      '127.1',
      '0x7f000001',
      '2130706433',
      '[::1]',
      '[::ffff:127.0.0.1]',
    ];
    for (const host of hosts) await assert.rejects(fetch(`http://${host}:${port}/`), refusedWith(403), host);
  });
  await server.close();
  assert.equal(requests, 0);
});

void test('the one allowed origin is exactly that: another port and a redirect to one are refused', async () => {
  const other = await serveDocuments({ '/': { body: 'secret' } });
  const own = await serveDocuments({
    '/': { body: 'sample' },
    '/moved': { status: 302, headers: { location: '/' } },
    '/out': { status: 302, headers: { location: `${other.origin}/` } },
    '/loop': { status: 302, headers: { location: '/loop' } },
  });
  await withFetcher(own.origin, async (fetch) => {
    assert.equal(Buffer.from(await fetch(`${own.origin}/`)).toString(), 'sample');
    assert.equal(Buffer.from(await fetch(`${own.origin}/moved`)).toString(), 'sample');
    await assert.rejects(fetch(`${other.origin}/`), refusedWith(403));
    await assert.rejects(fetch(`${own.origin}/out`), refusedWith(403));
    await assert.rejects(fetch(`${own.origin}/loop`), refusedWith(422));
  });
  await Promise.all([own.close(), other.close()]);
});

void test('a body past the limit is refused whether or not its length was announced', async () => {
  const own = await serveDocuments({
    '/announced': { headers: { 'content-length': '101' }, body: 'x'.repeat(101) },
    '/chunked': { headers: { 'transfer-encoding': 'chunked' }, body: 'x'.repeat(101) },
    '/fits': { body: 'x'.repeat(100) },
  });
  await withFetcher(own.origin, async (fetch) => {
    await assert.rejects(fetch(`${own.origin}/announced`), refusedWith(413));
    await assert.rejects(fetch(`${own.origin}/chunked`), refusedWith(413));
    assert.equal((await fetch(`${own.origin}/fits`)).length, 100);
  });
  await own.close();
});

void test('only http and https without a password in the URL are downloaded', async () => {
  await withFetcher('http://127.0.0.1:1', async (fetch) => {
    for (const url of [
      'file:///etc/passwd',
      'ftp://a.example/',
      'data:text/plain,a',
      'http://u:p@a.example/',
      '/a',
    ]) {
      await assert.rejects(fetch(url), refusedWith(400), url);
    }
  });
});

void test('a server that hangs up is a refusal, not a crash', async () => {
  const own = await serveDocuments({});
  await own.close();
  await withFetcher(own.origin, async (fetch) => {
    await assert.rejects(fetch(`${own.origin}/`), refusedWith(502));
  });
});

void test('a document that takes too long to read loses its thread, and so does the one whose caller left', async () => {
  const isolated = createIsolatedWork();
  const endless = new URL('data:text/javascript,for(;;);');
  const signal = new AbortController().signal;
  await assert.rejects(isolated.run(endless, null, { timeoutMs: 50, signal }), refusedWith(422));
  const left = new AbortController();
  const abandoned = isolated.run(endless, null, { timeoutMs: 60_000, signal: left.signal });
  left.abort();
  await assert.rejects(abandoned, Refusal);
  await isolated.close();
});
