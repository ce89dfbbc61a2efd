import type { Catalog } from '../catalog/catalog.ts';
import { keepAwake } from './answer-as-it-comes.ts';
import { openEventStream, type EventStream } from '../base/event-stream.ts';
import type { Pulse } from './pulse.ts';
import { TOOLS_CHANGED } from './rpc-text.ts';

/** Tells those who listen that their list of tools may have changed. */
export type ListChanges = {
  /** Counts one more stream of this key, or undefined when it has too many open. The answer takes it back. */
  admit(keyId: string): (() => void) | undefined;
  /** A stream of changes for a legacy client, or undefined when this key has too many open. */
  open(keyId: string): EventStream | undefined;
  /** Hears of changes, many of them at once as one; the answer stops it. */
  onChange(listener: () => void): () => void;
};

// A publisher's script changes dozens of agents within a second: each host would list the tools as often.
const DEBOUNCE_MS = 200;
const MAX_STREAMS_PER_KEY = 100;
export const MAX_STREAMS = 5_000;

export function createListChanges(catalog: Catalog, pulse: Pulse): ListChanges {
  const listeners = new Set<() => void>();
  const streams = new Map<string, number>();
  let total = 0;
  let pending: NodeJS.Timeout | undefined;

  catalog.onChange(() => {
    if (pending !== undefined) return;
    pending = setTimeout(() => {
      pending = undefined;
      for (const listener of listeners) listener();
    }, DEBOUNCE_MS);
    pending.unref();
  });

  function onChange(listener: () => void): () => void {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  function admit(keyId: string): (() => void) | undefined {
    const count = streams.get(keyId) ?? 0;
    if (count >= MAX_STREAMS_PER_KEY || total >= MAX_STREAMS) return undefined;
    streams.set(keyId, count + 1);
    total += 1;
    let isOpen = true;
    return () => {
      if (!isOpen) return;
      isOpen = false;
      total -= 1;
      const left = (streams.get(keyId) ?? 1) - 1;
      if (left === 0) streams.delete(keyId);
      else streams.set(keyId, left);
    };
  }

  return {
    onChange,
    admit,
    open(keyId) {
      const release = admit(keyId);
      if (release === undefined) return undefined;
      const stream = openEventStream(() => {
        release();
        stopListening();
        stopTicking();
      });
      const stopListening = onChange(() => stream.send('message', TOOLS_CHANGED));
      const stopTicking = keepAwake(pulse, stream.comment);
      // The first byte tells proxies, and the client, that the stream is open.
      stream.comment();
      return stream;
    },
  };
}
