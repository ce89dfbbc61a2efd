import { createCrowd } from '../base/crowd.ts';
import { Problem } from '../base/problem.ts';
import type { ChunkListener } from '../upstream/upstream.ts';
import type { CallResult } from './call.ts';

/** What makes two requests the same purchase, as far as they say. */
export type PurchaseIdentity = {
  keyId: string;
  idempotencyKey: string | undefined;
  /** Absent where the agent may not run on and no idempotency key was given: then nothing is ever shared. */
  requestHash: string | undefined;
  /** The same arguments under one idempotency key, whatever the version. */
  keyedHash: string | undefined;
};

/** One call this process is working on, and the buyers who are waiting for it. */
export type RunningCall = {
  readonly callId: string;
  readonly identity: PurchaseIdentity;
  /** Aborted when the last buyer has gone and the call may not run on without one. */
  readonly signal: AbortSignal;
  /** True while somebody waits for the answer. */
  hasBuyer(): boolean;
  /** From now on the call runs to its end even if every buyer leaves; `onAlone` hears when they have. */
  runOn(onAlone: () => void): void;
  emit: ChunkListener;
};

export type Buyer = {
  signal: AbortSignal;
  onChunk: ChunkListener | undefined;
};

export type RunningCalls = {
  /**
   * Runs the call, or joins the running one that is the same purchase. Answers when the call has ended, or
   * CANCELLED as soon as this buyer leaves.
   */
  share(
    callId: string,
    identity: PurchaseIdentity,
    buyer: Buyer,
    run: (running: RunningCall) => Promise<CallResult>,
  ): Promise<CallResult>;
  count(): number;
  /** Waits until every call has ended; after `graceMs` aborts what is left and waits for it to be refunded. */
  drain(graceMs: number): Promise<void>;
};

type Entry = {
  running: RunningCall;
  result: Promise<CallResult>;
  join(buyer: Buyer): Promise<CallResult>;
  abort(): void;
};

type Slot = { entry: Entry | undefined };

/** The calls of this process that are under way. */
export function createRunningCalls(): RunningCalls {
  const entries = createCrowd<Entry>();
  // Only what can be joined is here: a plain call costs no look-up by identity. A slot is emptied before the map
  // forgets it: see `base/crowd.ts`.
  const byKey = new Map<string, Slot>();
  const aloneByHash = new Map<string, Slot>();
  let isDraining = false;

  function start(
    callId: string,
    identity: PurchaseIdentity,
    run: (running: RunningCall) => Promise<CallResult>,
  ): Entry {
    const abort = new AbortController();
    const buyers = new Set<Buyer>();
    const keyName = keyNameOf(identity);
    const hashName = hashNameOf(identity);
    let onAlone: (() => void) | undefined;
    let isAlone = false;

    function leave(buyer: Buyer): void {
      buyers.delete(buyer);
      if (buyers.size > 0) return;
      if (!onAlone) {
        abort.abort();
      } else if (!isAlone) {
        isAlone = true;
        if (hashName !== undefined) aloneByHash.set(hashName, { entry });
        onAlone();
      }
    }

    const running: RunningCall = {
      callId,
      identity,
      signal: abort.signal,
      hasBuyer: () => buyers.size > 0,
      runOn: (listener) => {
        onAlone = listener;
      },
      emit: (chunk, progress) => {
        for (const buyer of buyers) buyer.onChunk?.(chunk, progress);
      },
    };

    const entry: Entry = {
      running,
      // Assigned below: what runs may already ask for the entry's buyers.
      result: undefined as never,
      abort: () => abort.abort(),
      join: (buyer) => {
        if (buyer.signal.aborted) {
          if (buyers.size === 0) leave(buyer);
          return Promise.resolve(cancelled());
        }
        buyers.add(buyer);
        return new Promise((resolve, reject) => {
          const onGone = (): void => {
            leave(buyer);
            resolve(cancelled());
          };
          buyer.signal.addEventListener('abort', onGone, { once: true });
          const settleWith = (finish: () => void): void => {
            buyer.signal.removeEventListener('abort', onGone);
            finish();
          };
          entry.result.then(
            (result) => settleWith(() => resolve(result)),
            (error: unknown) => settleWith(() => reject(error)),
          );
        });
      },
    };
    const leaveCrowd = entries.add(entry);
    if (keyName !== undefined) byKey.set(keyName, { entry });

    function forget(): void {
      leaveCrowd();
      for (const [name, slots] of [
        [keyName, byKey],
        [hashName, aloneByHash],
      ] as const) {
        const slot = name === undefined ? undefined : slots.get(name);
        if (name === undefined || slot?.entry !== entry) continue;
        slot.entry = undefined;
        slots.delete(name);
      }
    }
    // The run begins a turn later than its first buyer joins, so that it never looks abandoned.
    entry.result = Promise.resolve().then(() => run(running));
    entry.result.then(forget, forget);
    return entry;
  }

  return {
    share: async (callId, identity, buyer, run) => {
      for (;;) {
        if (isDraining)
          throw new Problem('UNAVAILABLE', 'The gateway is shutting down. Try again shortly.', {
            retry_after_seconds: 5,
          });
        const known = findSame(identity, byKey, aloneByHash);
        if (!known) return start(callId, identity, run).join(buyer);
        if (isConflict(known.running.identity, identity)) throw idempotencyConflict();
        const result = await known.join(buyer);
        // The earlier request was given up by its buyer just before this one came: begin anew.
        const wasGivenUp = result.kind === 'problem' && result.problem.code === 'CANCELLED';
        if (!wasGivenUp || buyer.signal.aborted) return result;
      }
    },
    count: () => entries.size(),
    drain: async (graceMs) => {
      isDraining = true;
      const giveUp = setTimeout(() => {
        for (const entry of entries.members()) entry.abort();
      }, graceMs);
      while (entries.size() > 0) await Promise.allSettled(entries.members().map((entry) => entry.result));
      clearTimeout(giveUp);
    },
  };
}

export function idempotencyConflict(): Problem {
  return new Problem(
    'IDEMPOTENCY_CONFLICT',
    'This idempotency key was used in the last 24 hours for another agent or other arguments. Use a new key for a new purchase.',
  );
}

/** One key, and not one purchase. */
function isConflict(known: PurchaseIdentity, wanted: PurchaseIdentity): boolean {
  return (
    wanted.idempotencyKey !== undefined &&
    wanted.idempotencyKey === known.idempotencyKey &&
    wanted.keyedHash !== known.keyedHash
  );
}

function findSame(
  identity: PurchaseIdentity,
  byKey: Map<string, Slot>,
  aloneByHash: Map<string, Slot>,
): Entry | undefined {
  const keyName = keyNameOf(identity);
  const keyed = keyName === undefined ? undefined : byKey.get(keyName)?.entry;
  if (keyed) return keyed;
  const hashName = hashNameOf(identity);
  return hashName === undefined ? undefined : aloneByHash.get(hashName)?.entry;
}

function keyNameOf(identity: PurchaseIdentity): string | undefined {
  return identity.idempotencyKey === undefined ? undefined : `${identity.keyId} ${identity.idempotencyKey}`;
}

function hashNameOf(identity: PurchaseIdentity): string | undefined {
  return identity.requestHash === undefined ? undefined : `${identity.keyId} ${identity.requestHash}`;
}

function cancelled(): CallResult {
  return {
    kind: 'problem',
    problem: new Problem('CANCELLED', 'The call was cancelled before its answer was ready.'),
  };
}
