import assert from 'node:assert/strict';
import fc from 'fast-check';
import { nextId, type Batch, type Books, type Caps, type HoldOp, type State, type World } from './books.ts';

/*
 * The ledger, done one at a time and in memory. What the SQL function decides for a whole batch, with its fast
 * paths and set operations, must be what this says for each order in turn.
 */

type Hold = {
  buyer: number;
  amount: bigint;
  /** The meters it is counted on, and the day each counted it under. */
  counted: { index: number; day: number }[];
  lapsed: boolean;
  key?: string;
};
type Ended = { kind: string; charge: bigint; buyer: number; held: bigint };
type Account = { posted: bigint; held: bigint };
type Meter = Caps & { at: number; usedDay: bigint; usedMonth: bigint; usedTotal: bigint };

/** What a command asks for. Amounts are relative to what the model has at that moment, ids to what was used. */
export type Command =
  | { kind: 'batch'; isRetry: boolean; resolve: WantedResolve[]; hold: WantedHold[] }
  | { kind: 'again' }
  | { kind: 'grant'; buyer: number; amount: number }
  | { kind: 'lapse'; pick: number }
  | { kind: 'age'; meter: number; days: number };

type WantedResolve = { pick: number; kind: 'settle' | 'refund' | 'expire'; charge: Near; fee: number };
type WantedHold = {
  buyer: number;
  near: 'balance' | 'day' | 'month' | 'total' | 'small' | 'budget day' | 'budget month' | 'budget total';
  part: Near;
  isMetered: boolean;
  key: number | undefined;
  reuse: number | undefined;
};
/** A share of the limit (in eighths) and a step beside it: -1, 0 and 1 are where mistakes are. */
type Near = { eighths: number; step: number };

const BUYERS = 3;
const KEYS = 4;
const GRANTS = [1_000n, 90n, 0n];
const METERS: Caps[] = [
  { day: 200n, month: 350n, total: 700n },
  { day: 60n, month: null, total: 80n },
];
/** Of whole balances, by buyer: one beside the caps of its key, one by itself. */
const BUDGETS: (Caps | undefined)[] = [
  { day: 190n, month: 340n, total: 800n },
  undefined,
  { day: 50n, month: 70n, total: null },
];
const ALL_METERS: Caps[] = [...METERS, ...BUDGETS.filter((caps) => caps !== undefined)];

const near: fc.Arbitrary<Near> = fc.record({
  eighths: fc.oneof({ weight: 3, arbitrary: fc.constant(8) }, fc.integer({ min: 0, max: 8 })),
  step: fc.oneof({ weight: 3, arbitrary: fc.integer({ min: -1, max: 1 }) }, fc.constant(0)),
});

const wantedHold: fc.Arbitrary<WantedHold> = fc.record({
  buyer: fc.nat(BUYERS - 1),
  near: fc.constantFrom(
    ...(['balance', 'balance', 'day', 'month', 'total', 'small', 'small'] as const),
    ...(['budget day', 'budget month', 'budget total'] as const),
  ),
  part: near,
  isMetered: fc.boolean(),
  key: fc.option(fc.nat(KEYS - 1), { nil: undefined, freq: 3 }),
  reuse: fc.option(fc.nat(30), { nil: undefined, freq: 8 }),
});

const wantedResolve: fc.Arbitrary<WantedResolve> = fc.record({
  pick: fc.nat(30),
  kind: fc.constantFrom('settle', 'settle', 'refund', 'expire'),
  charge: near,
  fee: fc.integer({ min: 0, max: 8 }),
});

export const commands: fc.Arbitrary<Command[]> = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('batch' as const),
        isRetry: fc.boolean(),
        resolve: fc.array(wantedResolve, { maxLength: 4 }),
        hold: fc.array(wantedHold, { maxLength: 6 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('again' as const) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('grant' as const),
        buyer: fc.nat(BUYERS - 1),
        amount: fc.integer({ min: 1, max: 300 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('lapse' as const), pick: fc.nat(30) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('age' as const),
        meter: fc.nat(ALL_METERS.length - 1),
        days: fc.constantFrom(1, 2, 40),
      }),
    },
  ),
  { minLength: 2, maxLength: 7 },
);

/** Plays the commands on a world of their own, and holds every code and every balance against the model. */
export async function playCommands(books: Books, wanted: Command[]): Promise<void> {
  const world = await books.openWorld(GRANTS, METERS, BUDGETS);
  const { rows } = await books.client.query<{ today: string }>(
    `SELECT (clock_timestamp() AT TIME ZONE 'utc')::date::text AS today`,
  );
  const model = createModel(world, dayNumber(rows[0]?.today ?? ''));
  let last: Batch | undefined;
  for (const command of wanted) {
    switch (command.kind) {
      case 'batch': {
        const { batch, codes } = model.batch(command);
        assert.deepEqual(await books.apply(world, batch), codes, describe(batch));
        last = batch;
        break;
      }
      case 'again':
        if (!last) continue;
        assert.deepEqual(
          await books.apply(world, { ...last, isRetry: true }),
          model.again({ ...last, isRetry: true }),
          `again ${describe(last)}`,
        );
        break;
      case 'grant':
        await books.grant(world, world.buyers[command.buyer] ?? 0n, BigInt(command.amount));
        model.grant(command.buyer, BigInt(command.amount));
        break;
      case 'lapse': {
        const id = model.lapse(command.pick);
        if (id === undefined) continue;
        await books.lapse(id);
        break;
      }
      case 'age':
        await books.age(metersOf(world)[command.meter] ?? 0n, command.days);
        model.age(command.meter, command.days);
        break;
    }
    const now = await books.read(world);
    assert.deepEqual(now.faults, []);
    assert.deepEqual(now, model.state(), `after ${command.kind}`);
  }
}

function createModel(world: World, today: number) {
  const accounts: Account[] = GRANTS.map((posted) => ({ posted, held: 0n }));
  const meters: Meter[] = ALL_METERS.map((caps) => ({
    ...caps,
    at: today,
    usedDay: 0n,
    usedMonth: 0n,
    usedTotal: 0n,
  }));
  const holds = new Map<string, Hold>();
  const ended = new Map<string, Ended>();
  const claims = new Map<string, string>();
  const usedIds: string[] = [];
  let seller = 0n;
  let fees = 0n;
  let granted = GRANTS.reduce((sum, grant) => sum + grant, 0n);

  const buyerAt = (index: number): Account => accounts[index] as Account;
  const available = (buyer: number): bigint => buyerAt(buyer).posted - buyerAt(buyer).held;
  const meterOf = (buyer: number): number | undefined => (buyer < METERS.length ? buyer : undefined);
  const budgetOf = (buyer: number): number | undefined => {
    const id = world.budgets[buyer];
    return id === undefined ? undefined : metersOf(world).indexOf(id);
  };

  /** A later day begins with nothing used in it. */
  function roll(index: number): Meter {
    const meter = meters[index] as Meter;
    if (meter.at < today) {
      meter.usedDay = 0n;
      if (monthOf(meter.at) < monthOf(today)) meter.usedMonth = 0n;
      meter.at = today;
    }
    return meter;
  }

  function giveBack(hold: Hold, amount: bigint): void {
    for (const { index, day } of hold.counted) {
      const meter = roll(index);
      meter.usedTotal -= amount;
      if (monthOf(day) === monthOf(meter.at)) meter.usedMonth -= amount;
      if (day === meter.at) meter.usedDay -= amount;
    }
  }

  function resolve({ id, kind, charge, fee }: Batch['resolve'][number]): string {
    const hold = holds.get(id);
    if (!hold) {
      const earlier = ended.get(id);
      if (!earlier) return '0';
      return earlier.kind === kind && earlier.charge === charge ? '2' : '3';
    }
    if (charge > hold.amount) return '4';
    if (kind === 'settle' && hold.lapsed) return '5';
    holds.delete(id);
    ended.set(id, { kind, charge, buyer: hold.buyer, held: hold.amount });
    buyerAt(hold.buyer).held -= hold.amount;
    buyerAt(hold.buyer).posted -= charge;
    seller += charge - fee;
    fees += fee;
    giveBack(hold, hold.amount - charge);
    if (kind !== 'settle' && hold.key !== undefined && claims.get(hold.key) === id) claims.delete(hold.key);
    return '1';
  }

  /** The widest cap of the meter that this much more would pass. */
  function capPassed(index: number | undefined, amount: bigint): string | undefined {
    if (index === undefined) return undefined;
    const meter = roll(index);
    if (passes(meter.usedTotal + amount, meter.total)) return 't';
    if (passes(meter.usedMonth + amount, meter.month)) return 'm';
    return passes(meter.usedDay + amount, meter.day) ? 'd' : undefined;
  }

  /** Every meter a batch names is brought to today, whether its holds are placed or not. */
  function rollNamed(meter: number | undefined, buyer: number): void {
    for (const index of [meter, budgetOf(buyer)]) if (index !== undefined) roll(index);
  }

  function place(op: HoldOp, buyer: number, isRetry: boolean): string {
    const open = holds.get(op.id);
    const done = ended.get(op.id);
    if (isRetry && (open || done)) {
      const same = (open?.buyer ?? done?.buyer) === buyer && (open?.amount ?? done?.held) === op.amount;
      // Told before the key is asked for; the key it had, it keeps.
      return same ? '2' : '3';
    }
    const key = op.claim?.key;
    if (key !== undefined && claims.has(key)) return 'k';
    if (op.amount > available(buyer)) return '0';
    const index = op.meter === undefined ? undefined : meterOf(buyer);
    // The caps of the key come first, and nothing is counted on them when the budget refuses.
    const refused = capPassed(index, op.amount) ?? capPassed(budgetOf(buyer), op.amount)?.toUpperCase();
    if (refused !== undefined) return refused;
    const counted = [index, budgetOf(buyer)].filter((each) => each !== undefined);
    for (const each of counted) {
      const meter = roll(each);
      meter.usedDay += op.amount;
      meter.usedMonth += op.amount;
      meter.usedTotal += op.amount;
    }
    buyerAt(buyer).held += op.amount;
    if (key !== undefined) claims.set(key, op.id);
    holds.set(op.id, {
      buyer,
      amount: op.amount,
      counted: counted.map((each) => ({ index: each, day: today })),
      lapsed: false,
      ...(key === undefined ? {} : { key }),
    });
    usedIds.push(op.id);
    return '1';
  }

  /** Turns wishes into orders, deciding each as it is made: the next one's amount depends on it. */
  function batch({
    isRetry,
    resolve: wantedResolves,
    hold: wantedHolds,
  }: Extract<Command, { kind: 'batch' }>) {
    const made: Batch = { isRetry, resolve: [], hold: [] };
    let resolveCodes = '';
    let holdCodes = '';
    for (const wanted of wantedResolves) {
      const id = usedIds.length === 0 ? nextId() : (usedIds[wanted.pick % usedIds.length] as string);
      if (made.resolve.some((other) => other.id === id)) continue;
      const held = holds.get(id)?.amount ?? ended.get(id)?.charge ?? 1n;
      const charge = wanted.kind === 'settle' ? beside(held, wanted.charge) : 0n;
      const order = { id, kind: wanted.kind, charge, fee: (charge * BigInt(wanted.fee)) / 8n };
      made.resolve.push(order);
      resolveCodes += resolve(order);
    }
    for (const wanted of wantedHolds) {
      const index = wanted.isMetered ? meterOf(wanted.buyer) : undefined;
      const old = isRetry && wanted.reuse !== undefined ? usedIds[wanted.reuse % usedIds.length] : undefined;
      const id = old ?? nextId();
      const key = wanted.key === undefined ? undefined : `k${wanted.key}`;
      // One key is claimed once in a batch: one process joins the second call to the first before it asks.
      if (made.hold.some((other) => other.id === id || (key !== undefined && other.claim?.key === key)))
        continue;
      // A call that is sent again is sent with what it had.
      if (old !== undefined && key !== undefined) continue;
      const order: HoldOp = {
        id,
        buyer: world.buyers[wanted.buyer] ?? 0n,
        amount: beside(limitOf(wanted, index), wanted.part),
        meter: index === undefined ? undefined : (world.meters[index] ?? 0n),
        claim: key === undefined ? undefined : { key, hash: 'h' },
      };
      made.hold.push(order);
      rollNamed(index, wanted.buyer);
      holdCodes += place(order, wanted.buyer, isRetry);
    }
    return { batch: made, codes: { resolve: resolveCodes, hold: holdCodes } };
  }

  function limitOf(wanted: WantedHold, index: number | undefined): bigint {
    const free = available(wanted.buyer);
    const [first = '', second] = wanted.near.split(' ');
    const capped = second === undefined ? index : budgetOf(wanted.buyer);
    const meter = capped === undefined ? undefined : meters[capped];
    if (wanted.near === 'small') return free < 8n ? free : free / 8n;
    if (wanted.near === 'balance' || !meter) return free;
    const [cap, used] =
      (second ?? first) === 'day'
        ? [meter.day, meter.usedDay]
        : (second ?? first) === 'month'
          ? [meter.month, meter.usedMonth]
          : [meter.total, meter.usedTotal];
    return cap === null ? free : cap - used;
  }

  return {
    batch,
    again: (sent: Batch) => {
      const resolveCodes = sent.resolve.map(resolve).join('');
      for (const { meter, buyer } of sent.hold) {
        rollNamed(meter === undefined ? undefined : world.meters.indexOf(meter), world.buyers.indexOf(buyer));
      }
      const hold = sent.hold.map((op) => place(op, world.buyers.indexOf(op.buyer), true)).join('');
      return { resolve: resolveCodes, hold };
    },
    grant: (buyer: number, amount: bigint) => {
      buyerAt(buyer).posted += amount;
      granted += amount;
    },
    lapse: (pick: number): string | undefined => {
      const open = [...holds.keys()];
      const id = open[pick % Math.max(open.length, 1)];
      const hold = id === undefined ? undefined : holds.get(id);
      if (hold) hold.lapsed = true;
      return id;
    },
    age: (index: number, days: number) => {
      (meters[index] as Meter).at -= days;
      for (const { counted } of holds.values()) {
        for (const each of counted) if (each.index === index) each.day -= days;
      }
    },
    state: (): State => ({
      accounts: Object.fromEntries([
        [String(world.funding), { posted: -granted, held: 0n }],
        [String(world.seller), { posted: seller, held: 0n }],
        [String(world.fees), { posted: fees, held: 0n }],
        ...world.buyers.map((id, index): [string, Account] => [String(id), { ...buyerAt(index) }]),
      ]),
      meters: Object.fromEntries(
        metersOf(world).map((id, index) => {
          const { usedDay, usedMonth, usedTotal } = meters[index] as Meter;
          return [String(id), { day: usedDay, month: usedMonth, total: usedTotal }];
        }),
      ),
      claims: [...claims.keys()].sort(),
      faults: [],
    }),
  };
}

/** The meters of keys, then those of balances. */
function metersOf(world: World): bigint[] {
  return [...world.meters, ...world.budgets.filter((id) => id !== undefined)];
}

function passes(used: bigint, cap: bigint | null): boolean {
  return cap !== null && used > cap;
}

function beside(limit: bigint, { eighths, step }: Near): bigint {
  const amount = (limit * BigInt(eighths)) / 8n + BigInt(step);
  return amount < 0n ? 0n : amount;
}

/** Days since 1970, and the month they lie in, as PostgreSQL's `date_trunc` sees them. */
function dayNumber(date: string): number {
  return Math.floor(Date.parse(`${date}T00:00:00Z`) / 86_400_000);
}

function monthOf(day: number): number {
  const date = new Date(day * 86_400_000);
  return date.getUTCFullYear() * 12 + date.getUTCMonth();
}

function describe(batch: Batch): string {
  return JSON.stringify(batch, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}
