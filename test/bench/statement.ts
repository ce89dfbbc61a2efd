import pg from 'pg';
import { Agent, request } from 'undici';
import { formatCredits } from '../../src/base/money.ts';
import { createBenchDatabase } from './bench-database.ts';
import { startChild, type Child } from './child.ts';
import { median, type Figure } from './report.ts';

const ROWS = 1_000_000;
const ROWS_BEFORE = 200_000;
const CHARGE_MICROS = 1_000n;
const FIRST_BYTES = 15;
const MEMORY_SAMPLES = 12;

/** How long a statement of a very long month takes to begin, and what it needs while it is sent. */
export async function measureStatement(): Promise<Figure[]> {
  const database = await createBenchDatabase();
  const gateway = await startChild('gateway', { BENCH_DATABASE: database.url });
  const dispatcher = new Agent({ connections: 1 });
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  const month = lastMonth();
  const headers = { authorization: `Bearer ${gateway.facts['key']}` };
  const open = async (format: string) => {
    const url = `${gateway.facts['origin']}/v1/billing/statement?month=${month}&format=${format}`;
    return (await request(url, { headers, dispatcher })).body;
  };
  try {
    await seedMonth(client, month);
    const times = { firstByte: [] as number[], firstLine: [] as number[] };
    for (let n = 0; n < FIRST_BYTES; n += 1) {
      // Nothing that an earlier one found out is there to help.
      await client.query('TRUNCATE ledger_month_ends');
      const before = performance.now();
      const body = await open('csv');
      body.on('error', () => {});
      let text = '';
      for await (const part of body) {
        if (text === '') times.firstByte.push(performance.now() - before);
        text += String(part);
        if (text.includes('call_')) break;
      }
      times.firstLine.push(performance.now() - before);
    }
    // The first whole one grows what every process grows once: compiled code, buffers, connections.
    await readWhole(gateway, await open('json'));
    const before = await gateway.memoryBytes();
    const start = performance.now();
    const most = await readWhole(gateway, await open('json'));
    const seconds = (performance.now() - start) / 1_000;
    return [
      {
        name: 'statement of 1,000,000 rows: first byte',
        value: median(times.firstByte),
        goal: { most: 200 },
        unit: 'ms',
      },
      { name: 'statement of 1,000,000 rows: first movement', value: median(times.firstLine), unit: 'ms' },
      {
        name: 'statement of 1,000,000 rows: gateway memory growth',
        value: Math.max(0, most - before) / 1_048_576,
        goal: { most: 32 },
        unit: 'MB',
      },
      { name: 'statement of 1,000,000 rows: the whole of it', value: seconds, unit: 's' },
    ];
  } finally {
    await client.end();
    await dispatcher.destroy();
    await gateway.stop();
    await database.drop();
  }
}

/** Reads to the end and answers the most memory the gateway had on the way. Throws when anything is missing. */
async function readWhole(gateway: Child, body: AsyncIterable<unknown>): Promise<number> {
  let [lines, sampledAt, most, tail] = [0, 0, 0, ''];
  for await (const part of body) {
    const text = tail + String(part);
    const end = text.lastIndexOf('\n');
    lines += text.slice(0, end + 1).split('"type":"settle","credits"').length - 1;
    tail = text.slice(end + 1);
    if (lines - sampledAt > ROWS / MEMORY_SAMPLES) {
      sampledAt = lines;
      most = Math.max(most, await gateway.memoryBytes());
    }
  }
  const closing = formatCredits(-CHARGE_MICROS * BigInt(ROWS + ROWS_BEFORE));
  if (lines + 1 !== ROWS || !tail.includes(`"closing_balance":"${closing}"`)) {
    throw new Error(`the statement had ${lines + 1} movements and ended with ${tail.slice(-300)}`);
  }
  return most;
}

/** A million settled calls evenly over the month, and some before it, of the gateway's one buyer. */
async function seedMonth(client: pg.Client, month: string): Promise<void> {
  await client.query(
    `INSERT INTO ledger_accounts (organization_id, currency, kind)
     SELECT id, 'test', 'earnings' FROM organizations WHERE name = 'seller'`,
  );
  await client.query(
    `INSERT INTO ledger_accounts (currency, kind) VALUES ('test', 'fees') ON CONFLICT DO NOTHING`,
  );
  await client.query(
    `INSERT INTO ledger_journal (id, kind, debit, credit, fee_account, amount, fee, held, key_id, agent_id, created_at)
     SELECT gen_random_uuid(), 'settle', buyer.id, seller.id, fees.id, $4, 30, $4, 'key_' || md5((n % 10)::text), 'agt_pdf_summariser_v2',
       $1::timestamptz + n * interval '28 days' / $2::int
     FROM generate_series(-$3::int, $2::int - 1) n,
       (SELECT a.id FROM ledger_accounts a JOIN organizations o ON o.id = a.organization_id WHERE o.name = 'buyer' AND a.kind = 'balance') buyer,
       (SELECT id FROM ledger_accounts WHERE kind = 'earnings') seller, (SELECT id FROM ledger_accounts WHERE kind = 'fees') fees`,
    [`${month}-01T00:00:00Z`, ROWS, ROWS_BEFORE, CHARGE_MICROS],
  );
  // A journal is numbered in the order of its times, and the gateway's grant is of today.
  await client.query('SET session_replication_role = replica');
  await client.query(
    `UPDATE ledger_journal SET seq = nextval('ledger_journal_seq_seq') WHERE kind = 'grant'`,
  );
  await client.query('RESET session_replication_role');
  await client.query('VACUUM ANALYZE ledger_journal');
}

function lastMonth(): string {
  const now = new Date();
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - 1)).toISOString().slice(0, 7);
}
