/** Where a module reads the time. Passed in, so that a test decides what time it is. */
export type Clock = {
  /** Wall clock, milliseconds since 1970-01-01 UTC. For what people and other systems read. */
  now(): number;
  /** Monotonic milliseconds from an arbitrary start. For durations: a clock jump never changes them. */
  elapsed(): number;
};

export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
};
