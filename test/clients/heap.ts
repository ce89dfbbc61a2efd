/** What a running process holds in memory, asked over its inspector (`--inspect=127.0.0.1:0`). */
export type Heap = {
  /** Bytes in use after a garbage collection. */
  usedBytes(): Promise<number>;
  /** Sockets and timers that are open, by kind. */
  resources(): Promise<Record<string, number>>;
  close(): void;
};

/** `stderr` is where a process that starts with an inspector says where it listens. */
export async function openHeap(stderr: string): Promise<Heap> {
  const url = /ws:\/\/127\.0\.0\.1:\d+\/\S+/.exec(stderr)?.[0];
  if (url === undefined) throw new Error(`No inspector listens:\n${stderr}`);
  const socket = new WebSocket(url);
  const waiting = new Map<number, (result: unknown) => void>();
  socket.addEventListener('message', ({ data }) => {
    const { id, result } = JSON.parse(String(data)) as { id: number; result: unknown };
    waiting.get(id)?.(result);
    waiting.delete(id);
  });
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve, { once: true });
    socket.addEventListener('error', reject, { once: true });
  });
  let lastId = 0;
  const ask = (method: string, params: object = {}): Promise<unknown> => {
    lastId += 1;
    const answer = new Promise((resolve) => waiting.set(lastId, resolve));
    socket.send(JSON.stringify({ id: lastId, method, params }));
    return answer;
  };

  return {
    usedBytes: async () => {
      // Twice: what a finalizer of the first round lets go is collected in the second.
      await ask('HeapProfiler.collectGarbage');
      await ask('HeapProfiler.collectGarbage');
      return ((await ask('Runtime.getHeapUsage')) as { usedSize: number }).usedSize;
    },
    resources: async () => {
      const expression = 'JSON.stringify(process.getActiveResourcesInfo())';
      const { result } = (await ask('Runtime.evaluate', { expression })) as { result: { value: string } };
      const counts: Record<string, number> = {};
      for (const kind of JSON.parse(result.value) as string[]) counts[kind] = (counts[kind] ?? 0) + 1;
      return counts;
    },
    close: () => socket.close(),
  };
}
