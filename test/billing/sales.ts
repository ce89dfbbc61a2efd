import { receiptTemplate } from '../../src/audit/receipts.ts';
import { hashJson } from '../../src/base/canonical-json.ts';
import { newId, uuidOfId } from '../../src/base/ids.ts';
import { invariant } from '../../src/base/invariant.ts';
import { silentLog } from '../../src/base/log.ts';
import type { Currency } from '../../src/base/money.ts';
import type { BillingDeps } from '../../src/billing/deps.ts';
import type { Claimant } from '../../src/billing/open-dispute.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { grantCredits, openAccount, type AccountKind } from '../../src/ledger/accounts.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import { createTestDatabase } from '../support/database.ts';
import { openDatabaseClock, type DatabaseClock } from '../support/database-clock.ts';
import { assertDescribed } from '../support/events.ts';

/** Somebody who buys and somebody who sells, with nobody else's money on their accounts. */
export type Parties = { currency: Currency; buyer: Claimant; sellerId: string };

/** What was bought; what a test does not care about is filled in. */
export type Wish = {
  amountMicros?: bigint;
  feeMicros?: bigint;
  heldMicros?: bigint;
  keyId?: string;
  agentId?: string;
  agentVersion?: string;
  input?: string;
  output?: string;
  startedAt?: Date;
  hasReceipt?: boolean;
};

/** What the books say about both sides, in micro-credits; `faults` names what should never be. */
export type Books = Record<AccountKind, bigint> & { faults: string[] };

/** Settled calls, and the billing room that looks after them, on a database of their own. */
export type Sales = {
  database: Database;
  deps: BillingDeps;
  /** The billing room's; calls are settled at the database's own time. */
  clock: DatabaseClock;
  newParties(currency?: Currency, credits?: bigint): Promise<Parties>;
  /** Settles a call as the ledger does; its id. */
  sell(parties: Parties, wish?: Wish): Promise<string>;
  /** A call that was held and given back. */
  refundCall(parties: Parties): Promise<string>;
  books(parties: Parties): Promise<Books>;
  /** What an organization was told, oldest first. */
  eventsOf(organizationId: string): Promise<{ type: string; data: Record<string, unknown> }[]>;
  close(): Promise<void>;
};

export const CREDIT = 1_000_000n;

export async function openSales(): Promise<Sales> {
  const testDatabase = await createTestDatabase();
  const database = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 8 });
  const ledger = createLedger(database, silentLog);
  const { db, pool } = database;
  const clock = openDatabaseClock(database);

  async function hold({ currency, buyer, sellerId }: Parties, wish: Wish) {
    const callId = newId('call');
    const amountMicros = wish.amountMicros ?? 10n * CREDIT;
    const keyId = wish.keyId ?? `key_of_${buyer.organizationId}`;
    const agentId = wish.agentId ?? 'agt_test_v1';
    const heldMicros = wish.heldMicros ?? amountMicros;
    const accounts = await db.transaction(async (tx) => ({
      seller: await openAccount(tx, sellerId, currency, 'earnings'),
      fees: await openAccount(tx, null, currency, 'fees'),
    }));
    const placed = await ledger.hold({
      callId,
      buyer: buyer.balanceId,
      ...accounts,
      amountMicros: heldMicros,
      ttlMs: 60_000,
      keyId,
      agentId,
      meters: [],
      idempotency: undefined,
    });
    invariant(placed.kind === 'placed', 'the buyer can afford it');
    return { callId, amountMicros, heldMicros, keyId, agentId };
  }

  return {
    database,
    deps: { db, stripe: undefined, publicUrl: 'http://localhost', log: silentLog },
    clock,
    newParties: (currency = 'live', credits = 1_000n) =>
      db.transaction(async (tx) => {
        const [buyer, seller] = [
          await insertOrganization(tx, 'Buyer'),
          await insertOrganization(tx, 'Seller'),
        ];
        const grant = {
          id: newId('txn'),
          organizationId: buyer.id,
          currency,
          amountMicros: credits * CREDIT,
        };
        await grantCredits(tx, grant);
        const balanceId = await openAccount(tx, buyer.id, currency, 'balance');
        return { currency, buyer: { organizationId: buyer.id, currency, balanceId }, sellerId: seller.id };
      }),
    sell: async (parties, wish = {}) => {
      const { callId, amountMicros, heldMicros, keyId, agentId } = await hold(parties, wish);
      const feeMicros = wish.feeMicros ?? (amountMicros * 300n) / 10_000n;
      const template = receiptTemplate({
        agentId,
        agentVersion: wish.agentVersion ?? '1.0.0',
        callId,
        chargedMicros: amountMicros,
        code: undefined,
        currency: parties.currency,
        endedAt: new Date().toISOString(),
        feeMicros,
        heldMicros,
        inputHash: hashJson(wish.input ?? callId),
        keyId,
        manifestHash: hashJson('manifest'),
        organizationId: parties.buyer.organizationId,
        outputHash: hashJson(wish.output ?? 'answer'),
        startedAt: (wish.startedAt ?? new Date()).toISOString(),
      });
      const receipt = { buyer: parties.buyer.balanceId, template };
      const ended = await ledger.settle(
        callId,
        amountMicros,
        feeMicros,
        wish.hasReceipt === false ? undefined : receipt,
      );
      invariant(ended.kind === 'done', 'an open hold is settled');
      return callId;
    },
    refundCall: async (parties) => {
      const { callId } = await hold(parties, {});
      await ledger.refund(callId);
      return callId;
    },
    books: async ({ buyer, sellerId, currency }) => {
      const { rows } = await pool.query<{ kind: AccountKind; posted: string }>(
        `SELECT kind, sum(posted) AS posted FROM ledger_accounts
         WHERE organization_id IN ($1, $2) AND currency = $3 GROUP BY kind`,
        [buyer.organizationId, sellerId, currency],
      );
      const zero = {
        balance: 0n,
        frozen: 0n,
        earnings: 0n,
        payable: 0n,
        disputed: 0n,
        fees: 0n,
        funding: 0n,
      };
      const posted = Object.fromEntries(rows.map((row) => [row.kind, BigInt(row.posted)]));
      const { rows: faults } = await pool.query<{ fault: string }>(FAULTS);
      return { ...zero, ...posted, faults: faults.map(({ fault }) => fault) };
    },
    eventsOf: async (organizationId) => {
      const { rows } = await pool.query<{ type: string; data: Record<string, unknown> }>(
        'SELECT type, data FROM events WHERE organization_id = $1 ORDER BY occurred_at, type',
        [organizationId],
      );
      for (const { type, data } of rows) assertDescribed(type, data);
      return rows;
    },
    close: async () => {
      await ledger.close();
      await database.close();
      await testDatabase.close();
    },
  };
}

/** The call's UUID as the tables have it. */
export function uuidOf(callId: string): string {
  const uuid = uuidOfId('call', callId);
  invariant(uuid !== undefined, 'a call has an id');
  return uuid;
}

// Of everybody at once: what one pair does must not show on another's accounts either.
const FAULTS = `
  WITH legs AS (
    SELECT debit AS account, -amount AS change FROM ledger_journal
    UNION ALL SELECT credit, amount - fee FROM ledger_journal
    UNION ALL SELECT fee_account, fee FROM ledger_journal WHERE fee > 0
  )
  SELECT 'a ' || a.kind || ' account has ' || a.posted || ' and its journal says ' || coalesce(sum(l.change), 0) AS fault
    FROM ledger_accounts a LEFT JOIN legs l ON l.account = a.id
    GROUP BY a.id HAVING a.posted <> coalesce(sum(l.change), 0)
  UNION ALL
  SELECT 'the ' || currency || ' accounts sum to ' || sum(posted) FROM ledger_accounts
    GROUP BY currency HAVING sum(posted) <> 0
  UNION ALL
  SELECT 'a call charged ' || s.amount || ' gave back ' || sum(r.amount)
    FROM ledger_journal s JOIN ledger_journal r ON r.subject = s.id AND r.kind IN ('reversal', 'fee_reversal')
    GROUP BY s.id HAVING sum(r.amount) > s.amount
  UNION ALL
  SELECT 'a dispute refunded ' || d.refunded_micros || ' and moved ' || coalesce(sum(r.amount), 0)
    FROM disputes d LEFT JOIN ledger_journal r ON r.subject = d.call_id AND r.kind IN ('reversal', 'fee_reversal')
    GROUP BY d.id HAVING coalesce(d.refunded_micros, 0) <> coalesce(sum(r.amount), 0)
  UNION ALL
  SELECT 'a seller has ' || coalesce(a.posted, 0) || ' set aside for open claims of ' || coalesce(d.share, 0)
    FROM (SELECT * FROM ledger_accounts WHERE kind = 'disputed') a
    FULL JOIN (SELECT seller_id, currency, sum(claimed_micros - claimed_fee_micros) AS share
      FROM disputes WHERE status = 'open' GROUP BY 1, 2) d
    ON d.seller_id = a.organization_id AND d.currency = a.currency
    WHERE coalesce(a.posted, 0) <> coalesce(d.share, 0)
  UNION ALL
  SELECT 'a dispute that is ' || d.status || ' was told ' || count(e.id) || ' times'
    FROM disputes d LEFT JOIN events e ON e.data ->> 'dispute_id' = 'dsp_' || replace(d.id::text, '-', '')
    GROUP BY d.id HAVING count(e.id) <> CASE WHEN d.status = 'open' OR d.decided_by = 'ledger' THEN 2 ELSE 4 END`;
