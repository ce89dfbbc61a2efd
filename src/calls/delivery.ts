import { createHash, type Hash } from 'node:crypto';
import { mayRunOn } from '../catalog/agent.ts';
import type { ChunkListener, Usage } from '../upstream/upstream.ts';
import type { PricedCall } from './call.ts';
import type { RunningCall } from './running-calls.ts';

/** What was delivered of a stream and is to be paid although its buyer left before the end. */
export type Owed = {
  usage: Usage;
  /** SHA-256 of the canonical JSON of the array of the chunks that were delivered, in their order; hex. */
  outputHash: string;
};

/** The chunks of one call on their way to its buyers. */
export type Delivery = {
  chunk: ChunkListener;
  /** What the agent says it has used for all chunks up to here. */
  usage(usage: Usage): void;
  owed(): Owed | undefined;
};

/**
 * Passes chunks on. Of a metered agent it remembers what was reported for chunks a buyer received, for otherwise
 * its work could be read for nothing by hanging up before the end. An agent with a fixed price sells the whole
 * answer or nothing; of a call that runs on nothing is lost; a chunk that no buyer listened for was not delivered.
 */
export function trackDelivery(call: PricedCall, running: RunningCall): Delivery {
  const { price } = call;
  if (price.kind !== 'per_unit' || call.isFree || mayRunOn(call.agent)) {
    return { chunk: (...chunk) => void running.emit(...chunk), usage: () => {}, owed: () => undefined };
  }
  let hash: Hash | undefined;
  let reported: { usage: Usage; upTo: Hash } | undefined;
  return {
    chunk: (text, progress) => {
      if (!running.emit(text, progress)) return;
      const separator = hash ? ',' : '[';
      hash ??= createHash('sha256');
      // A text of its own has no half characters left; JSON writes it as RFC 8785 does.
      hash.update(separator + JSON.stringify(text.toWellFormed()));
    },
    usage: (usage) => {
      const isOurUnit = usage.unit === undefined || usage.unit === price.unit;
      if (hash && running.hasBuyer() && isOurUnit && usage.quantity !== '0')
        reported = { usage, upTo: hash.copy() };
    },
    owed: () =>
      reported && { usage: reported.usage, outputHash: reported.upTo.copy().update(']').digest('hex') },
  };
}
