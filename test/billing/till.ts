import { newId } from '../../src/base/ids.ts';
import type { Currency } from '../../src/base/money.ts';
import type { BillingDeps } from '../../src/billing/deps.ts';
import { startTopUp, type TopUpWish } from '../../src/billing/start-top-up.ts';
import { handleStripeEvent, type Handled } from '../../src/billing/stripe-events.ts';
import { openStripe, type StripeOptions } from '../../src/billing/stripe.ts';
import { findTopUp, topUpId, type TopUp } from '../../src/billing/top-ups.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { openAccount } from '../../src/ledger/accounts.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import { createTestDatabase } from '../support/database.ts';
import { openDatabaseClock, type DatabaseClock } from '../support/database-clock.ts';
import { startStripe, type StripeStandIn } from '../support/stripe.ts';

export type Buyer = { organizationId: string; currency: Currency; accountId: bigint; keyId: string };

/** What one buyer's books say, in credits. */
export type Money = { balance: number; frozen: number; reversed: number; owed: number };

/** Billing on a database of its own, with a Stripe beside it and a clock the test turns. */
export type Till = {
  deps: BillingDeps;
  database: Database;
  stripe: StripeStandIn;
  /** Lines of the log, so that a test can look for one. */
  lines: string[];
  clock: DatabaseClock;
  /** How far Stripe's own clock is behind that. */
  stripeClock: { behindMs: number };
  /** Billing in another process, or with another Stripe. */
  openDeps(options?: StripeOptions | null): BillingDeps;
  newBuyer(currency?: Currency): Promise<Buyer>;
  load(buyer: Buyer, cents: number, wish?: Partial<TopUpWish>): Promise<TopUp>;
  /** A load that is paid at Stripe; its events are left for the test to deliver. */
  paidLoad(
    buyer: Buyer,
    cents: number,
    wish?: Partial<TopUpWish>,
  ): Promise<{ topUp: TopUp; intentId: string }>;
  /** Delivers what has happened at Stripe since the last time, in order. */
  deliverAll(): Promise<Handled[]>;
  /** Events that were not delivered yet; the test delivers them itself. */
  takeEvents(): StripeStandIn['events'];
  read(topUp: TopUp): Promise<TopUp>;
  money(buyer: Buyer): Promise<Money>;
  spend(buyer: Buyer, credits: number): Promise<string>;
  /** Broken promises of the ledger and of the top-ups of one buyer; empty when the books are right. */
  faults(buyer: Buyer): Promise<string[]>;
  close(): Promise<void>;
};

export async function openTill(options: { isLive?: boolean; maxConnections?: number } = {}): Promise<Till> {
  const testDatabase = await createTestDatabase();
  const lines: string[] = [];
  const database = openDatabase(testDatabase.url, {
    log: () => {},
    maxConnections: options.maxConnections ?? 10,
  });
  const { db, pool } = database;
  const clock = openDatabaseClock(database);
  await clock.set(Date.parse('2026-11-10T12:00:00Z'));
  const stripeClock = { behindMs: 0 };
  const stripe = await startStripe({
    isLive: options.isLive ?? false,
    now: () => clock.now() - stripeClock.behindMs,
  });
  const openDeps = (given: StripeOptions | null = stripe.options): BillingDeps => ({
    db,
    stripe: given ? openStripe(given) : undefined,
    publicUrl: 'https://sentinel.example.com',
    log: (level, message) => void lines.push(`${level}: ${message}`),
  });
  const deps = openDeps();
  const ledger = createLedger(database, () => {});
  const { id: sellerId } = await db.transaction((tx) => insertOrganization(tx, 'Seller'));
  let taken = 0;

  const load: Till['load'] = (buyer, cents, wish = {}) =>
    startTopUp(deps, {
      ...buyer,
      amountCents: BigInt(cents),
      savesCard: false,
      idempotencyKey: undefined,
      ...wish,
    });
  const takeEvents = () => {
    const events = stripe.events.slice(taken);
    taken = stripe.events.length;
    return events;
  };

  return {
    deps,
    database,
    stripe,
    lines,
    clock,
    stripeClock,
    openDeps,
    newBuyer: (currency = 'test') =>
      db.transaction(async (tx) => {
        const { id: organizationId } = await insertOrganization(tx, 'Buyer');
        const accountId = await openAccount(tx, organizationId, currency, 'balance');
        return { organizationId, currency, accountId, keyId: newId('key') };
      }),
    load,
    paidLoad: async (buyer, cents, wish) => {
      const topUp = await load(buyer, cents, wish);
      const intent = stripe.pay(topUp.sessionId ?? '');
      return { topUp, intentId: intent.id };
    },
    takeEvents,
    deliverAll: async () => {
      const handled: Handled[] = [];
      for (const event of takeEvents()) handled.push(await handleStripeEvent(deps, event));
      return handled;
    },
    read: async (topUp) => (await findTopUp(db, topUpId(topUp))) as TopUp,
    money: async (buyer) => {
      const { rows } = await pool.query<Money>(
        `SELECT (SELECT posted FROM ledger_accounts WHERE id = $1)::float8 / 1e6 AS balance,
           coalesce((SELECT posted FROM ledger_accounts WHERE organization_id = $2 AND currency = $3
             AND kind = 'frozen'), 0)::float8 / 1e6 AS frozen,
           coalesce(sum(reversed_micros), 0)::float8 / 1e6 AS reversed, coalesce(sum(owed_micros), 0)::float8 / 1e6 AS owed
         FROM top_ups WHERE account_id = $1`,
        [buyer.accountId, buyer.organizationId, buyer.currency],
      );
      return rows[0] as Money;
    },
    spend: async (buyer, credits) => {
      const callId = newId('call');
      const amountMicros = BigInt(credits) * 1_000_000n;
      const accounts = await db.transaction(async (tx) => ({
        seller: await openAccount(tx, sellerId, buyer.currency, 'earnings'),
        fees: await openAccount(tx, null, buyer.currency, 'fees'),
      }));
      await ledger.hold({
        ...accounts,
        callId,
        buyer: buyer.accountId,
        amountMicros,
        ttlMs: 60_000,
        keyId: buyer.keyId,
        agentId: 'agt_test_v1',
        meters: [],
        idempotency: undefined,
      });
      await ledger.settle(callId, amountMicros, 0n);
      return callId;
    },
    faults: async (buyer) => {
      const { rows } = await pool.query<{ fault: string }>(FAULTS, [
        buyer.accountId,
        buyer.organizationId,
        buyer.currency,
      ]);
      return rows.map(({ fault }) => fault);
    },
    close: async () => {
      await stripe.close();
      await ledger.close();
      await database.close();
      await testDatabase.close();
    },
  };
}

const FAULTS = `
WITH own AS (
  SELECT * FROM ledger_accounts WHERE id = $1 OR (organization_id = $2 AND currency = $3 AND kind = 'frozen')
), sums AS (
  SELECT a.id, a.kind, a.posted, coalesce((
    SELECT sum(CASE WHEN j.debit = a.id THEN -j.amount ELSE j.amount - j.fee END)
    FROM ledger_journal j WHERE a.id IN (j.debit, j.credit)), 0) AS journal
  FROM own a
)
SELECT 'the ' || kind || ' account has ' || posted || ' and its journal ' || journal AS fault FROM sums WHERE posted <> journal
UNION ALL
SELECT 'the frozen account has ' || coalesce(max(s.posted), 0) || ' and the lots ' || (SELECT coalesce(sum(frozen_micros), 0) FROM top_ups WHERE account_id = $1)
FROM sums s WHERE kind = 'frozen'
HAVING coalesce(max(s.posted), 0) <> (SELECT coalesce(sum(frozen_micros), 0) FROM top_ups WHERE account_id = $1)
UNION ALL
SELECT 'lot ' || t.id || ' was loaded ' || count(j.id) || ' times' FROM top_ups t
LEFT JOIN ledger_journal j ON j.subject = t.id AND j.kind = 'top_up'
WHERE t.account_id = $1 GROUP BY t.id, t.status HAVING count(j.id) <> (CASE WHEN t.status = 'paid' THEN 1 ELSE 0 END)
UNION ALL
SELECT 'lot ' || t.id || ' says ' || t.reversed_micros || ' reversed and the journal ' || j.reversed FROM top_ups t
CROSS JOIN LATERAL (SELECT coalesce(sum(CASE kind WHEN 'top_up_reversal' THEN amount ELSE -amount END), 0) AS reversed
  FROM ledger_journal WHERE subject = t.id AND kind IN ('top_up_reversal', 'top_up_restored')) j
WHERE t.account_id = $1 AND t.reversed_micros <> j.reversed
UNION ALL
SELECT 'of lot ' || t.id || ' ' || r.failed || ' refunds failed and ' || e.told || ' were told' FROM top_ups t
CROSS JOIN LATERAL (SELECT count(*) AS failed FROM card_refunds WHERE top_up_id = t.id AND state IN ('failed', 'canceled')) r
CROSS JOIN LATERAL (SELECT count(*) AS told FROM events
  WHERE type = 'card_refund.failed' AND data ->> 'load_id' = 'top_' || replace(t.id::text, '-', '')) e
WHERE t.account_id = $1 AND r.failed <> e.told
UNION ALL
SELECT 'top-up ' || t.id || ' has ' || count(e.id) || ' events' FROM top_ups t
LEFT JOIN events e ON e.type = 'credits.loaded' AND e.data ->> 'load_id' = 'top_' || replace(t.id::text, '-', '')
WHERE t.account_id = $1 GROUP BY t.id, t.status HAVING count(e.id) <> (CASE WHEN t.status = 'paid' THEN 1 ELSE 0 END)`;
