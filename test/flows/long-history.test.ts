import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sql } from 'drizzle-orm';
import { silentLog } from '../../src/base/log.ts';
import { getEarnings } from '../../src/billing/earnings.ts';
import { recordUnrecorded, type Progress } from '../../src/calls/record-unrecorded.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { openAccount } from '../../src/ledger/accounts.ts';
import { BY_AGENT, listUsage } from '../../src/ledger/usage.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { countReads } from '../support/rows-read.ts';

// What is done often, or waited for, must not cost more the longer the history: one of these took 30 s after a
// million calls. So the rows are counted here that the server reads.
const CALLS = 5_000;
const JOURNAL = ['ledger_journal', 'journal_by_debit', 'journal_by_credit', 'ledger_journal_pkey'];
const RECORDS = ['calls', 'calls_pkey'];

let given: TestDatabase;
let database: Database;
let buyer: { organizationId: string; account: bigint };
let seller: { organizationId: string; account: bigint };
before(async () => {
  given = await createTestDatabase();
  database = openDatabase(given.url, { log: silentLog, maxConnections: 2 });
  const party = (kind: 'balance' | 'earnings') =>
    database.db.transaction(async (tx) => {
      const { id } = await insertOrganization(tx, kind);
      return { organizationId: id, account: await openAccount(tx, id, 'live', kind) };
    });
  [buyer, seller] = [await party('balance'), await party('earnings')];
  // A call a minute, the last one an hour ago.
  await database.pool.query(
    `WITH ended AS (
       INSERT INTO ledger_journal (id, kind, debit, credit, fee_account, amount, held, key_id, agent_id, created_at)
       SELECT gen_random_uuid(), 'settle', $1, $2, $2, 10, 10, 'key_1', 'agt_test_v1',
         now() - interval '1 hour' - ($4::int - n) * interval '1 minute'
       FROM generate_series(1, $4::int) n RETURNING *
     )
     INSERT INTO calls (id, organization_id, key_id, agent_id, currency, wire, outcome, held_micros, charged_micros,
       fee_micros, request_id, is_delivered, started_at, ended_at)
     SELECT id, $3, key_id, agent_id, 'live', 'mcp', 'settled', 10, 10, 0, '', true, created_at, created_at FROM ended`,
    [buyer.account, seller.account, buyer.organizationId, CALLS],
  );
  await database.pool.query('UPDATE ledger_accounts SET posted = 10 WHERE id = $1', [seller.account]);
  await database.pool.query('ANALYZE');
});
after(async () => {
  await database.close();
  await given.close();
});

test('a round of the sweeper reads what ended since the last, not what ended ever', async () => {
  let progress: Progress | undefined;
  const first = await countReads(database.db, RECORDS, async (tx) => {
    progress = await recordUnrecorded(tx);
  });
  progress = await recordUnrecorded(database.db, progress);
  const next = await countReads(database.db, RECORDS, (tx) => recordUnrecorded(tx, progress));
  // The first looks at the thousand newest records, for the time of the last.
  assert.ok(first >= 1_000 && first < CALLS, `${first} read`);
  assert.ok(next < 100, `${next} read`);
});

test('the earnings of a seller are told from the first call that is pending, however many are', async () => {
  const read = await countReads(database.db, JOURNAL, async (tx) => {
    // As for a journal that is too large to be read through.
    await tx.execute(sql`SET LOCAL enable_seqscan = off`);
    const { nextReleaseAt } = await getEarnings(tx, seller.organizationId, 'live');
    assert.ok(nextReleaseAt);
  });
  assert.ok(read > 0 && read < 200, `${read} read`);
});

test('where the time of a usage question begins is looked for once, whatever way the server takes', async () => {
  const from = new Date(Date.now() - 10 * 3_600_000);
  const read = await countReads(database.db, JOURNAL, async (tx) => {
    // As it takes it for much of a large journal.
    await tx.execute(sql`SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off`);
    const page = { accountId: buyer.account, from, to: undefined, after: undefined, limit: 10 };
    const { total } = await listUsage(tx, BY_AGENT, page);
    assert.ok(total.calls >= 535n && total.calls <= 541n, String(total.calls));
  });
  // Some twenty steps, of two sides each, and the answer: with no index every one of them is the whole journal.
  assert.ok(read < 60 * CALLS, `${read} read`);
});
