/**
 * Collects what is asked for while an earlier batch is under way and sends it as the next one: batches form
 * by themselves, a lone request waits for nobody, and a statement's fixed cost is shared.
 */
export type Batcher<Item, Answer> = {
  /** Answers as `flush` answered for this item, or fails as its batch failed. */
  add(item: Item): Promise<Answer>;
  /** Items waiting or under way. */
  depth(): number;
  /** Resolves when everything added so far is answered; nothing waits for company meanwhile. */
  drain(): Promise<void>;
};

export type BatcherOptions = {
  maxBatch: number;
  /**
   * Small batches are held back until this long after the start of the one before, so that their fixed cost
   * is shared by more. Only under load: a batch after one of fewer than `busyAt` items is not held back, nor
   * is one of `enough` items.
   */
  spacing?: { ms: number; busyAt: number; enough: number };
};

type Waiting<Item, Answer> = {
  item: Item;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
};

/** `flush` answers for every item of a batch, in order. It is never called twice at the same time. */
export function createBatcher<Item, Answer>(
  flush: (items: Item[]) => Promise<Answer[]>,
  options: BatcherOptions,
): Batcher<Item, Answer> {
  const { maxBatch, spacing } = options;
  let queue: Waiting<Item, Answer>[] = [];
  let underWay = 0;
  let isScheduled = false;
  let heldBack: NodeJS.Timeout | undefined;
  let lastSize = 0;
  let lastStart = 0;
  let added = 0;
  let answered = 0;
  // Each waits for what had been added when it was asked: under steady load the queue itself is never empty.
  let drains: { upTo: number; resolve(): void }[] = [];

  function schedule(): void {
    if (isScheduled || underWay > 0 || queue.length === 0) return;
    const waitMs = spacingLeft();
    if (waitMs > 0) {
      heldBack ??= setTimeout(() => {
        heldBack = undefined;
        sendSoon();
      }, waitMs);
      return;
    }
    sendSoon();
  }

  function spacingLeft(): number {
    if (!spacing || drains.length > 0) return 0;
    if (lastSize < spacing.busyAt || queue.length >= spacing.enough) return 0;
    return spacing.ms - (performance.now() - lastStart);
  }

  function sendSoon(): void {
    if (isScheduled || underWay > 0) return;
    isScheduled = true;
    // After the current turn of the event loop, so that everything it asked for goes together.
    setImmediate(() => {
      isScheduled = false;
      void send();
    });
  }

  async function send(): Promise<void> {
    clearTimeout(heldBack);
    heldBack = undefined;
    const batch = queue.length <= maxBatch ? queue : queue.slice(0, maxBatch);
    queue = batch === queue ? [] : queue.slice(maxBatch);
    underWay = batch.length;
    lastSize = batch.length;
    lastStart = performance.now();
    try {
      const answers = await flush(batch.map((waiting) => waiting.item));
      for (const [index, waiting] of batch.entries()) waiting.resolve(answers[index] as Answer);
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
    }
    underWay = 0;
    answered += batch.length;
    for (const drain of drains) if (drain.upTo <= answered) drain.resolve();
    drains = drains.filter((drain) => drain.upTo > answered);
    schedule();
  }

  return {
    add: (item) =>
      new Promise((resolve, reject) => {
        queue.push({ item, resolve, reject });
        added += 1;
        schedule();
      }),
    depth: () => queue.length + underWay,
    drain: () => {
      if (queue.length + underWay === 0) return Promise.resolve();
      return new Promise((resolve) => {
        drains.push({ upTo: added, resolve });
        schedule();
      });
    },
  };
}
