import type { RequestId } from './parse-request.ts';
import type { Pulse } from './pulse.ts';
import { formatProgress } from './rpc-text.ts';

/** Tells a client that gave a progress token what happens, and in long silences that something still does. */
export type Progress = {
  tell: (message: string) => void;
  hasTold: () => boolean;
  stop: () => void;
};

export function createProgress(
  token: RequestId,
  pulse: Pulse,
  send: (notification: string) => void,
): Progress {
  const startedAt = pulse.now();
  let lastAt = startedAt;
  let count = 0;

  function tell(message: string): void {
    // The revisions ask for a number that rises with every notification.
    count += 1;
    lastAt = pulse.now();
    send(formatProgress(token, count, message));
  }

  const stop = pulse.add((now) => {
    if (now - lastAt < pulse.timing.heartbeatMs) return;
    tell(`still working, ${Math.round((now - startedAt) / 1_000)} s`);
  });
  return { tell, hasTold: () => count > 0, stop };
}
