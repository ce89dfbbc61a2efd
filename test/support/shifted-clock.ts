/*
 * Preloaded into a process whose clock is to be wrong: `node --import`. What time it is, all of its code gets from
 * here; how time passes stays as it is, as on a machine whose clock was set.
 */
const aheadMs = Number(process.env['TEST_CLOCK_AHEAD_MS']);
const RightDate = Date;
const now = (): number => RightDate.now() + aheadMs;

globalThis.Date = new Proxy(RightDate, {
  construct: (target, values: unknown[], newTarget) =>
    Reflect.construct(target, values.length === 0 ? [now()] : values, newTarget) as object,
  apply: () => new RightDate(now()).toString(),
  get: (target, key) => (key === 'now' ? now : Reflect.get(target, key)),
});
