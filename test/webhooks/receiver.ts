import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One request as a receiver got it, and its connection to answer on. */
export type Visit = {
  headers: Record<string, string | undefined>;
  body: string;
  response: ServerResponse;
};

/** Somebody else's server that is told what happens. It says 204 unless the test wants something else. */
export type Receiver = {
  url: string;
  visits: Visit[];
  answer: (visit: Visit) => void;
  /** The `webhook-id` of every request, in the order they came. */
  ids(): string[];
  /** Resolves with the n-th visit (from 0), once it has come. */
  visit(n: number): Promise<Visit>;
  close(): Promise<void>;
};

export async function startReceiver(): Promise<Receiver> {
  let waiting: { n: number; resolve(visit: Visit): void }[] = [];
  const server: Server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const headers = request.headers as Visit['headers'];
      const visit = { headers, body: Buffer.concat(parts).toString(), response };
      receiver.visits.push(visit);
      receiver.answer(visit);
      for (const each of waiting) if (each.n < receiver.visits.length) each.resolve(visit);
      waiting = waiting.filter((each) => each.n >= receiver.visits.length);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const receiver: Receiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    visits: [],
    answer: ({ response }) => response.writeHead(204).end(),
    ids: () => receiver.visits.map(({ headers }) => headers['webhook-id'] ?? ''),
    visit: (n) => {
      const come = receiver.visits[n];
      return come ? Promise.resolve(come) : new Promise((resolve) => waiting.push({ n, resolve }));
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return receiver;
}
