import pg from 'pg';
import { newId } from '../../src/base/ids.ts';
import { silentLog } from '../../src/base/log.ts';
import { openDatabase } from '../../src/db/db.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import { createBenchDatabase, type BenchDatabase } from './bench-database.ts';
import { median, type Figure } from './report.ts';

const CALLERS = 100;
const BUYERS = 1_000;
const SELLERS = 100;
const PRICE = 1_000_000n;
const FEE = 30_000n;
const REFUND_SHARE = 0.05;

type Accounts = { buyers: bigint[]; sellers: bigint[]; fees: bigint };
type Pay = (accounts: { buyer: bigint; seller: bigint; fees: bigint }, refund: boolean) => Promise<void>;
type Round = { perSecond: number; nodeMicros: number; serverMicros: number };

/** Hold and settle alone, in groups as the ledger does it and one transaction each as most do it. */
export async function measureLedger(options: { rounds: number; seconds: number }): Promise<Figure[]> {
  const database = await createBenchDatabase();
  const connection = openDatabase(database.url, { log: silentLog, maxConnections: 4 });
  const ledger = createLedger(connection, silentLog);
  const naivePool = new pg.Pool({ connectionString: database.url, max: 20 });
  // An idle connection may see its database dropped at the end.
  naivePool.on('error', () => {});
  const grouped: Pay = async ({ buyer, seller, fees }, refund) => {
    const callId = newId('call');
    const order = {
      callId,
      buyer,
      seller,
      fees,
      amountMicros: PRICE,
      ttlMs: 60_000,
      keyId: KEY,
      agentId: AGENT,
    };
    const held = await ledger.hold({ ...order, meters: [], idempotency: undefined });
    if (held.kind !== 'placed') throw new Error(`a hold was refused: ${held.kind}`);
    await (refund ? ledger.refund(callId) : ledger.settle(callId, PRICE, FEE));
  };
  const naive: Pay = (accounts, refund) => payNaively(naivePool, accounts, refund);

  const kinds = { grouped: [[], []] as [Round[], Round[]], naive: [[], []] as [Round[], Round[]] };
  try {
    const accounts = await openAccounts(connection.pool);
    const hot = { ...accounts, buyers: accounts.buyers.slice(0, 1), sellers: accounts.sellers.slice(0, 1) };
    await payOften(grouped, accounts, 1, database);
    await payOften(naive, accounts, 1, database);
    for (let round = 0; round < options.rounds; round += 1) {
      kinds.grouped[0].push(await payOften(grouped, accounts, options.seconds, database));
      kinds.grouped[1].push(await payOften(grouped, hot, options.seconds, database));
      kinds.naive[0].push(await payOften(naive, accounts, options.seconds, database));
      kinds.naive[1].push(await payOften(naive, hot, options.seconds, database));
    }
  } finally {
    await ledger.close();
    await naivePool.end();
    await connection.close();
    await database.drop();
  }

  const ratio = (over: Round[], under: Round[]): number =>
    median(over.map((round, index) => round.perSecond / (under[index]?.perSecond ?? Number.NaN)));
  const [uniform, hot] = kinds.grouped;
  return [
    {
      name: 'ledger: group commit ÷ a transaction each, 1,000 accounts',
      value: ratio(uniform, kinds.naive[0]),
      goal: { least: 15 },
      unit: '×',
    },
    {
      name: 'ledger: group commit ÷ a transaction each, one hot account',
      value: ratio(hot, kinds.naive[1]),
      goal: { least: 40 },
      unit: '×',
    },
    {
      name: 'ledger: one hot account ÷ 1,000 accounts',
      value: ratio(hot, uniform),
      goal: { least: 0.9 },
      unit: '×',
    },
    {
      name: 'ledger: paid calls per second, 1,000 accounts',
      value: median(uniform.map((r) => r.perSecond)),
      unit: '/s',
    },
    {
      name: 'ledger: PostgreSQL CPU per paid call',
      value: median(uniform.map((r) => r.serverMicros)),
      goal: { most: 45 },
      unit: 'µs',
    },
    {
      name: 'ledger: Node CPU per paid call',
      value: median(uniform.map((r) => r.nodeMicros)),
      goal: { most: 15 },
      unit: 'µs',
    },
  ];
}

const KEY = newId('key');
const AGENT = 'agt_pdf_summariser_v2';

async function payOften(
  pay: Pay,
  accounts: Accounts,
  seconds: number,
  database: BenchDatabase,
): Promise<Round> {
  const serverBefore = await database.cpuMicros();
  const before = process.cpuUsage();
  const start = performance.now();
  const end = start + seconds * 1_000;
  let paid = 0;
  const caller = async (): Promise<void> => {
    while (performance.now() < end) {
      const buyer = accounts.buyers[Math.floor(Math.random() * accounts.buyers.length)] ?? 0n;
      const seller = accounts.sellers[Math.floor(Math.random() * accounts.sellers.length)] ?? 0n;
      await pay({ buyer, seller, fees: accounts.fees }, Math.random() < REFUND_SHARE);
      paid += 1;
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
  const { user, system } = process.cpuUsage(before);
  const server = (await database.cpuMicros()) - serverBefore;
  const elapsed = (performance.now() - start) / 1_000;
  return { perSecond: paid / elapsed, nodeMicros: (user + system) / paid, serverMicros: server / paid };
}

/** What most systems do: a transaction that locks, checks and writes for the hold, and another to settle. */
async function payNaively(
  pool: pg.Pool,
  { buyer, seller, fees }: { buyer: bigint; seller: bigint; fees: bigint },
  refund: boolean,
): Promise<void> {
  const id = newId('call').slice(5);
  await inTransaction(pool, async (client) => {
    const { rows } = await client.query<{ available: string }>(
      'SELECT posted - held AS available FROM ledger_accounts WHERE id = $1 FOR UPDATE',
      [buyer],
    );
    if (BigInt(rows[0]?.available ?? '0') < PRICE) throw new Error('not enough');
    await client.query('UPDATE ledger_accounts SET held = held + $2 WHERE id = $1', [buyer, PRICE]);
    await client.query(
      `INSERT INTO ledger_holds (id, buyer, seller, fees, amount, key_id, agent_id, keyed, created_at, expires_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, false, now(), now() + interval '1 minute')`,
      [id, buyer, seller, fees, PRICE, KEY, AGENT],
    );
  });
  const charge = refund ? 0n : PRICE;
  const fee = refund ? 0n : FEE;
  await inTransaction(pool, async (client) => {
    await client.query('DELETE FROM ledger_holds WHERE id = $1', [id]);
    await client.query(
      `INSERT INTO ledger_journal (id, kind, debit, credit, fee_account, amount, fee, held, key_id, agent_id)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
      [id, refund ? 'refund' : 'settle', buyer, seller, fees, charge, fee, PRICE, KEY, AGENT],
    );
    const changes: [account: bigint, posted: bigint, held: bigint][] = [
      [buyer, -charge, -PRICE],
      [seller, charge - fee, 0n],
      [fees, fee, 0n],
    ];
    changes.sort(([a], [b]) => (a < b ? -1 : 1));
    for (const change of changes) {
      await client.query(
        'UPDATE ledger_accounts SET posted = posted + $2, held = held + $3 WHERE id = $1',
        change,
      );
    }
  });
}

async function inTransaction(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await work(client);
    await client.query('COMMIT');
  } finally {
    client.release();
  }
}

async function openAccounts(pool: pg.Pool): Promise<Accounts> {
  await pool.query(
    `INSERT INTO organizations (id, name) SELECT 'org_' || n, 'bench' FROM generate_series(1, $1::int) n`,
    [BUYERS + SELLERS],
  );
  const open = async (kind: string, from: number, to: number, posted: string): Promise<bigint[]> => {
    const { rows } = await pool.query<{ id: string }>(
      `INSERT INTO ledger_accounts (organization_id, currency, kind, posted)
       SELECT 'org_' || n, 'test', $1, $4::bigint FROM generate_series($2::int, $3::int) n RETURNING id`,
      [kind, from, to, posted],
    );
    return rows.map((row) => BigInt(row.id));
  };
  const buyers = await open('balance', 1, BUYERS, '1000000000000000');
  const sellers = await open('earnings', BUYERS + 1, BUYERS + SELLERS, '0');
  const { rows } = await pool.query<{ id: string }>(
    `INSERT INTO ledger_accounts (currency, kind) VALUES ('test', 'fees') RETURNING id`,
  );
  return { buyers, sellers, fees: BigInt(rows[0]?.id ?? '0') };
}
