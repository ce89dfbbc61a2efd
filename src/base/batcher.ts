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
  /** Batches under way at a time; one unless said. With more, the next is there already when one is answered. */
  inFlight?: number;
  /**
   * Small batches are held back until this long after the start of the one before, so that their fixed cost
   * is shared by more. Only under load: a batch after one of fewer than `busyAt` items is not held back, nor
   * is one of `enough` items.
   */
  spacing?: { ms: number; busyAt: number; enough: number };
  /**
   * True when a batch failed by something in it, or by being too much at once. It is halved then, one half after
   * the other, until it succeeds or stands alone: what fails is told to those it is about, and to nobody else.
   */
  halvesOn?: (error: unknown) => boolean;
};

type Waiting<Item, Answer> = {
  item: Item;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
};

/** `flush` answers for every item of a batch, in order. It is called no more than `inFlight` times at once. */
export function createBatcher<Item, Answer>(
  flush: (items: Item[]) => Promise<Answer[]>,
  options: BatcherOptions,
): Batcher<Item, Answer> {
  const { maxBatch, inFlight = 1, spacing } = options;
  let queue: Waiting<Item, Answer>[] = [];
  // Where each batch under way begins, counted in items since the start.
  const underWay: number[] = [];
  let isScheduled = false;
  let heldBack: NodeJS.Timeout | undefined;
  let lastSize = 0;
  let lastStart = 0;
  let sent = 0;
  let waiting = 0;
  // Each waits for what had been added when it was asked: under steady load the queue itself is never empty.
  let drains: { upTo: number; resolve(): void }[] = [];

  function schedule(): void {
    if (isScheduled || underWay.length >= inFlight || queue.length === 0) return;
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
    if (isScheduled || underWay.length >= inFlight) return;
    isScheduled = true;
    // After the current turn of the event loop, so that everything it asked for goes together.
    setImmediate(() => {
      isScheduled = false;
      void send();
      // What is a batch already waits for no more company.
      while (underWay.length < inFlight && queue.length >= maxBatch) void send();
      schedule();
    });
  }

  async function send(): Promise<void> {
    clearTimeout(heldBack);
    heldBack = undefined;
    const batch = queue.length <= maxBatch ? queue : queue.slice(0, maxBatch);
    queue = batch === queue ? [] : queue.slice(maxBatch);
    const from = sent;
    underWay.push(from);
    sent += batch.length;
    lastSize = batch.length;
    lastStart = performance.now();
    await answer(batch);
    waiting -= batch.length;
    underWay.splice(underWay.indexOf(from), 1);
    tellDrained();
    schedule();
  }

  async function answer(batch: Waiting<Item, Answer>[]): Promise<void> {
    try {
      const items: Item[] = [];
      for (const { item } of batch) items.push(item);
      const answers = await flush(items);
      for (const [index, { resolve }] of batch.entries()) resolve(answers[index] as Answer);
    } catch (error) {
      if (batch.length > 1 && options.halvesOn?.(error)) {
        const middle = batch.length >> 1;
        await answer(batch.slice(0, middle));
        await answer(batch.slice(middle));
        return;
      }
      for (const { reject } of batch) reject(error);
    }
  }

  function tellDrained(): void {
    if (drains.length === 0) return;
    const answered = Math.min(sent, ...underWay);
    for (const drain of drains) if (drain.upTo <= answered) drain.resolve();
    drains = drains.filter((drain) => drain.upTo > answered);
  }

  return {
    add: (item) =>
      new Promise((resolve, reject) => {
        queue.push({ item, resolve, reject });
        waiting += 1;
        schedule();
      }),
    depth: () => waiting,
    drain: () => {
      if (waiting === 0) return Promise.resolve();
      return new Promise((resolve) => {
        drains.push({ upTo: sent + queue.length, resolve });
        schedule();
      });
    },
  };
}
