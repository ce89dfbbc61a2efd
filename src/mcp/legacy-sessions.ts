import { newSecret } from '../base/ids.ts';
import type { Caller } from '../identity/caller.ts';
import type { View } from './connection.ts';
import { keepAwake } from './answer-as-it-comes.ts';
import { openEventStream, type EventStream } from '../base/event-stream.ts';
import type { ListChanges } from './list-changes.ts';
import type { Pulse } from './pulse.ts';
import { TOOLS_CHANGED } from './rpc-text.ts';

/** One open stream of the HTTP+SSE transport of revision 2024-11-05. Its answers travel on the stream. */
export type LegacySession = {
  readonly id: string;
  readonly keyId: string;
  /** The filters of the URL the stream was opened with bind every call on it. */
  readonly view: View;
  readonly stream: EventStream;
  /** Aborted when the stream closes. */
  readonly signal: AbortSignal;
  /** Requests under way: their number bounds what one session may ask for. */
  running: number;
  touch(): void;
};

export type LegacySessions = {
  /** Opens a stream whose first event says where to post, or undefined when there are too many. */
  open(caller: Caller, view: View): LegacySession | undefined;
  /** The session, if it is this key's: another's is as unknown as none. */
  find(id: string, caller: Caller): LegacySession | undefined;
};

const MAX_PER_KEY = 20;
const MAX_SESSIONS = 1_000;
const SESSION_ID_BYTES = 24;

export function createLegacySessions(endpoint: string, changes: ListChanges, pulse: Pulse): LegacySessions {
  const sessions = new Map<string, LegacySession>();

  return {
    open(caller, view) {
      const ofKey = [...sessions.values()].filter(({ keyId }) => keyId === caller.keyId).length;
      if (ofKey >= MAX_PER_KEY || sessions.size >= MAX_SESSIONS) return undefined;
      const id = newSecret(SESSION_ID_BYTES);
      const abort = new AbortController();
      const close = (): void => {
        sessions.delete(id);
        stopListening();
        stopTicking();
        stopComments();
        abort.abort();
      };
      const stream = openEventStream(close);
      let usedAt = pulse.now();
      const stopListening = changes.onChange(() => stream.send('message', TOOLS_CHANGED));
      const stopTicking = pulse.add((now) => {
        if (now - usedAt < pulse.timing.sessionIdleMs || session.running > 0) return;
        stream.end();
        close();
      });
      const stopComments = keepAwake(pulse, stream.comment);
      const session: LegacySession = {
        id,
        keyId: caller.keyId,
        view,
        stream,
        signal: abort.signal,
        running: 0,
        touch: () => {
          usedAt = pulse.now();
        },
      };
      sessions.set(id, session);
      stream.send('endpoint', `${endpoint}?sessionId=${id}`);
      return session;
    },
    find(id, caller) {
      const session = sessions.get(id);
      return session?.keyId === caller.keyId ? session : undefined;
    },
  };
}
