import { createCrowd } from '../base/crowd.ts';
import { Problem } from '../base/problem.ts';
import type { ChunkListener } from '../upstream/upstream.ts';
import type { Call, CallResult } from './call.ts';

/** One call this process is working on, and the buyers who are waiting for it. */
export type RunningCall = {
  readonly callId: string;
  /** Aborted when the last buyer has gone and the call may not run on without one. */
  readonly signal: AbortSignal;
  /** True while a buyer waits for the answer. */
  hasBuyer(): boolean;
  /** From now on the call runs to its end even if every buyer leaves; `onAlone` hears when they have. */
  runOn(onAlone: () => void): void;
  /** Passes a chunk on to every buyer who listens; false when none does. */
  emit(...chunk: Parameters<ChunkListener>): boolean;
};

/** A running call as the request that makes it holds it. */
export type OwnCall = RunningCall & {
  /** It has ended, and this is what everyone who joined it is told too. Answers the same result. */
  end(result: CallResult): CallResult;
};

/** Either the call is ours to make, or it is another request's, which is the same purchase. */
export type SharedCall =
  | { kind: 'mine'; own: OwnCall }
  /** Settles when that call has ended, or with CANCELLED as soon as this buyer leaves and others stay. */
  | { kind: 'joined'; result: Promise<CallResult> };

export type RunningCalls = {
  /**
   * `onLeft` hears how a call of our own ends for its buyer when that one leaves and the call goes on without it.
   * Throws UNAVAILABLE while the gateway shuts down, and IDEMPOTENCY_CONFLICT for one key and two purchases.
   */
  share(call: Call, onLeft: (result: CallResult) => void): SharedCall;
  count(): number;
  /** Waits until every call has ended; after `graceMs` aborts what is left and waits for it to be refunded. */
  drain(graceMs: number): Promise<void>;
};

type Buyer = Pick<Call['request'], 'signal' | 'onChunk'>;

type Entry = {
  own: OwnCall;
  /** The arguments its idempotency key stands for, where it has one. */
  keyedHash: string | undefined;
  ended: Promise<CallResult>;
  join(buyer: Buyer, onLeft: (result: CallResult) => void): void;
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

  function start(call: Call, onLeft: (result: CallResult) => void): Entry {
    const abort = new AbortController();
    const buyers = new Set<Buyer>();
    const keyName = keyNameOf(call);
    const hashName = hashNameOf(call);
    const { promise: ended, resolve } = Promise.withResolvers<CallResult>();
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

    const entry: Entry = {
      own: {
        callId: call.callId,
        signal: abort.signal,
        hasBuyer: () => buyers.size > 0,
        runOn: (listener) => {
          onAlone = listener;
        },
        emit: (...chunk) => {
          let isHeard = false;
          for (const { onChunk } of buyers) {
            if (!onChunk) continue;
            isHeard = true;
            onChunk(...chunk);
          }
          return isHeard;
        },
        end: (result) => {
          forget();
          resolve(result);
          return result;
        },
      },
      keyedHash: call.keyedHash,
      ended,
      abort: () => abort.abort(),
      join: (buyer, onLeft) => {
        buyers.add(buyer);
        const onGone = (): void => {
          leave(buyer);
          // A call that is given up ends at once, and then says what it cost.
          if (!abort.signal.aborted) onLeft(left(call.callId));
        };
        if (buyer.signal.aborted) {
          onGone();
          return;
        }
        buyer.signal.addEventListener('abort', onGone, { once: true });
        void ended.then(() => buyer.signal.removeEventListener('abort', onGone));
      },
    };
    const leaveCrowd = entries.add(entry);
    if (keyName !== undefined) byKey.set(keyName, { entry });
    entry.join(call.request, onLeft);
    return entry;
  }

  /** One that was given up by its last buyer is nobody's to join: who comes now is too late for it. */
  function findSame(call: Call): Entry | undefined {
    const keyName = keyNameOf(call);
    const keyed = keyName === undefined ? undefined : byKey.get(keyName)?.entry;
    if (keyed && !keyed.own.signal.aborted) return keyed;
    const hashName = hashNameOf(call);
    const alone = hashName === undefined ? undefined : aloneByHash.get(hashName)?.entry;
    return alone && !alone.own.signal.aborted ? alone : undefined;
  }

  return {
    share: (call, onLeft) => {
      if (isDraining)
        throw new Problem('UNAVAILABLE', 'The gateway is shutting down. Try again shortly.', {
          retry_after_seconds: 5,
        });
      const known = findSame(call);
      if (!known) return { kind: 'mine', own: start(call, onLeft).own };
      if (isConflict(known, call)) throw idempotencyConflict();
      return {
        kind: 'joined',
        result: new Promise((resolve) => {
          known.join(call.request, resolve);
          void known.ended.then(resolve);
        }),
      };
    },
    count: () => entries.size(),
    drain: async (graceMs) => {
      isDraining = true;
      const giveUp = setTimeout(() => {
        for (const entry of entries.members()) entry.abort();
      }, graceMs);
      while (entries.size() > 0) await Promise.allSettled(entries.members().map((entry) => entry.ended));
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

/** One key, and not one purchase. A call that is joined for its arguments alone has another key, or none. */
function isConflict(known: Entry, wanted: Call): boolean {
  return (
    wanted.keyedHash !== undefined && known.keyedHash !== undefined && known.keyedHash !== wanted.keyedHash
  );
}

function keyNameOf({ caller, request }: Call): string | undefined {
  return request.idempotencyKey === undefined ? undefined : `${caller.keyId} ${request.idempotencyKey}`;
}

function hashNameOf({ caller, requestHash }: Call): string | undefined {
  return requestHash === undefined ? undefined : `${caller.keyId} ${requestHash}`;
}

function left(callId: string): CallResult {
  return {
    kind: 'problem',
    problem: new Problem(
      'CANCELLED',
      `The request was cancelled before the answer of ${callId} was ready. The call runs on; sentinel_get_call and GET /v1/calls/${callId} have its answer when it has ended.`,
      { call_id: callId },
    ),
  };
}
