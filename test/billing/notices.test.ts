import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eq } from 'drizzle-orm';
import { events } from '../../src/audit/tables.ts';
import { newId } from '../../src/base/ids.ts';
import { silentLog } from '../../src/base/log.ts';
import { setBalanceAlert } from '../../src/billing/alerts.ts';
import { setBudget } from '../../src/governance/budgets.ts';
import { tellThresholds } from '../../src/billing/notices.ts';
import { changeKeyCaps } from '../../src/governance/change-caps.ts';
import { issueKey } from '../../src/governance/issue-key.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { markRevoked } from '../../src/identity/keys.ts';
import { grantCredits, openAccount, transfer } from '../../src/ledger/accounts.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { openDatabaseClock, type DatabaseClock } from '../support/database-clock.ts';
import { assertDescribed } from '../support/events.ts';

let testDatabase: TestDatabase;
let database: Database;
let clock: DatabaseClock;
before(async () => {
  testDatabase = await createTestDatabase();
  database = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 10 });
  clock = openDatabaseClock(database);
  await clock.set(NOON);
});
after(async () => {
  await database.close();
  await testDatabase.close();
});

const NOON = Date.parse('2026-11-21T12:00:00Z');
const DAY_MS = 86_400_000;
const CREDIT = 1_000_000n;
async function tell(ms = NOON): Promise<void> {
  if (ms !== clock.now()) await clock.set(ms);
  await tellThresholds({ db: database.db, log: silentLog });
}

type Tenant = { organizationId: string; accountId: bigint };

async function newTenant(credits = 0n): Promise<Tenant> {
  return database.db.transaction(async (tx) => {
    const { id: organizationId } = await insertOrganization(tx, 'Buyer');
    if (credits > 0n) {
      const grant = {
        id: newId('txn'),
        organizationId,
        currency: 'live',
        amountMicros: credits * CREDIT,
      } as const;
      await grantCredits(tx, grant);
    }
    return { organizationId, accountId: await openAccount(tx, organizationId, 'live', 'balance') };
  });
}

/** What a meter counts, as holds would have left it on that day. */
async function use(
  meterOf: 'ledger_accounts' | 'api_keys',
  id: bigint | string,
  day: string,
  credits: bigint,
) {
  await database.pool.query(
    `UPDATE spend_meters SET day = $2, used_day = $3, used_month = $3, used_total = $3
     WHERE id = (SELECT meter_id FROM ${meterOf} WHERE id = $1)`,
    [id, day, credits * CREDIT],
  );
}

async function told({ organizationId }: Tenant): Promise<string[]> {
  const rows = await database.db
    .select()
    .from(events)
    .where(eq(events.organizationId, organizationId))
    .orderBy(events.occurredAt, events.id);
  return rows.map(({ type, data }) => {
    assertDescribed(type, data);
    const { of, window, percent, used, balance } = data as Record<string, string>;
    return type === 'balance.low' ? `low ${balance}` : `${of} ${window} ${percent} ${used}`;
  });
}

test('each share of a cap is told once, and all that were passed at once are told', async () => {
  const tenant = await newTenant();
  await setBudget(database.db, tenant.accountId, { capDayMicros: 100n * CREDIT }, new Date(NOON));
  await use('ledger_accounts', tenant.accountId, '2026-11-21', 49n);
  await tell();
  assert.deepEqual(await told(tenant), []);
  await use('ledger_accounts', tenant.accountId, '2026-11-21', 50n);
  await tell();
  await tell();
  assert.deepEqual(await told(tenant), ['organization day 50 50']);
  await use('ledger_accounts', tenant.accountId, '2026-11-21', 100n);
  await tell();
  await tell();
  assert.deepEqual(await told(tenant), [
    'organization day 50 50',
    'organization day 80 100',
    'organization day 100 100',
  ]);
});

test('a new day and a new month are told anew, and the life of a cap once', async () => {
  const tenant = await newTenant();
  const caps = { capDayMicros: 100n * CREDIT, capMonthMicros: 100n * CREDIT, capTotalMicros: 100n * CREDIT };
  await setBudget(database.db, tenant.accountId, caps, new Date(NOON));
  await use('ledger_accounts', tenant.accountId, '2026-11-21', 60n);
  await tell();
  assert.deepEqual(
    await told(tenant),
    ['day', 'month', 'total'].map((window) => `organization ${window} 50 60`),
  );
  await tell(NOON + DAY_MS);
  assert.equal((await told(tenant)).length, 3, 'nothing is used on a day without a hold');
  await use('ledger_accounts', tenant.accountId, '2026-11-22', 60n);
  await tell(NOON + DAY_MS);
  assert.deepEqual((await told(tenant)).slice(3), ['organization day 50 60']);
  await use('ledger_accounts', tenant.accountId, '2026-12-01', 60n);
  await tell(NOON + 10 * DAY_MS);
  assert.deepEqual((await told(tenant)).slice(4), ['organization day 50 60', 'organization month 50 60']);
});

test('what was told long ago is forgotten when something new is told, and nothing of the window', async () => {
  const tenant = await newTenant();
  await setBudget(
    database.db,
    tenant.accountId,
    { capDayMicros: 100n * CREDIT, capTotalMicros: 100n * CREDIT },
    new Date(NOON),
  );
  const remembered = async () => {
    const { rows } = await database.pool.query<{ name: string }>(
      `SELECT n.window || ' ' || n.starts_on AS name FROM budget_notices n
       JOIN ledger_accounts a ON a.meter_id = n.meter_id WHERE a.id = $1 ORDER BY 1`,
      [tenant.accountId],
    );
    return rows.map(({ name }) => name);
  };
  for (const [day, later] of [
    ['2026-11-21', 0],
    ['2026-11-22', 1],
    ['2027-01-01', 41],
  ] as const) {
    await use('ledger_accounts', tenant.accountId, day, 60n);
    await tell(NOON + later * DAY_MS);
  }
  assert.deepEqual(await remembered(), ['day 2026-11-22', 'day 2027-01-01', 'total 1970-01-01']);
  assert.equal((await told(tenant)).length, 4);
});

test('there may be more used caps than a statement has parameters', async () => {
  const tenant = await newTenant();
  await setBudget(database.db, tenant.accountId, { capTotalMicros: 100n * CREDIT }, new Date(NOON));
  await use('ledger_accounts', tenant.accountId, '2026-11-21', 60n);
  // Of keys that were revoked long ago.
  const { rows } = await database.pool.query<{ id: string }>(
    `INSERT INTO spend_meters (day, cap_total, used_day, used_month, used_total)
     SELECT '2026-11-20', 2, 2, 2, 2 FROM generate_series(1, 70000) RETURNING id`,
  );
  await tell();
  assert.deepEqual(await told(tenant), ['organization total 50 60']);
  await database.pool.query('DELETE FROM spend_meters WHERE id = ANY ($1)', [rows.map(({ id }) => id)]);
});

test("a key's caps are told to its organization with the key, and a revoked key's are not", async () => {
  const tenant = await newTenant();
  const { organizationId } = tenant;
  const keys = [];
  for (const caps of [{ capTotalMicros: 10n * CREDIT }, { capTotalMicros: 10n * CREDIT }, {}]) {
    keys.push(await issueKey(database.db, { organizationId, currency: 'live', caps }));
  }
  const [first, revoked, later] = keys;
  assert.ok(first && revoked && later);
  const change = { keyId: later.id, organizationId, currency: 'live', now: new Date(NOON) } as const;
  await changeKeyCaps(database.db, { ...change, caps: { capMonthMicros: 10n * CREDIT } });
  await database.db.transaction((tx) => markRevoked(tx, revoked.id, organizationId));
  for (const { id } of [first, revoked, later]) await use('api_keys', id, '2026-11-21', 8n);
  await tell();
  assert.deepEqual((await told(tenant)).toSorted(), [
    'key month 50 8',
    'key month 80 8',
    'key total 50 8',
    'key total 80 8',
  ]);
  const rows = await database.db.select().from(events).where(eq(events.organizationId, organizationId));
  assert.deepEqual(
    new Set(rows.map(({ data }) => (data as { key_id: string }).key_id)),
    new Set([first.id, later.id]),
  );
});

test('another cap is told anew, and a cap of nothing never', async () => {
  const tenant = await newTenant();
  const set = (capTotalMicros: bigint) =>
    setBudget(database.db, tenant.accountId, { capTotalMicros, capDayMicros: 0n }, new Date(NOON));
  await set(100n * CREDIT);
  await use('ledger_accounts', tenant.accountId, '2026-11-21', 60n);
  await tell();
  await set(110n * CREDIT);
  await tell();
  await set(0n);
  await tell();
  assert.deepEqual(await told(tenant), ['organization total 50 60', 'organization total 50 60']);
});

test('ten processes tell one thing once', async () => {
  const tenant = await newTenant(5n);
  await setBudget(database.db, tenant.accountId, { capTotalMicros: 100n * CREDIT }, new Date(NOON));
  await use('ledger_accounts', tenant.accountId, '2026-11-21', 60n);
  await database.db.transaction((tx) => setBalanceAlert(tx, { ...tenant, currency: 'live' }, 6n * CREDIT));
  await Promise.all(Array.from({ length: 10 }, () => tell()));
  assert.deepEqual((await told(tenant)).toSorted(), ['low 5', 'organization total 50 60']);
});

test('a low balance is told once until it is above again, and then again', async () => {
  const tenant = await newTenant(10n);
  const owner = { ...tenant, currency: 'live' } as const;
  const set = (threshold: bigint) =>
    database.db.transaction((tx) => setBalanceAlert(tx, owner, threshold * CREDIT));
  const funding = await database.db.transaction((tx) => openAccount(tx, null, 'live', 'funding'));
  const move = (credits: bigint) =>
    database.db.transaction((tx) =>
      transfer(tx, {
        uuid: newId('txn').slice(4),
        kind: credits > 0n ? 'grant' : 'top_up_reversal',
        debit: credits > 0n ? funding : tenant.accountId,
        credit: credits > 0n ? tenant.accountId : funding,
        amountMicros: (credits > 0n ? credits : -credits) * CREDIT,
      }),
    );
  await set(10n);
  await tell();
  assert.deepEqual(await told(tenant), [], 'the threshold itself is not below it');
  await move(-1n);
  await tell();
  await move(-1n);
  await tell();
  assert.deepEqual(await told(tenant), ['low 9']);
  await move(3n);
  await tell();
  await move(-4n);
  await tell();
  assert.deepEqual(await told(tenant), ['low 9', 'low 7']);
  await set(10n);
  await tell();
  assert.equal((await told(tenant)).length, 2, 'the same threshold set again is nothing new');
  await set(9n);
  await tell();
  assert.equal((await told(tenant)).length, 3);
});

test('an organization that never had credits is told that it has none', async () => {
  const { id: organizationId } = await database.db.transaction((tx) => insertOrganization(tx, 'Buyer'));
  await database.db.transaction((tx) => setBalanceAlert(tx, { organizationId, currency: 'test' }, CREDIT));
  await tell();
  assert.deepEqual(await told({ organizationId, accountId: 0n }), ['low 0']);
});

test('the event and what is remembered of it are written together or not at all', async () => {
  const tenant = await newTenant(1n);
  await setBudget(database.db, tenant.accountId, { capTotalMicros: 2n * CREDIT }, new Date(NOON));
  await use('ledger_accounts', tenant.accountId, '2026-11-21', 1n);
  await database.db.transaction((tx) => setBalanceAlert(tx, { ...tenant, currency: 'live' }, 2n * CREDIT));
  await database.pool.query('ALTER TABLE events RENAME TO events_elsewhere');
  await assert.rejects(tell());
  await database.pool.query('ALTER TABLE events_elsewhere RENAME TO events');
  await tell();
  assert.deepEqual((await told(tenant)).toSorted(), ['low 1', 'organization total 50 1']);
});
