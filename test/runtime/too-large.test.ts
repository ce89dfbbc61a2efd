import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { startRestGateway, type Member, type RestGateway } from '../http/rest-gateway.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';
import type { Uploaded, Uploads } from './uploaders.ts';

const LIMIT = 1_000_000;
const SIZES = [4, 5, 6, 7, 8, 9, 10, 12].map((megabytes) => megabytes * 1_000_000);
const INVOKE = '/v1/agents/agt_echo_v1/invoke';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

let rest: RestGateway;
let seller: TestSeller;
let buyer: Member;
let folder: string;

before(async () => {
  seller = await startSeller(({ text }) => ({ text }));
  rest = await startRestGateway();
  const endpoint = { protocol: 'http' as const, url: seller.url, max_payload_bytes: LIMIT };
  await rest.publish(manifestOf('echo', seller.url, { endpoint }), 80);
  buyer = await rest.newMember('1000');
  folder = await mkdtemp(join(tmpdir(), 'too-large-'));
  for (const size of SIZES) await writeFile(join(folder, String(size)), bodyOf(size));
});

after(async () => {
  await rest?.close();
  await seller?.close();
  await rm(folder, { recursive: true, force: true });
});

test('each of 64 posts of 4 to 12 MB is told the limit, whatever client sends it, and none is kept in memory', async () => {
  const { uploaded, mostBytes } = await upload({ paths: [INVOKE, '/mcp'], key: buyer.key });
  assert.equal(uploaded.length, 64);
  const missed = uploaded.filter(
    ({ status, text }) => status !== 413 || !text.includes('PAYLOAD_TOO_LARGE') || !text.includes(`${LIMIT}`),
  );
  assert.deepEqual(missed, []);
  assert.equal(seller.requests, 0);
  // Of a body in chunks at most as much as the limit is there, and twice that while it is put together.
  assert.ok(mostBytes < 30_000_000, `${mostBytes} bytes`);
});

test('each of 64 posts of 4 to 12 MB with a wrong key is told so', async () => {
  const { uploaded } = await upload({ paths: [INVOKE, '/mcp'], key: 'sk_live_wrong' });
  assert.deepEqual(
    uploaded.filter(({ status }) => status !== 401),
    [],
  );
});

async function upload(
  wish: Pick<Uploads, 'paths' | 'key'>,
): Promise<{ uploaded: Uploaded[]; mostBytes: number }> {
  const given: Uploads = { url: rest.url, folder, sizes: SIZES, atOnce: 6, ...wish };
  collectGarbage();
  const bytesBefore = process.memoryUsage().arrayBuffers;
  let mostBytes = 0;
  // What has been read and thrown away is not what is kept.
  const look = setInterval(() => {
    collectGarbage();
    mostBytes = Math.max(mostBytes, process.memoryUsage().arrayBuffers - bytesBefore);
  }, 50);
  const worker = new Worker(new URL('uploaders.ts', import.meta.url), { workerData: given });
  const [uploaded] = (await once(worker, 'message')) as [Uploaded[]];
  await worker.terminate();
  clearInterval(look);
  return { uploaded, mostBytes };
}

function bodyOf(size: number): string {
  const [head, tail] = ['{"inputs":{"text":"', '"}}'];
  return `${head}${'x'.repeat(size - head.length - tail.length)}${tail}`;
}
