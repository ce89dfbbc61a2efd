import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createDemoApp } from '../../src/demo/demo-app.ts';
import { createDocumentFetcher } from '../../src/demo/fetch-document.ts';
import { createIsolatedWork } from '../../src/demo/isolated-work.ts';
import { readManifests } from '../../src/demo/manifests.ts';
import { silentLog } from '../../src/base/log.ts';

export type ServedDocument = {
  status?: number;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
};

/** A web server with the given documents by path. */
export async function serveDocuments(
  documents: Record<string, ServedDocument>,
): Promise<{ origin: string; close(): Promise<void> }> {
  const server: Server = createServer((request, response) => {
    const document = documents[request.url ?? ''] ?? { status: 404, body: 'not here' };
    response.writeHead(document.status ?? 200, document.headers).end(document.body ?? '');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** The agents' app beside a server of documents that stands where the demo's own samples stand. */
export async function startSeller(documents: Record<string, ServedDocument> = {}) {
  const server = await serveDocuments(documents);
  const closing = new AbortController();
  const fetcher = createDocumentFetcher(() => server.origin);
  const isolated = createIsolatedWork();
  const app = createDemoApp({
    files: readManifests(),
    fetcher,
    isolated,
    closing: closing.signal,
    log: silentLog,
  });
  return {
    origin: server.origin,
    /** Posts JSON, or a text as it is. */
    post: (path: string, body: unknown, headers: Record<string, string> = {}) =>
      app.request(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    close: async () => {
      closing.abort();
      await Promise.all([fetcher.close(), isolated.close(), server.close()]);
    },
  };
}

/** The sentence of a refusal. */
export async function refusalOf(response: Response): Promise<string> {
  const { error } = (await response.json()) as { error: { message: string } };
  return error.message;
}
