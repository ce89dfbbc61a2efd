import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, readFileSync } from 'node:fs';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { parentPort, workerData } from 'node:worker_threads';
import { Pool } from 'undici';

/** What the thread is given; `folder` holds a body for each size, under its name. */
export type Uploads = {
  url: string;
  folder: string;
  key: string;
  paths: string[];
  sizes: number[];
  atOnce: number;
};
export type Uploaded = { client: string; path: string; status: number; text: string };

type Answer = { status: number; text: string };
type Post = { path: string; headers: Record<string, string>; size: number };

/** A thread of its own, so that nobody shares a turn of the event loop with the gateway. Every client reads the answer the way its users do; none is made to wait for it. */
const CLIENTS: Record<string, (post: Post) => Promise<Answer>> = {
  'fetch, with a length': (post) => postByFetch(post, bodyOf(post.size)),
  'fetch, in chunks': (post) => postByFetch(post, Readable.toWeb(fileOf(post)) as ReadableStream),
  "undici's pool, with a length": (post) => postByUndici(post, bodyOf(post.size)),
  "undici's pool, in chunks": (post) => postByUndici(post, fileOf(post)),
  'node:http, kept alive': (post) => postByHttp(post, keepAlive, false),
  'node:http, one connection each, in chunks': (post) => postByHttp(post, undefined, true),
  'node:http, asking first': (post) =>
    postByHttp({ ...post, headers: { ...post.headers, expect: '100-continue' } }, keepAlive, false),
  'node:http, asking first, in chunks': (post) =>
    postByHttp({ ...post, headers: { ...post.headers, expect: '100-continue' } }, undefined, true),
  'curl, as it is': (post) => postByCurl(post, []),
  'curl, not asking first': (post) => postByCurl(post, ['-H', 'Expect:']),
  'curl, in chunks': (post) => postByCurl(post, ['-H', 'Transfer-Encoding: chunked', '-H', 'Expect:']),
  'curl, in chunks, asking first': (post) =>
    postByCurl(post, ['-H', 'Transfer-Encoding: chunked', '-H', 'Expect: 100-continue']),
  'a socket that reads only when all is written': (post) =>
    postBySocket(post, { everyMs: 0, isChunked: false }),
  'the same, in chunks': (post) => postBySocket(post, { everyMs: 0, isChunked: true }),
  'a slow socket that reads only when all is written': (post) =>
    postBySocket(post, { everyMs: 2, isChunked: false }),
  'a slow socket, in chunks': (post) => postBySocket(post, { everyMs: 2, isChunked: true }),
};

const given = workerData as Uploads;
const keepAlive = new Agent({ keepAlive: true, maxSockets: 4 });
const pool = new Pool(given.url, { connections: 4 });

const uploads = Object.entries(CLIENTS).flatMap(([client, post], index) =>
  given.paths.flatMap((path, place) =>
    [0, 1].map((second) => async (): Promise<Uploaded> => {
      const size = given.sizes[(index + place + 3 * second) % given.sizes.length] ?? 0;
      const headers = { authorization: `Bearer ${given.key}`, 'content-type': 'application/json' };
      const answer = await post({ path, size, headers }).catch((error: unknown) => ({
        status: 0,
        text: String(error instanceof Error ? (error.cause ?? error) : error),
      }));
      return { client, path, ...answer };
    }),
  ),
);
const queue = uploads.values();
const uploaded: Uploaded[] = [];
await Promise.all(
  Array.from({ length: given.atOnce }, async () => {
    for (const upload of queue) uploaded.push(await upload());
  }),
);
keepAlive.destroy();
await pool.destroy();
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port of a thread has none
parentPort?.postMessage(uploaded);

async function postByFetch({ path, headers }: Post, body: NonNullable<RequestInit['body']>): Promise<Answer> {
  const response = await fetch(`${given.url}${path}`, {
    method: 'POST',
    headers,
    body,
    duplex: 'half',
  });
  return { status: response.status, text: await response.text() };
}

async function postByUndici({ path, headers }: Post, body: Buffer | Readable): Promise<Answer> {
  const { statusCode, body: answer } = await pool.request({ path, method: 'POST', headers, body });
  return { status: statusCode, text: await answer.text() };
}

async function postByHttp(post: Post, agent: Agent | undefined, isChunked: boolean): Promise<Answer> {
  const length = isChunked ? {} : { 'content-length': String(post.size) };
  const request = httpRequest(`${given.url}${post.path}`, {
    method: 'POST',
    agent,
    headers: { ...post.headers, ...length },
  });
  const body = fileOf(post);
  if (post.headers['expect'] === undefined) body.pipe(request);
  else request.once('continue', () => body.pipe(request));
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  // Who has its answer minds no more what becomes of the rest.
  request.on('error', () => {});
  const answer = { status: response.statusCode ?? 0, text: await text(response) };
  body.destroy();
  request.destroy();
  return answer;
}

async function postByCurl({ path, headers, size }: Post, more: string[]): Promise<Answer> {
  const fields = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  const { stdout } = await promisify(execFile)('curl', [
    '-sS',
    '-w',
    '\n%{http_code}',
    '--data-binary',
    `@${join(given.folder, String(size))}`,
    ...fields,
    ...more,
    `${given.url}${path}`,
  ]);
  const [answer = '', status = ''] = stdout.split(/\n(?=[0-9]{3}$)/);
  return { status: Number(status), text: answer };
}

/** As a client does that knows of one thing at a time: it writes to the end, and then it looks. */
async function postBySocket(
  { path, headers, size }: Post,
  { everyMs, isChunked }: { everyMs: number; isChunked: boolean },
): Promise<Answer> {
  const socket = connect(Number(new URL(given.url).port), '127.0.0.1');
  // What breaks it is in `errored`.
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.pause();
  const lines = Object.entries({
    ...headers,
    host: 'localhost',
    connection: 'close',
    ...(isChunked ? { 'transfer-encoding': 'chunked' } : { 'content-length': size }),
  }).map(([name, value]) => `${name}: ${value}`);
  socket.write([`POST ${path} HTTP/1.1`, ...lines, '', ''].join('\r\n'));
  const body = bodyOf(size);
  for (let at = 0; at < size && !socket.errored; at += 65_536) {
    const part = body.subarray(at, at + 65_536);
    if (isChunked) socket.write(`${part.length.toString(16)}\r\n`);
    const hasRoom = socket.write(part);
    if (isChunked) socket.write('\r\n');
    if (!hasRoom && !socket.errored) await Promise.race([once(socket, 'drain'), once(socket, 'close')]);
    if (everyMs > 0) await wait(everyMs);
  }
  if (isChunked) socket.write('0\r\n\r\n');
  if (socket.errored) throw socket.errored;
  const answer = await text(socket);
  return { status: Number(answer.split(' ')[1]), text: answer };
}

function bodyOf(size: number): Buffer {
  return readFileSync(join(given.folder, String(size)));
}

function fileOf({ size }: Post): Readable {
  return createReadStream(join(given.folder, String(size)));
}
