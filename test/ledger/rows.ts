import assert from 'node:assert/strict';
import { invariant } from '../../src/base/invariant.ts';
import { nextId, type Batch, type Books, type Caps, type World } from './books.ts';

/**
 * One promise of the ledger as rows: what is asked in one batch, the code of each answer (resolutions first),
 * and the books afterwards. Amounts are micro-credits.
 *
 *   hold ID AMOUNT [by other] [metered] [thrice] [key K] [lasts MS] · settle ID CHARGE FEE · refund ID · expire ID
 *   again …          the batch is an earlier one sent again
 *   lapse ID         the hold's expiry passes
 *   sweep N          up to N holds past their expiry are refunded; the code is how many of this row's were
 *   days N           so many days pass for the key's meter
 *   budget-days N    the same for the buyer's budget
 *   free-in-time K   the idempotency key's 24 hours pass
 *   grant AMOUNT     to the buyer
 *
 * State: `buyer POSTED/HELD`, `other POSTED/HELD`, `seller N`, `fees N`, `meter DAY/MONTH/TOTAL`,
 * `budget DAY/MONTH/TOTAL`, `keys K,K`.
 */
export type Row = {
  title: string;
  buyer: bigint;
  other?: bigint;
  caps?: Partial<Caps>;
  /** Of a second and a third meter, for holds that are counted `thrice`. */
  further?: Partial<Caps>[];
  /** Of the buyer's whole balance. */
  budget?: Partial<Caps>;
  steps: [asked: string, codes: string, state?: string][];
};

/** Plays a row; throws at the first step that ends otherwise. The books must be right after each. */
export async function playRow(books: Books, row: Row): Promise<void> {
  const caps = [...(row.caps ? [row.caps] : []), ...(row.further ?? [])].map((each) => ({
    day: null,
    month: null,
    total: null,
    ...each,
  }));
  const budget = row.budget && { day: null, month: null, total: null, ...row.budget };
  const world = await books.openWorld([row.buyer, row.other ?? 0n], caps, budget ? [budget] : []);
  const ids = new Map<string, string>();
  const idOf = (name: string): string => {
    const id = ids.get(name) ?? nextId();
    ids.set(name, id);
    return id;
  };
  for (const [asked, codes, state] of row.steps) {
    const got = await step(books, world, asked, idOf);
    assert.equal(got, codes, `${row.title}: ${asked}`);
    const now = await books.read(world);
    assert.deepEqual(now.faults, [], `${row.title}: after ${asked}`);
    if (state !== undefined) {
      assert.equal(render(now, world, state), state, `${row.title}: after ${asked}`);
    }
  }
}

async function step(
  books: Books,
  world: World,
  asked: string,
  idOf: (name: string) => string,
): Promise<string> {
  const words = asked.split(' ');
  const [verb = '', name = ''] = words;
  switch (verb) {
    case 'lapse':
      await books.lapse(idOf(name));
      return '';
    case 'days':
      await books.age(meterOf(world), Number(name));
      return '';
    case 'budget-days':
      await books.age(budgetOf(world), Number(name));
      return '';
    case 'grant':
      await books.grant(world, buyerOf(world, 0), BigInt(name));
      return '';
    case 'free-in-time':
      await books.client.query(
        'UPDATE idempotency_keys SET expires_at = now() WHERE key_id = $1 AND idempotency_key = $2',
        [`key_${world.organization}`, name],
      );
      return '';
    case 'sweep': {
      const { rows } = await books.client.query<{ buyer: string }>(
        `SELECT buyer FROM ledger_expire($1, '', '')`,
        [Number(name)],
      );
      return String(rows.filter(({ buyer }) => world.buyers.includes(BigInt(buyer))).length);
    }
    default: {
      const batch = parseBatch(asked, world, idOf);
      const codes = await books.apply(world, batch);
      return codes.resolve + codes.hold;
    }
  }
}

function parseBatch(asked: string, world: World, idOf: (name: string) => string): Batch {
  const isRetry = asked.startsWith('again ');
  const batch: Batch = { isRetry, resolve: [], hold: [] };
  for (const part of asked.replace(/^again /, '').split(', ')) {
    const words = part.split(' ');
    const [verb, name = '', amount = '0', fee = '0'] = words;
    const after = (word: string): string | undefined =>
      words.includes(word) ? words[words.indexOf(word) + 1] : undefined;
    if (verb === 'hold') {
      const key = after('key');
      batch.hold.push({
        id: idOf(name),
        buyer: buyerOf(world, after('by') === 'other' ? 1 : 0),
        amount: BigInt(amount),
        ttlMs: Number(after('lasts') ?? 3_600_000),
        meter: words.includes('metered') ? meterOf(world) : undefined,
        meters: words.includes('thrice') ? world.meters.slice(1, 3) : [],
        claim: key === undefined ? undefined : { key, hash: 'h' },
      });
    } else {
      invariant(verb === 'settle' || verb === 'refund' || verb === 'expire', `${part} is a resolution`);
      batch.resolve.push({ id: idOf(name), kind: verb, charge: BigInt(amount), fee: BigInt(fee) });
    }
  }
  return batch;
}

function render(now: Awaited<ReturnType<Books['read']>>, world: World, like: string): string {
  const account = (id: bigint) => now.accounts[String(id)] ?? { posted: -1n, held: -1n };
  const balance = (id: bigint): string => `${account(id).posted}/${account(id).held}`;
  return [...like.matchAll(/(buyer|other|seller|fees|meter|budget|keys) \S+/g)]
    .map(([, name = '']) => {
      switch (name) {
        case 'buyer':
          return `buyer ${balance(buyerOf(world, 0))}`;
        case 'other':
          return `other ${balance(buyerOf(world, 1))}`;
        case 'seller':
          return `seller ${account(world.seller).posted}`;
        case 'fees':
          return `fees ${account(world.fees).posted}`;
        case 'meter':
        case 'budget': {
          const meter = now.meters[String(name === 'meter' ? meterOf(world) : budgetOf(world))];
          return `${name} ${meter?.day}/${meter?.month}/${meter?.total}`;
        }
        default:
          return `keys ${now.claims.join(',') || 'none'}`;
      }
    })
    .join(' ');
}

function buyerOf(world: World, index: number): bigint {
  const id = world.buyers[index];
  invariant(id !== undefined, 'the row has this buyer');
  return id;
}

function meterOf(world: World): bigint {
  const id = world.meters[0];
  invariant(id !== undefined, 'the row has a meter');
  return id;
}

function budgetOf(world: World): bigint {
  const [id] = world.budgets;
  invariant(id !== undefined, 'the row has a budget');
  return id;
}

export const ROWS: Row[] = [
  {
    title: 'a hold may take everything there is and not one micro-credit more',
    buyer: 100n,
    steps: [
      ['hold a 101', '0', 'buyer 100/0'],
      ['hold b 100', '1', 'buyer 100/100'],
      ['hold c 1', '0', 'buyer 100/100'],
      ['hold d 0', '1', 'buyer 100/100'],
    ],
  },
  {
    title: 'a settle pays the seller and the platform out of the hold',
    buyer: 100n,
    steps: [
      ['hold a 60', '1', 'buyer 100/60 seller 0 fees 0'],
      ['settle a 60 2', '1', 'buyer 40/0 seller 58 fees 2'],
    ],
  },
  {
    title: 'what a settle does not charge goes back',
    buyer: 100n,
    steps: [
      ['hold a 60', '1'],
      ['settle a 25 1', '1', 'buyer 75/0 seller 24 fees 1'],
    ],
  },
  {
    title: 'a settle at nothing charges nothing and ends the hold',
    buyer: 100n,
    steps: [
      ['hold a 60', '1'],
      ['settle a 0 0', '1', 'buyer 100/0 seller 0 fees 0'],
      ['settle a 0 0', '2', 'buyer 100/0'],
    ],
  },
  {
    title: 'a seller is paid even one micro-credit',
    buyer: 10n,
    steps: [
      ['hold a 10', '1'],
      ['settle a 10 9', '1', 'buyer 0/0 seller 1 fees 9'],
    ],
  },
  {
    title: 'a fee may be the whole charge',
    buyer: 10n,
    steps: [
      ['hold a 10', '1'],
      ['settle a 10 10', '1', 'buyer 0/0 seller 0 fees 10'],
    ],
  },
  {
    title: 'a refund gives everything back',
    buyer: 100n,
    steps: [
      ['hold a 60', '1'],
      ['refund a', '1', 'buyer 100/0 seller 0 fees 0'],
    ],
  },
  {
    title: 'a hold is resolved once: the same again is told, another way is refused',
    buyer: 100n,
    steps: [
      ['hold a 60, hold b 20', '11', 'buyer 100/80'],
      ['settle a 50 5, refund b', '11', 'buyer 50/0 seller 45 fees 5'],
      ['settle a 50 5', '2', 'buyer 50/0 seller 45 fees 5'],
      ['settle a 49 5', '3', 'buyer 50/0 seller 45 fees 5'],
      ['refund a', '3', 'buyer 50/0 seller 45 fees 5'],
      ['refund b', '2', 'buyer 50/0'],
      ['settle b 20 1', '3', 'buyer 50/0 seller 45 fees 5'],
    ],
  },
  {
    title: 'a hold that never was cannot be resolved',
    buyer: 100n,
    steps: [
      ['settle x 5 0, refund y, expire z', '000', 'buyer 100/0 seller 0'],
      ['hold a 200', '0'],
      ['settle a 1 0', '0', 'buyer 100/0 seller 0'],
    ],
  },
  {
    title: 'a charge above the hold is refused and leaves the hold open',
    buyer: 100n,
    steps: [
      ['hold a 60', '1'],
      ['settle a 61 1', '4', 'buyer 100/60 seller 0'],
      ['settle a 60 1', '1', 'buyer 40/0 seller 59 fees 1'],
    ],
  },
  {
    title: 'a batch answers for each: what cannot be done stops nothing else',
    buyer: 100n,
    steps: [
      ['hold a 10, hold b 10', '11'],
      ['settle a 11 0, settle b 10 0, refund x, hold c 81, hold d 80', '41001', 'buyer 90/90 seller 10'],
    ],
  },
  {
    title: 'what cannot be resolved does not keep the holds beside it from being placed',
    buyer: 100n,
    steps: [
      ['hold a 10', '1'],
      ['settle a 11 0, hold b 90', '41', 'buyer 100/100'],
    ],
  },
  {
    title: 'holds that do not all fit are decided in the order they came',
    buyer: 100n,
    steps: [['hold a 60, hold b 50, hold c 40, hold d 1, hold e 0', '10101', 'buyer 100/100']],
  },
  {
    title: "one buyer's want leaves another's holds alone",
    buyer: 10n,
    other: 100n,
    steps: [
      ['hold a 100 by other, hold b 11, hold c 10, hold d 1 by other', '1010', 'buyer 10/10 other 100/100'],
    ],
  },
  {
    title: 'what a batch gives back can be held in the same batch, and what it charges cannot',
    buyer: 100n,
    steps: [
      ['hold a 60, hold b 40', '11', 'buyer 100/100'],
      ['refund a, settle b 30 0, hold c 71, hold d 70', '1101', 'buyer 70/70'],
    ],
  },
  {
    title: 'a batch sent again after it was committed moves nothing',
    buyer: 100n,
    steps: [
      ['hold a 60', '1'],
      ['settle a 50 5, hold b 30, hold c 21', '110', 'buyer 50/30 seller 45 fees 5'],
      ['again settle a 50 5, hold b 30, hold c 21', '220', 'buyer 50/30 seller 45 fees 5'],
      ['again hold a 60', '2', 'buyer 50/30'],
    ],
  },
  {
    title: 'a hold that was sent again after it was resolved is not opened a second time',
    buyer: 100n,
    steps: [
      ['hold a 60', '1'],
      ['refund a', '1'],
      ['again hold a 60', '2', 'buyer 100/0'],
      ['refund a', '2', 'buyer 100/0'],
    ],
  },
  {
    title: 'a batch sent again that was never committed is done now',
    buyer: 100n,
    steps: [['again hold a 60, hold b 41', '10', 'buyer 100/60']],
  },
  {
    title: 'an id that was used for another hold is refused',
    buyer: 100n,
    other: 100n,
    steps: [
      ['hold a 60, hold b 10', '11'],
      ['again hold a 59', '3', 'buyer 100/70'],
      ['again hold a 60 by other', '3', 'other 100/0'],
      ['settle b 5 0', '1'],
      ['again hold b 5', '3', 'buyer 95/60'],
      ['again hold b 10 by other', '3', 'other 100/0'],
    ],
  },
  {
    title: 'a hold may be counted by several meters, and the first that refuses it is told',
    buyer: 1_000n,
    caps: { day: 100n },
    further: [{ total: 50n }, { month: 30n }],
    steps: [
      [
        'hold a 101 metered thrice, hold b 51 metered thrice, hold c 31 metered thrice',
        'dÀÄ',
        'buyer 1000/0',
      ],
      ['hold d 30 metered thrice', '1', 'buyer 1000/30 meter 30/30/30'],
      ['hold e 1 metered thrice', 'Ä', 'buyer 1000/30 meter 30/30/30'],
      ['settle d 10 0', '1', 'buyer 990/0 meter 10/10/10'],
      ['hold f 20 metered thrice', '1', 'buyer 990/20 meter 30/30/30'],
      ['hold g 1 metered thrice', 'Ä', 'meter 30/30/30'],
      ['refund f', '1', 'meter 10/10/10'],
      ['hold h 20 metered thrice', '1', 'meter 30/30/30'],
    ],
  },
  {
    title: 'a meter gets back what is its own beside a hold it does not count',
    buyer: 100n,
    caps: { total: 100n },
    steps: [
      ['hold a 60 metered', '1', 'buyer 100/60 meter 60/60/60'],
      ['settle a 20 0, hold b 80', '11', 'buyer 80/80 meter 20/20/20'],
    ],
  },
  {
    title: 'an expired hold cannot be settled before the sweep: it can only be refunded',
    buyer: 100n,
    steps: [
      ['hold a 60', '1'],
      ['lapse a', ''],
      ['settle a 60 2', '5', 'buyer 100/60 seller 0'],
      ['refund a', '1', 'buyer 100/0 seller 0'],
    ],
  },
  {
    title: 'an expired hold cannot be settled after the sweep either',
    buyer: 100n,
    steps: [
      ['hold a 60, hold b 5', '11'],
      ['lapse a', ''],
      ['sweep 100', '1', 'buyer 100/5'],
      ['settle a 60 2', '3', 'buyer 100/5 seller 0'],
      ['refund a', '3', 'buyer 100/5'],
      ['expire a', '2', 'buyer 100/5'],
      ['sweep 100', '0', 'buyer 100/5'],
    ],
  },
  {
    title: 'an expired hold still counts until it is given back',
    buyer: 100n,
    steps: [
      ['hold a 60', '1'],
      ['lapse a', ''],
      ['hold b 41', '0'],
      ['refund a, hold b 41', '11', 'buyer 100/41'],
    ],
  },
  {
    title: 'a sweep takes no more than it was told to',
    buyer: 100n,
    steps: [
      ['hold a 1, hold b 1, hold c 1', '111'],
      ['lapse a', ''],
      ['lapse b', ''],
      ['lapse c', ''],
      ['sweep 2', '2', 'buyer 100/1'],
      ['sweep 2', '1', 'buyer 100/0'],
    ],
  },
  {
    title: 'a grant can be spent at once',
    buyer: 0n,
    steps: [
      ['hold a 1', '0', 'buyer 0/0'],
      ['grant 5', ''],
      ['hold b 6, hold c 5', '01', 'buyer 5/5'],
    ],
  },
  {
    title: 'the day cap may be reached and not passed',
    buyer: 1_000n,
    caps: { day: 100n },
    steps: [
      ['hold a 101 metered', 'd', 'buyer 1000/0 meter 0/0/0'],
      ['hold b 60 metered', '1', 'meter 60/60/60'],
      ['hold c 41 metered, hold d 40 metered, hold e 1 metered', 'd1d', 'buyer 1000/100 meter 100/100/100'],
      ['hold f 500', '1', 'buyer 1000/600 meter 100/100/100'],
    ],
  },
  {
    title: 'the month cap may be reached and not passed',
    buyer: 1_000n,
    caps: { month: 100n },
    steps: [
      ['hold a 101 metered, hold b 100 metered, hold c 1 metered', 'm1m', 'buyer 1000/100 meter 100/100/100'],
    ],
  },
  {
    title: 'the total cap may be reached and not passed',
    buyer: 1_000n,
    caps: { total: 100n },
    steps: [
      ['hold a 101 metered, hold b 100 metered, hold c 1 metered', 't1t', 'buyer 1000/100 meter 100/100/100'],
    ],
  },
  ...(['day', 'month', 'total'] as const).map((cap) => ({
    title: `at the ${cap} cap, a single micro-credit more is refused to a hold that comes alone`,
    buyer: 1_000n,
    caps: { [cap]: 100n },
    steps: [
      ['hold a 100 metered', '1', 'meter 100/100/100'],
      ['hold b 1 metered', cap.charAt(0), 'meter 100/100/100 buyer 1000/100'],
    ] as Row['steps'],
  })),
  {
    title: 'the widest cap that is passed is the one that is named, and too little money comes before all',
    buyer: 150n,
    caps: { day: 100n, month: 110n, total: 120n },
    steps: [
      ['hold a 151 metered', '0'],
      ['hold b 121 metered', 't'],
      ['hold c 111 metered', 'm'],
      ['hold d 101 metered', 'd'],
      ['hold e 100 metered', '1', 'meter 100/100/100'],
    ],
  },
  {
    title: 'a refused hold takes nothing from the cap, and a cap refusal nothing from the balance',
    buyer: 100n,
    caps: { day: 90n },
    steps: [
      ['hold a 95 metered, hold b 80 metered, hold c 15 metered, hold d 20, hold e 1', 'd1d10'],
      ['refund x', '0', 'buyer 100/100 meter 80/80/80'],
    ],
  },
  {
    title: 'a refund gives back to every cap',
    buyer: 1_000n,
    caps: { day: 100n, month: 100n, total: 100n },
    steps: [
      ['hold a 100 metered', '1', 'meter 100/100/100'],
      ['refund a, hold b 100 metered', '11', 'meter 100/100/100 buyer 1000/100'],
      ['refund b', '1', 'meter 0/0/0 buyer 1000/0'],
    ],
  },
  {
    title: 'what a settle does not charge goes back to the caps, and what it charges does not',
    buyer: 1_000n,
    caps: { day: 100n },
    steps: [
      ['hold a 60 metered, hold b 40 metered', '11', 'meter 100/100/100'],
      ['settle a 25 1, settle b 40 1', '11', 'meter 65/65/65'],
      ['hold c 36 metered, hold d 35 metered', 'd1', 'meter 100/100/100'],
    ],
  },
  {
    title: 'a sweep gives back to the caps',
    buyer: 1_000n,
    caps: { total: 100n },
    steps: [
      ['hold a 100 metered', '1'],
      ['lapse a', ''],
      ['sweep 100', '1', 'meter 0/0/0 buyer 1000/0'],
    ],
  },
  {
    title: 'a new day begins with nothing used that day',
    buyer: 1_000n,
    caps: { day: 100n, total: 1_000n },
    steps: [
      ['hold a 100 metered', '1', 'meter 100/100/100'],
      ['hold b 1 metered', 'd'],
      ['days 40', ''],
      ['hold c 100 metered', '1', 'meter 100/100/200'],
      ['hold d 1 metered', 'd'],
    ],
  },
  {
    title: 'what was held in an earlier day and month is given back to the total alone',
    buyer: 1_000n,
    caps: { day: 100n, month: 100n, total: 1_000n },
    steps: [
      ['hold a 80 metered, hold b 20 metered', '11', 'meter 100/100/100'],
      ['days 40', ''],
      ['hold c 30 metered', '1', 'meter 30/30/130'],
      ['refund a, settle b 5 0', '11', 'meter 30/30/35'],
      ['refund c', '1', 'meter 0/0/5'],
    ],
  },
  {
    title: 'a retried hold is not counted again on its caps',
    buyer: 1_000n,
    caps: { day: 100n },
    steps: [
      ['hold a 60 metered', '1', 'meter 60/60/60'],
      ['again hold a 60 metered, hold b 40 metered', '21', 'meter 100/100/100'],
    ],
  },
  {
    title: 'a clock a little behind another process gives back where the hold was counted',
    buyer: 1_000n,
    caps: { day: 100n },
    steps: [
      ['hold a 10 metered', '1', 'meter 10/10/10'],
      // Another process, whose day has begun already, moved the window on.
      ['days -40', ''],
      ['hold b 20 metered', '1', 'meter 30/30/30'],
      ['refund a', '1', 'meter 20/20/20'],
      ['refund b', '1', 'meter 0/0/0'],
    ],
  },
  {
    title: 'a budget counts every hold of the balance, metered or not, and no other balance',
    buyer: 1_000n,
    other: 1_000n,
    caps: {},
    budget: { day: 100n },
    steps: [
      ['hold a 60, hold b 30 metered, hold c 500 by other', '111', 'meter 30/30/30 budget 90/90/90'],
      ['hold d 11, hold e 11 metered, hold f 10', 'DD1', 'meter 30/30/30 budget 100/100/100 buyer 1000/100'],
      ['settle a 25 1, refund b', '11', 'meter 0/0/0 budget 35/35/35'],
      ['hold g 66', 'D'],
      ['hold h 65', '1', 'budget 100/100/100'],
    ],
  },
  ...(['day', 'month', 'total'] as const).map((cap) => ({
    title: `at the ${cap} cap of a budget, a single micro-credit more is refused`,
    buyer: 1_000n,
    budget: { [cap]: 100n },
    steps: [
      ['hold a 101', cap.charAt(0).toUpperCase(), 'budget 0/0/0 buyer 1000/0'],
      ['hold b 100', '1', 'budget 100/100/100'],
      ['hold c 1', cap.charAt(0).toUpperCase(), 'budget 100/100/100 buyer 1000/100'],
      ['hold d 0', '1'],
    ] as Row['steps'],
  })),
  {
    title: 'the widest cap of a budget that is passed is named, after those of the key and after the balance',
    buyer: 150n,
    caps: { total: 140n },
    budget: { day: 100n, month: 110n, total: 120n },
    steps: [
      ['hold a 151 metered', '0'],
      ['hold b 141 metered', 't'],
      ['hold c 140 metered', 'T'],
      ['hold d 120 metered', 'M'],
      ['hold e 110 metered', 'D'],
      ['hold f 100 metered', '1', 'meter 100/100/100 budget 100/100/100'],
    ],
  },
  {
    title: 'what the budget refuses is not counted on the key, and what the key refuses not on the budget',
    buyer: 1_000n,
    caps: { day: 50n },
    budget: { day: 100n },
    steps: [
      [
        'hold a 51 metered, hold b 60, hold c 41 metered, hold d 40 metered',
        'd1D1',
        'meter 40/40/40 budget 100/100/100',
      ],
      ['hold e 1 metered, hold f 1', 'DD', 'meter 40/40/40 budget 100/100/100 buyer 1000/100'],
    ],
  },
  {
    title: 'a hold too dear for the balance is counted nowhere',
    buyer: 100n,
    caps: { day: 1_000n },
    budget: { day: 1_000n },
    steps: [
      [
        'hold a 60 metered, hold b 41 metered, hold c 40 metered',
        '101',
        'meter 100/100/100 budget 100/100/100',
      ],
    ],
  },
  {
    title:
      'holds of a key and of the whole balance that fit one by one and not together are decided in order',
    buyer: 1_000n,
    caps: { month: 100n },
    budget: { month: 150n },
    steps: [
      [
        'hold a 100 metered, hold b 50, hold c 1, hold d 1 metered',
        '11Mm',
        'meter 100/100/100 budget 150/150/150',
      ],
    ],
  },
  {
    title: 'what a batch gives back to a budget can be held in the same batch',
    buyer: 1_000n,
    budget: { total: 100n },
    steps: [
      ['hold a 60, hold b 40', '11', 'budget 100/100/100'],
      ['refund a, settle b 30 0, hold c 71, hold d 70', '11T1', 'budget 100/100/100 buyer 970/70'],
    ],
  },
  {
    title: 'a sweep gives back to the budget',
    buyer: 1_000n,
    budget: { total: 100n },
    steps: [
      ['hold a 100', '1'],
      ['lapse a', ''],
      ['sweep 100', '1', 'budget 0/0/0 buyer 1000/0'],
    ],
  },
  {
    title: 'the windows of a budget and of a key begin anew each for itself',
    buyer: 1_000n,
    caps: { day: 100n, total: 500n },
    budget: { day: 100n, month: 100n, total: 1_000n },
    steps: [
      ['hold a 100 metered', '1', 'meter 100/100/100 budget 100/100/100'],
      ['budget-days 40', ''],
      ['hold b 1 metered', 'd', 'meter 100/100/100 budget 0/0/100'],
      ['hold c 30', '1', 'budget 30/30/130'],
      ['days 40', ''],
      ['hold d 70 metered', '1', 'meter 70/70/170 budget 100/100/200'],
      ['refund a', '1', 'meter 70/70/70 budget 100/100/100'],
      ['refund d, settle c 10 0', '11', 'meter 0/0/0 budget 10/10/10'],
    ],
  },
  {
    title: 'a budget of holds without a metered key begins anew as well',
    buyer: 1_000n,
    budget: { day: 100n },
    steps: [
      ['hold a 100', '1', 'budget 100/100/100'],
      ['budget-days 40', ''],
      ['hold b 100', '1', 'budget 100/100/200'],
    ],
  },
  {
    title: 'a hold that the key counted in another month than the budget is given back to each where it was',
    buyer: 1_000n,
    caps: { total: 500n },
    budget: { day: 100n },
    steps: [
      ['hold a 100 metered', '1'],
      ['days 40', ''],
      ['hold b 0 metered', '1', 'meter 0/0/100 budget 100/100/100'],
      ['refund a', '1', 'meter 0/0/0 budget 0/0/0'],
    ],
  },
  {
    title: 'a clock a little behind another process gives back to the budget where the hold was counted',
    buyer: 1_000n,
    budget: { day: 100n },
    steps: [
      ['hold a 10', '1', 'budget 10/10/10'],
      ['budget-days -40', ''],
      ['hold b 20', '1', 'budget 30/30/30'],
      ['refund a', '1', 'budget 20/20/20'],
      ['refund b', '1', 'budget 0/0/0'],
    ],
  },
  {
    title: 'a retried hold is not counted again on its budget',
    buyer: 1_000n,
    budget: { day: 100n },
    steps: [
      ['hold a 60', '1', 'budget 60/60/60'],
      ['again hold a 60, hold b 40', '21', 'budget 100/100/100'],
      ['again hold b 40, hold c 1', '2D', 'budget 100/100/100'],
    ],
  },
  {
    title: 'a hold a budget refuses leaves no claim on its idempotency key',
    buyer: 100n,
    budget: { day: 10n },
    steps: [
      ['hold a 11 key k1', 'D', 'keys none'],
      ['hold b 10 key k1', '1', 'keys k1'],
    ],
  },
  {
    title: 'an idempotency key buys once: another call with it is told so and takes nothing',
    buyer: 100n,
    steps: [
      ['hold a 60 key k1', '1', 'keys k1'],
      ['hold b 10 key k1, hold c 10 key k2', 'k1', 'buyer 100/70 keys k1,k2'],
      ['settle a 60 0', '1', 'keys k1,k2'],
      ['hold d 10 key k1', 'k', 'buyer 40/10'],
    ],
  },
  {
    title: 'a refunded call frees its idempotency key, in time for the same batch',
    buyer: 100n,
    steps: [
      ['hold a 60 key k1', '1'],
      ['refund a, hold b 10 key k1', '11', 'buyer 100/10 keys k1'],
      ['refund b', '1', 'keys none'],
    ],
  },
  {
    title: 'a swept call frees its idempotency key',
    buyer: 100n,
    steps: [
      ['hold a 60 key k1', '1'],
      ['lapse a', ''],
      ['hold b 1 key k1', 'k'],
      ['sweep 100', '1', 'keys none'],
      ['hold c 1 key k1', '1', 'keys k1'],
    ],
  },
  {
    title: 'a refused hold leaves no claim on its idempotency key',
    buyer: 100n,
    caps: { day: 10n },
    steps: [
      ['hold a 101 key k1, hold b 11 metered key k2', '0d', 'keys none'],
      ['hold c 1 key k1, hold d 1 metered key k2', '11', 'keys k1,k2'],
    ],
  },
  {
    title: 'an idempotency key is free again after its 24 hours',
    buyer: 100n,
    steps: [
      ['hold a 60 key k1', '1'],
      ['settle a 60 0', '1'],
      ['free-in-time k1', ''],
      ['hold b 10 key k1', '1', 'buyer 40/10 keys k1'],
      ['hold c 10 key k1', 'k'],
    ],
  },
  {
    title: 'a batch sent again keeps the idempotency keys it claimed',
    buyer: 100n,
    steps: [
      ['hold a 60 key k1', '1'],
      ['again hold a 60 key k1, hold b 1 key k1x', '21', 'buyer 100/61 keys k1,k1x'],
      ['hold c 1 key k1', 'k', 'keys k1,k1x'],
    ],
  },
];
