import type { ChunkListener, ToolProgress } from '../upstream/upstream.ts';
import type { RequestId } from './parse-request.ts';
import type { Pulse } from './pulse.ts';
import { formatProgress } from './rpc-text.ts';

/** Tells a client that gave a progress token what happens, and in long silences that something still does. */
export type Progress = {
  tell: ChunkListener;
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
  let last = 0;
  let count = 0;

  function tell(chunk: string, progress?: ToolProgress): void {
    if (progress === undefined) return say(Math.floor(last) + 1, { message: chunk });
    const { total, hasMessage } = progress;
    const isNext = count === 0 || progress.progress > last;
    say(isNext ? progress.progress : aLittleAfter(last), { total, message: hasMessage ? chunk : undefined });
  }

  /** The revisions ask for a number that rises with every notification. */
  function say(progress: number, told: { message?: string | undefined; total?: number | undefined }): void {
    count += 1;
    lastAt = pulse.now();
    last = progress;
    send(formatProgress(token, progress, told));
  }

  const stop = pulse.add((now) => {
    if (now - lastAt < pulse.timing.heartbeatMs) return;
    say(aLittleAfter(last), { message: `still working, ${Math.round((now - startedAt) / 1_000)} s` });
  });
  return { tell, hasTold: () => count > 0, stop };
}

/** Rises, and leaves room for what the tool says next, however small its steps are. */
function aLittleAfter(progress: number): number {
  return progress + Math.max(Math.abs(progress), 1) * 2 ** -30;
}
