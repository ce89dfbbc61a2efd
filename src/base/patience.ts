import { createCrowd } from './crowd.ts';

const LOOKS = 16;

/**
 * Waits for answers, each for about `ms` milliseconds (a sixteenth more at most), and answers undefined for one that
 * is late. One timer looks after them all: a timer each, set and cleared thousands of times a second, costs more.
 */
export function createPatience(ms: number): <Answer>(answer: Promise<Answer>) => Promise<Answer | undefined> {
  const waiting = createCrowd<{ until: number; giveUp(): void }>();
  let timer: NodeJS.Timeout | undefined;

  function look(): void {
    const now = performance.now();
    for (const { until, giveUp } of waiting.members()) if (until <= now) giveUp();
    if (waiting.size() > 0) return;
    clearInterval(timer);
    timer = undefined;
  }

  return (answer) =>
    new Promise((resolve, reject) => {
      const leave = waiting.add({
        until: performance.now() + ms,
        giveUp: () => {
          leave();
          resolve(undefined);
        },
      });
      timer ??= setInterval(look, ms / LOOKS);
      answer.then(
        (value) => {
          leave();
          resolve(value);
        },
        (error: unknown) => {
          leave();
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
    });
}
