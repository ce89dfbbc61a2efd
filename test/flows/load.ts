import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { call, type Outcome } from './market.ts';

/** One purchase the load wanted to make, and everything it was told about it. */
export type Purchase = {
  /** No two purchases have the same text. */
  text: string;
  /** Present where the purchase is tried again until it is answered. */
  idempotencyKey: string | undefined;
  outcomes: Outcome[];
};

/** Buyers who call without a pause, over both wires. */
export type Load = {
  purchases: Purchase[];
  answered(): number;
  /** Resolves when this many more purchases have been answered. */
  more(count: number): Promise<void>;
  /** No new purchases; resolves when those under way have ended. */
  stop(): Promise<void>;
};

const WORKERS = 12;
const RETRY_MS = 25;
const LONGEST_WAIT_MS = 30_000;

/** `url` is asked before each request: the gateway may have been started again elsewhere. */
export function startLoad(options: { url: () => string; key: string; agentId: string }): Load {
  const purchases: Purchase[] = [];
  const stopped = new AbortController();
  let isGivenUp = false;
  let answered = 0;
  let listeners: (() => void)[] = [];

  async function work(worker: number): Promise<void> {
    const wire = worker % 2 === 0 ? 'rest' : 'mcp';
    // Half of the buyers insist: the same key again until they have their answer.
    const insists = worker % 4 < 2;
    for (let round = 0; !stopped.signal.aborted; round += 1) {
      const purchase: Purchase = {
        text: `purchase ${worker} ${round}`,
        idempotencyKey: insists ? randomUUID() : undefined,
        outcomes: [],
      };
      purchases.push(purchase);
      const { text, idempotencyKey } = purchase;
      const wanted = {
        key: options.key,
        agentId: options.agentId,
        text,
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      };
      for (;;) {
        const outcome = await call(options.url(), wire, wanted);
        purchase.outcomes.push(outcome);
        if (outcome.kind === 'answer') {
          answered += 1;
          for (const listener of listeners) listener();
          break;
        }
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        if (!insists || isGivenUp) break;
      }
    }
  }

  const workers = Array.from({ length: WORKERS }, (_, worker) => work(worker));
  return {
    purchases,
    answered: () => answered,
    more: (count) => {
      const wanted = answered + count;
      return new Promise((resolve, reject) => {
        const giveUp = setTimeout(
          () => reject(new Error(`only ${answered} of ${wanted} purchases were answered`)),
          LONGEST_WAIT_MS,
        );
        const listener = (): void => {
          if (answered < wanted) return;
          clearTimeout(giveUp);
          listeners = listeners.filter((known) => known !== listener);
          resolve();
        };
        listeners.push(listener);
      });
    },
    stop: async () => {
      stopped.abort();
      const giveUp = setTimeout(() => (isGivenUp = true), LONGEST_WAIT_MS);
      await Promise.all(workers);
      clearTimeout(giveUp);
      assert.ok(!isGivenUp, 'a purchase was tried again and again and never answered');
    },
  };
}

/** Whole numbers that look random and are the same at every run with the same seed (Park and Miller). */
export function seededNumbers(seed: number): (least: number, most: number) => number {
  let state = seed;
  return (least, most) => {
    state = (state * 48_271) % 2_147_483_647;
    return least + (state % (most - least + 1));
  };
}
