import { readdir, readFile } from 'node:fs/promises';
import pg from 'pg';
import { newId } from '../../src/base/ids.ts';
import type { HoldRequest } from '../../src/ledger/ledger.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

/** One hold of a batch, as `ledger_apply` takes it. Amounts in micro-credits. */
export type HoldOp = {
  id: string;
  buyer: bigint;
  amount: bigint;
  ttlMs?: number;
  meter?: bigint | undefined;
  /** Further meters that count it, beside that one and that of its balance. */
  meters?: readonly bigint[];
  claim?: { key: string; hash: string } | undefined;
  seller?: bigint;
};

/** One resolution of a batch. */
export type ResolveOp = { id: string; kind: 'settle' | 'refund' | 'expire'; charge: bigint; fee: bigint };

export type Batch = { isRetry: boolean; resolve: ResolveOp[]; hold: HoldOp[] };

/** Accounts nothing else touches: what is granted, spent and earned among them sums to zero. */
export type World = {
  organization: string;
  funding: bigint;
  seller: bigint;
  fees: bigint;
  buyers: bigint[];
  meters: bigint[];
  /** Of whole balances, by buyer. */
  budgets: (bigint | undefined)[];
};

export type Caps = { day: bigint | null; month: bigint | null; total: bigint | null };

/** A plain hold of the world's first buyer, for what a test does not say otherwise. */
export function holdIn(world: World, amountMicros: bigint, rest: Partial<HoldRequest> = {}): HoldRequest {
  return {
    callId: newId('call'),
    buyer: world.buyers[0] ?? 0n,
    seller: world.seller,
    fees: world.fees,
    amountMicros,
    ttlMs: 60_000,
    keyId: 'key_1',
    agentId: 'agt_test_v1',
    meters: [],
    idempotency: undefined,
    ...rest,
  };
}

/** What the books of one world say, read back in one statement. */
export type State = {
  accounts: Record<string, { posted: bigint; held: bigint }>;
  meters: Record<string, { day: bigint; month: bigint; total: bigint }>;
  claims: string[];
  /** Broken promises; empty when the books are right. */
  faults: string[];
};

/** The ledger's SQL functions, called as they are, on a database of their own. */
export type Books = {
  url: string;
  client: pg.Client;
  /** `caps` are of meters a key may have, `budgets` of the buyers' whole balances. */
  openWorld(buyers: bigint[], caps?: Caps[], budgets?: (Caps | undefined)[]): Promise<World>;
  apply(world: World, batch: Batch): Promise<{ resolve: string; hold: string }>;
  grant(world: World, buyer: bigint, amount: bigint): Promise<void>;
  /** Lets the hold's expiry pass. */
  lapse(id: string): Promise<void>;
  /** Lets days pass since the meter, and everything counted on it, was written. */
  age(meter: bigint, days: number): Promise<void>;
  read(world: World): Promise<State>;
  close(): Promise<void>;
};

const APPLY = `SELECT ledger_apply($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,'24 hours') AS codes`;

let counted = 0;

/** An id PostgreSQL stores as it is: 32 hex digits that rise. */
export function nextId(): string {
  counted += 1;
  return counted.toString(16).padStart(32, '0');
}

/** On an empty database of its own, or on one that is there already. */
export async function openBooks(given?: TestDatabase): Promise<Books> {
  const database = given ?? (await createTestDatabase());
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  await client.query(SUPPORT);

  return {
    url: database.url,
    client,
    openWorld: async (buyers, caps = [], budgets = []) => {
      const organization = `org_${nextId()}`;
      const { rows } = await client.query<{ world: unknown[] }>(
        'SELECT test_open_world($1, $2, $3, $4, $5, $6) AS world',
        [
          organization,
          buyers,
          caps.map((cap) => cap.day),
          caps.map((cap) => cap.month),
          caps.map((cap) => cap.total),
          JSON.stringify(
            budgets.map(
              (cap) => cap && [cap.day, cap.month, cap.total].map((each) => each?.toString() ?? null),
            ),
          ),
        ],
      );
      const [funding, seller, fees, ids, meters, budgetIds] = rows[0]!.world as [
        string,
        string,
        string,
        string[],
        string[],
        (string | null)[],
      ];
      return {
        organization,
        funding: BigInt(funding),
        seller: BigInt(seller),
        fees: BigInt(fees),
        buyers: ids.map(BigInt),
        meters: meters.map(BigInt),
        budgets: budgets.map((_, index) => (budgetIds[index] ? BigInt(budgetIds[index]) : undefined)),
      };
    },
    apply: async (world, { isRetry, resolve, hold }) => {
      const claims = hold.flatMap(({ claim }, index) => (claim ? [{ ord: index + 1, ...claim }] : []));
      const counts = hold.flatMap(({ meter, meters = [] }, index) =>
        [...(meter === undefined ? [] : [meter]), ...meters].map((meter) => ({ ord: index + 1, meter })),
      );
      const { rows } = await client.query<{ codes: string }>(APPLY, [
        isRetry,
        resolve.map(({ id }) => id),
        resolve.map(({ kind }) => kind),
        resolve.map(({ charge }) => charge),
        resolve.map(({ fee }) => fee),
        hold.map(({ id }) => id),
        hold.map(({ buyer }) => buyer),
        hold.map(({ seller }) => seller ?? world.seller),
        hold.map(() => world.fees),
        hold.map(({ amount }) => amount),
        hold.map(({ ttlMs }) => ttlMs ?? 3_600_000),
        hold.map(() => `key_${world.organization}`),
        hold.map(() => 'agt_test_v1'),
        counts.map(({ ord }) => ord),
        counts.map(({ meter }) => meter),
        hold.map(() => null),
        hold.map(() => null),
        claims.map(({ ord }) => ord),
        claims.map(({ key }) => key),
        claims.map(({ hash }) => hash),
      ]);
      const codes = rows[0]?.codes ?? '';
      return { resolve: codes.slice(0, resolve.length), hold: codes.slice(resolve.length) };
    },
    grant: async (world, buyer, amount) => {
      await client.query(`SELECT ledger_transfer($1, 'grant', $2, $3, $4)`, [
        nextId(),
        world.funding,
        buyer,
        amount,
      ]);
    },
    lapse: async (id) => {
      await client.query(
        `UPDATE ledger_holds SET expires_at = created_at + interval '1 microsecond' WHERE id = $1`,
        [id],
      );
    },
    age: async (meter, days) => {
      await client.query('UPDATE spend_meters SET day = day - $2::int WHERE id = $1', [meter, days]);
      await client.query(
        `UPDATE ledger_holds SET counted_on = ARRAY(
           SELECT CASE WHEN w.meter = $1 THEN w.day - $2::int ELSE w.day END
           FROM unnest(meters, counted_on) WITH ORDINALITY AS w (meter, day, nth) ORDER BY w.nth)
         WHERE $1 = ANY (meters)`,
        [meter, days],
      );
    },
    read: async (world) => {
      const { rows } = await client.query<{ state: RawState }>(
        'SELECT test_read_world($1, $2, $3) AS state',
        [
          [world.funding, world.seller, world.fees, ...world.buyers],
          [...world.meters, ...world.budgets.filter((id) => id !== undefined)],
          `key_${world.organization}`,
        ],
      );
      return stateOf(rows[0]?.state as RawState);
    },
    close: async () => {
      await client.end();
      await database.close();
    },
  };
}

/** The text of the migration that makes one of the ledger's functions, ready to replace it. */
export async function readFunction(name: string): Promise<string> {
  const folder = new URL('../../migrations/', import.meta.url);
  const files = (await readdir(folder)).filter((file) => file.endsWith('.sql')).sort();
  const texts = await Promise.all(files.map((file) => readFile(new URL(file, folder), 'utf8')));
  // The newest migration that makes it says how it is now.
  const found = texts
    .flatMap((text) => text.split('--> statement-breakpoint'))
    .findLast((text) => text.includes(`CREATE FUNCTION ${name}(`));
  if (found === undefined) throw new Error(`The migration makes no function ${name}.`);
  return found.replace('CREATE FUNCTION', 'CREATE OR REPLACE FUNCTION');
}

type RawState = {
  accounts: Record<string, { posted: string; held: string }>;
  meters: Record<string, { day: string; month: string; total: string }>;
  claims: string[];
  faults: string[];
};

function stateOf(raw: RawState): State {
  return {
    accounts: Object.fromEntries(
      Object.entries(raw.accounts).map(([id, { posted, held }]) => [
        id,
        { posted: BigInt(posted), held: BigInt(held) },
      ]),
    ),
    meters: Object.fromEntries(
      Object.entries(raw.meters).map(([id, { day, month, total }]) => [
        id,
        { day: BigInt(day), month: BigInt(month), total: BigInt(total) },
      ]),
    ),
    claims: raw.claims,
    faults: raw.faults,
  };
}

// One round trip to open a world and one to read and check it: the properties do both thousands of times.
const SUPPORT = `
CREATE OR REPLACE FUNCTION test_open_world(p_org text, p_buyers bigint[], p_day bigint[], p_month bigint[], p_total bigint[], p_budgets jsonb)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_funding bigint; v_seller bigint; v_fees bigint; v_buyer bigint;
  v_buyers bigint[] := '{}'; v_meters bigint[] := '{}'; v_budgets bigint[] := '{}';
BEGIN
  INSERT INTO organizations (id, name) VALUES (p_org, 'world');
  INSERT INTO ledger_accounts (organization_id, currency, kind) VALUES (p_org, 'test', 'funding') RETURNING id INTO v_funding;
  INSERT INTO ledger_accounts (organization_id, currency, kind) VALUES (p_org, 'test', 'earnings') RETURNING id INTO v_seller;
  INSERT INTO ledger_accounts (organization_id, currency, kind) VALUES (p_org, 'test', 'fees') RETURNING id INTO v_fees;
  FOR i IN 1 .. cardinality(p_buyers) LOOP
    INSERT INTO organizations (id, name) VALUES (p_org || '_' || i, 'buyer');
    INSERT INTO ledger_accounts (organization_id, currency, kind) VALUES (p_org || '_' || i, 'test', 'balance') RETURNING id INTO v_buyer;
    v_buyers := v_buyers || v_buyer;
    IF p_buyers[i] > 0 THEN PERFORM ledger_transfer(gen_random_uuid(), 'grant', v_funding, v_buyer, p_buyers[i]); END IF;
  END LOOP;
  FOR i IN 1 .. cardinality(p_day) LOOP
    INSERT INTO spend_meters (cap_day, cap_month, cap_total) VALUES (p_day[i], p_month[i], p_total[i]) RETURNING id INTO v_buyer;
    v_meters := v_meters || v_buyer;
  END LOOP;
  FOR i IN 1 .. jsonb_array_length(p_budgets) LOOP
    v_buyer := NULL;
    IF jsonb_typeof(p_budgets -> (i - 1)) = 'array' THEN
      INSERT INTO spend_meters (cap_day, cap_month, cap_total)
        SELECT (b ->> 0)::bigint, (b ->> 1)::bigint, (b ->> 2)::bigint FROM (SELECT p_budgets -> (i - 1) AS b) c RETURNING id INTO v_buyer;
      UPDATE ledger_accounts SET meter_id = v_buyer WHERE id = v_buyers[i];
    END IF;
    v_budgets := v_budgets || v_buyer;
  END LOOP;
  RETURN jsonb_build_array(v_funding, v_seller, v_fees, to_jsonb(v_buyers), to_jsonb(v_meters), to_jsonb(v_budgets));
END $$;

CREATE OR REPLACE FUNCTION test_read_world(p_accounts bigint[], p_meters bigint[], p_key text) RETURNS jsonb LANGUAGE sql AS $$
  WITH a AS (SELECT * FROM ledger_accounts WHERE id = ANY (p_accounts)),
  -- Rows of the view ledger_entries, found through the journal's indexes.
  j AS (
    SELECT * FROM ledger_journal WHERE debit = ANY (p_accounts)
    UNION SELECT * FROM ledger_journal WHERE credit = ANY (p_accounts)
  ), e AS (
    SELECT leg.account, leg.amount FROM j
    CROSS JOIN LATERAL (SELECT * FROM ledger_entries x WHERE x.id = j.id) leg
  ), sums AS (SELECT account, sum(amount) AS amount FROM e GROUP BY account),
  h AS (SELECT * FROM ledger_holds WHERE buyer = ANY (p_accounts)),
  open_sums AS (SELECT buyer, sum(amount) AS amount FROM h GROUP BY buyer),
  faults AS (
    SELECT 'the entries do not sum to zero' AS fault WHERE (SELECT coalesce(sum(amount), 0) FROM e) <> 0
    UNION ALL SELECT 'account ' || a.id || ' has posted ' || a.posted || ' and entries of ' || coalesce(s.amount, 0)
      FROM a LEFT JOIN sums s ON s.account = a.id WHERE a.posted <> coalesce(s.amount, 0)
    UNION ALL SELECT 'account ' || a.id || ' has ' || a.held || ' held and open holds of ' || coalesce(o.amount, 0)
      FROM a LEFT JOIN open_sums o ON o.buyer = a.id WHERE a.held <> coalesce(o.amount, 0)
    UNION ALL SELECT 'account ' || id || ' is overdrawn' FROM a WHERE kind <> 'funding' AND posted - held < 0
    UNION ALL SELECT 'hold ' || h.id || ' is open and resolved' FROM h JOIN ledger_journal r ON r.id = h.id
  )
  SELECT jsonb_build_object(
    'accounts', (SELECT jsonb_object_agg(id, jsonb_build_object('posted', posted::text, 'held', held::text)) FROM a),
    'meters', coalesce((SELECT jsonb_object_agg(id, jsonb_build_object('day', used_day::text, 'month', used_month::text, 'total', used_total::text))
      FROM spend_meters WHERE id = ANY (p_meters)), '{}'),
    'claims', coalesce((SELECT jsonb_agg(idempotency_key ORDER BY idempotency_key) FROM idempotency_keys WHERE key_id = p_key), '[]'),
    'faults', coalesce((SELECT jsonb_agg(fault) FROM faults), '[]'))
$$;`;
