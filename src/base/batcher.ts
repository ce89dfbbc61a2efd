/**
 * Collects what is asked for while an earlier batch is under way and sends it as the next one: batches form
 * by themselves, a lone request waits for nobody, and a statement's fixed cost is shared. Waiting a
 * millisecond to fill a batch was measured and is worse (it adds the wait and gains nothing).
 */
export type Batcher<Item, Answer> = {
  /** Answers as `flush` answered for this item, or fails as its batch failed. */
  add(item: Item): Promise<Answer>;
  /** Items waiting or under way. */
  depth(): number;
  /** Resolves when everything added so far is answered. */
  drain(): Promise<void>;
};

type Waiting<Item, Answer> = {
  item: Item;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
};

/** `flush` answers for every item of a batch, in order. It is never called twice at the same time. */
export function createBatcher<Item, Answer>(
  flush: (items: Item[]) => Promise<Answer[]>,
  options: { maxBatch: number },
): Batcher<Item, Answer> {
  let queue: Waiting<Item, Answer>[] = [];
  let underWay = 0;
  let scheduled = false;
  let drained: (() => void)[] = [];

  function schedule(): void {
    if (scheduled || underWay > 0 || queue.length === 0) return;
    scheduled = true;
    // After the current turn of the event loop, so that everything it asked for goes together.
    setImmediate(() => {
      scheduled = false;
      void send();
    });
  }

  async function send(): Promise<void> {
    const batch = queue.length <= options.maxBatch ? queue : queue.slice(0, options.maxBatch);
    queue = batch === queue ? [] : queue.slice(options.maxBatch);
    underWay = batch.length;
    try {
      const answers = await flush(batch.map((waiting) => waiting.item));
      for (const [index, waiting] of batch.entries()) waiting.resolve(answers[index] as Answer);
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
    }
    underWay = 0;
    schedule();
    if (queue.length === 0) {
      for (const resolve of drained) resolve();
      drained = [];
    }
  }

  return {
    add: (item) =>
      new Promise((resolve, reject) => {
        queue.push({ item, resolve, reject });
        schedule();
      }),
    depth: () => queue.length + underWay,
    drain: () =>
      queue.length + underWay === 0 ? Promise.resolve() : new Promise((resolve) => drained.push(resolve)),
  };
}
