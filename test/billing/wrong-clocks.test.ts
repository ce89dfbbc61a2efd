import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { uuidOfId } from '../../src/base/ids.ts';
import { DISPUTE_WINDOW_MS } from '../../src/billing/dispute-window.ts';
import { getEarnings, releaseEarnings } from '../../src/billing/earnings.ts';
import { ANSWER_MS, openDispute } from '../../src/billing/open-dispute.ts';
import { runScheduledPayouts } from '../../src/billing/payout-jobs.ts';
import { savePayoutSchedule } from '../../src/billing/payout-accounts.ts';
import { violatedConstraint } from '../../src/db/db.ts';
import { openPayees, passed, type Payees } from './payees.ts';
import { CREDIT, type Parties } from './sales.ts';

const MIGRATION = fileURLToPath(new URL('../../migrations/0008_database_clock.sql', import.meta.url));
const DAY_MS = 86_400_000;

let payees: Payees;
before(async () => {
  payees = await openPayees();
});
after(() => payees.close());
beforeEach(() => payees.clock.reset());

test('the database releases nothing that may still be disputed, whoever asks', async () => {
  const parties = await payees.newParties();
  await payees.sell(parties);
  const accountId = await earningsAccount(parties);
  const release = (through: string) =>
    payees.database.pool.query(
      `INSERT INTO earning_releases (account_id, released_through) VALUES ($1, database_now() - ${through})
       ON CONFLICT (account_id) DO UPDATE SET released_through = excluded.released_through`,
      [accountId],
    );
  await refusedBy(
    'earning_releases_wait_for_the_dispute_window',
    release(`interval '7 days' + interval '1 ms'`),
  );
  await release(`interval '7 days'`);
  await refusedBy('earning_releases_wait_for_the_dispute_window', release(`interval '-1 day'`));
});

test('the database refunds no dispute by silence before its time, whoever asks', async () => {
  const dispute = await openOne(await payees.newParties());
  const silence = (more = '') =>
    undone(
      `UPDATE disputes SET status = 'refunded', decided_by = 'silence', refunded_micros = claimed_micros,
         explanation = '', decided_at = now() + interval '8 days' ${more} WHERE id = $1`,
      [dispute.id],
    );
  const early = 'disputes_silence_waits_for_the_deadline';
  await refusedBy(early, silence());
  await refusedBy(early, silence(`, answer_by = now() - interval '1 day'`));
  await payees.clock.set(dispute.answerBy.getTime() - 1);
  await refusedBy(early, silence());
  await payees.clock.set(dispute.answerBy.getTime());
  await silence();
});

test('a dispute leaves its seller 72 hours to answer, by the database', async () => {
  const { id } = await openOne(await payees.newParties());
  const insert = (hours: number) =>
    undone(
      `INSERT INTO disputes SELECT (jsonb_populate_record(d, jsonb_build_object('id', gen_random_uuid(),
         'call_id', gen_random_uuid(), 'answer_by', now() + $2 * interval '1 hour'))).* FROM disputes d WHERE id = $1`,
      [id, hours],
    );
  await refusedBy('disputes_leave_time_to_answer', insert(71));
  await refusedBy('disputes_leave_time_to_answer', insert(72 - 8 * 24));
  await insert(72);
});

test('what a release that ran days ahead left is put right: every sale becomes payable once, and none too early', async () => {
  const parties = await payees.newParties();
  const sell = () => payees.sell(parties, { amountMicros: 10n * CREDIT, feeMicros: 0n });
  await sell();
  await openOne(parties);
  await sell();
  await passed(Date.now() + 1);
  // Eight days ahead, a process released what it found, and wrote down a time that is still to come.
  const wrong = Date.now() + 8 * DAY_MS;
  await payees.clock.at(wrong, () => releaseEarnings(payees.deps));
  assert.equal((await earningsOf(parties)).availableMicros, 20n * CREDIT);
  await passed(Date.now() + 1);
  for (let n = 0; n < 3; n += 1) await sell();
  await passed(Date.now() + 1);

  await migrateAgain();
  const { rows } = await payees.database.pool.query<{ isPast: boolean }>(
    `SELECT released_through <= now() AS "isPast" FROM earning_releases WHERE account_id = $1`,
    [await earningsAccount(parties)],
  );
  assert.deepEqual(rows, [{ isPast: true }]);
  await releaseEarnings(payees.deps);
  assert.equal(
    (await earningsOf(parties)).availableMicros,
    20n * CREDIT,
    'nothing is released a second time',
  );
  assert.equal((await earningsOf(parties)).pendingMicros, 30n * CREDIT);
  await openOne(parties);
  await payees.clock.later(DISPUTE_WINDOW_MS);
  await releaseEarnings(payees.deps);
  const { availableMicros, pendingMicros, inDisputeMicros } = await earningsOf(parties);
  assert.deepEqual([availableMicros, pendingMicros, inDisputeMicros], [50n * CREDIT, 0n, 20n * CREDIT]);
  assert.deepEqual((await payees.books(parties)).faults, []);
});

test('what was passed over when the time that was written had come is found as well', async () => {
  const parties = await payees.newParties();
  await payees.sell(parties, { amountMicros: 3n * CREDIT, feeMicros: 0n });
  await passed(Date.now() + 1);
  await payees.clock.at(Date.now() + 8 * DAY_MS, () => releaseEarnings(payees.deps));
  await payees.sell(parties, { amountMicros: 5n * CREDIT, feeMicros: 0n });
  // Weeks later: releases have gone on from a time by which that was over.
  await payees.clock.later(30 * DAY_MS);
  await releaseEarnings(payees.deps);
  assert.deepEqual(
    [(await earningsOf(parties)).availableMicros, (await earningsOf(parties)).pendingMicros],
    [3n * CREDIT, 5n * CREDIT],
    'it stays with the earnings for good',
  );
  await migrateAgain();
  await releaseEarnings(payees.deps);
  assert.equal((await earningsOf(parties)).availableMicros, 8n * CREDIT);
});

test('books that are right are left as they are by what puts them right', async () => {
  const parties = await payees.newParties();
  await payees.sell(parties);
  await openOne(parties);
  await payees.release();
  await payees.sell(parties);
  await openOne(parties);
  const { pool } = payees.database;
  const read = async () =>
    (
      await pool.query('SELECT * FROM earning_releases WHERE account_id = $1', [
        await earningsAccount(parties),
      ])
    ).rows;
  // As if a week had gone by.
  await payees.clock.later(DISPUTE_WINDOW_MS);
  const before = await read();
  await migrateAgain();
  assert.deepEqual(await read(), before);
});

test('a dispute that a clock ahead opened waits 72 hours from now, and not for days', async () => {
  const fine = await openOne(await payees.newParties());
  await payees.database.pool.query(
    `UPDATE disputes SET opened_at = opened_at + interval '8 days', answer_by = answer_by + interval '8 days' WHERE id = $1`,
    [fine.id],
  );
  await migrateAgain();
  const { rows } = await payees.database.pool.query<{ leftMs: number; isOpened: boolean }>(
    `SELECT extract(epoch FROM answer_by - now())::float8 * 1000 AS "leftMs", opened_at <= now() AS "isOpened"
     FROM disputes WHERE id = $1`,
    [fine.id],
  );
  assert.equal(rows[0]?.isOpened, true);
  assert.ok((rows[0]?.leftMs ?? 0) <= ANSWER_MS && (rows[0]?.leftMs ?? 0) > ANSWER_MS - 60_000);
});

test('a seller whose last scheduled payout is said to be still to come is paid, and once', async () => {
  const payee = await payees.newPayee(2_000n);
  const monday = Date.parse('2026-11-30T06:00:00Z');
  await payees.clock.set(monday - DAY_MS);
  await savePayoutSchedule(payees.deps, payee, { schedule: 'weekly', minimumMicros: CREDIT });
  await payees.database.pool.query(
    `UPDATE payout_accounts SET last_scheduled_on = '2026-12-07' WHERE organization_id = $1`,
    [payee.organizationId],
  );
  await payees.clock.set(monday);
  await runScheduledPayouts(payees.deps);
  await runScheduledPayouts(payees.deps);
  assert.equal((await payees.payoutsOf(payee)).length, 1);
});

async function openOne(parties: Parties) {
  const callId = await payees.sell(parties, { amountMicros: 10n * CREDIT, feeMicros: 0n });
  assert.ok(uuidOfId('call', callId));
  const claim = { callId, reason: 'other', description: 'it was wrong', amountMicros: undefined } as const;
  return (await openDispute(payees.deps, parties.buyer, claim, () => Promise.resolve(undefined))).dispute;
}

function earningsOf({ sellerId, currency }: Parties) {
  return getEarnings(payees.database.db, sellerId, currency);
}

async function earningsAccount({ sellerId, currency }: Parties): Promise<string> {
  const { rows } = await payees.database.pool.query<{ id: string }>(
    `SELECT id FROM ledger_accounts WHERE organization_id = $1 AND currency = $2 AND kind = 'earnings'`,
    [sellerId, currency],
  );
  return rows[0]?.id ?? '';
}

async function refusedBy(constraint: string, work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (error) => violatedConstraint(error) === constraint);
}

/** A statement by itself, taken back. */
async function undone(text: string, values: unknown[]): Promise<void> {
  const client = await payees.database.pool.connect();
  try {
    await client.query('BEGIN');
    await client.query(text, values);
  } finally {
    await client.query('ROLLBACK');
    client.release();
  }
}

/** What the migration does to what is stored, on a database that has only then come to be as it is. */
async function migrateAgain(): Promise<void> {
  const statements = (await readFile(MIGRATION, 'utf8')).split('--> statement-breakpoint');
  const repairs = statements.filter((text) => !/^\s*(--[^\n]*\s*)*CREATE (FUNCTION|TRIGGER)/.test(text));
  assert.ok(repairs.length >= 8);
  const client = await payees.database.pool.connect();
  try {
    await client.query(`BEGIN; SET LOCAL session_replication_role = replica`);
    for (const text of repairs) await client.query(text);
    await client.query('COMMIT');
  } finally {
    client.release(true);
  }
}
