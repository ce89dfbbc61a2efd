import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/**
 * What happens to one chunk a client sends. `lose reply`: the server gets it and its answer is never seen.
 * `cut request`: half of it arrives, then the connection breaks. `stall`: it is kept back until `release`,
 * which delivers it even though its client may have gone long ago, as a slow network does. `wait`: it and what
 * the client sends after it arrive when `proceed` is called, in order.
 */
export type Fault = 'pass' | 'lose reply' | 'cut request' | 'stall' | 'wait';

export type TcpProxy = {
  port: number;
  /** Delivers every stalled chunk, late; tells how many there were. */
  release(): Promise<number>;
  /** Lets go of what waits, and of what would wait from now on. */
  proceed(): void;
  /** How often each fault happened. */
  counts: Record<Fault, number>;
  close(): Promise<void>;
};

/** Stands between a client and a server on this machine; `judge` decides for every chunk a client sends. */
export async function startTcpProxy(targetPort: number, judge: (chunk: Buffer) => Fault): Promise<TcpProxy> {
  const counts: Record<Fault, number> = { pass: 0, 'lose reply': 0, 'cut request': 0, stall: 0, wait: 0 };
  const sockets = new Set<Socket>();
  let stalled: { server: Socket; chunk: Buffer }[] = [];
  const gate = Promise.withResolvers<void>();

  const listener = createServer((client) => {
    const server = connect(targetPort, '127.0.0.1');
    let isStalled = false;
    let losesReply = false;
    let waits: Promise<void> | undefined;
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
    }
    const breakOff = (): void => {
      client.destroy();
      server.destroy();
    };
    client.on('data', (chunk: Buffer) => {
      const fault = judge(chunk);
      counts[fault] += 1;
      switch (fault) {
        case 'pass':
          if (waits) waits = waits.then(() => void server.write(chunk));
          else server.write(chunk);
          break;
        case 'wait':
          waits = gate.promise.then(() => void server.write(chunk));
          break;
        case 'lose reply':
          losesReply = true;
          server.write(chunk);
          break;
        case 'cut request':
          server.write(chunk.subarray(0, chunk.length >> 1), breakOff);
          break;
        case 'stall':
          isStalled = true;
          stalled.push({ server, chunk });
          break;
      }
    });
    server.on('data', (chunk: Buffer) => {
      if (losesReply) breakOff();
      else if (!client.destroyed) client.write(chunk);
    });
    client.on('close', () => {
      // The server's side of a stalled connection does not know yet that nobody is there.
      if (!isStalled) server.destroy();
    });
    server.on('close', () => client.destroy());
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');

  return {
    port: (listener.address() as AddressInfo).port,
    counts,
    proceed: () => gate.resolve(),
    release: async () => {
      const late = stalled;
      stalled = [];
      await Promise.all(
        late.map(async ({ server, chunk }) => {
          if (server.destroyed) return;
          const answered = Promise.race([once(server, 'data'), once(server, 'close')]);
          server.write(chunk);
          await answered;
          server.destroy();
        }),
      );
      return late.length;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      listener.close();
      await once(listener, 'close');
    },
  };
}
