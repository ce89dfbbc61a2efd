import { Problem } from '../base/problem.ts';

/** Lets so many in at once; others wait in the order they came, and too many waiting are refused. */
export type Turns = {
  /** Answers what gives the place back; calling that twice does nothing more. */
  enter(signal: AbortSignal): Promise<() => void>;
  isIdle(): boolean;
};

export function createTurns(options: {
  most: number;
  mostWaiting: number;
  refuse(this: void): Problem;
}): Turns {
  const waiting: (() => void)[] = [];
  let inside = 0;

  function leaveOnce(): () => void {
    let hasLeft = false;
    return () => {
      if (hasLeft) return;
      hasLeft = true;
      inside -= 1;
      waiting.shift()?.();
    };
  }

  return {
    enter: async (signal) => {
      if (signal.aborted) throw gone();
      if (inside >= options.most) {
        if (waiting.length >= options.mostWaiting) throw options.refuse();
        await new Promise<void>((resolve, reject) => {
          const giveUp = (): void => {
            waiting.splice(waiting.indexOf(letIn), 1);
            reject(gone());
          };
          // The place is taken here and not after the wait, or whoever comes in between would take it too.
          const letIn = (): void => {
            signal.removeEventListener('abort', giveUp);
            inside += 1;
            resolve();
          };
          waiting.push(letIn);
          signal.addEventListener('abort', giveUp, { once: true });
        });
      } else inside += 1;
      return leaveOnce();
    },
    isIdle: () => inside === 0 && waiting.length === 0,
  };
}

/** Said to nobody: the client is no longer there. */
function gone(): Problem {
  return new Problem('RATE_LIMITED', 'The client hung up while it waited for its turn.');
}
