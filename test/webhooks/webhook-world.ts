import { insertEvent, type EventType } from '../../src/audit/events.ts';
import { systemClock } from '../../src/base/clock.ts';
import { idOfUuid, newId, uuidOfId } from '../../src/base/ids.ts';
import { invariant } from '../../src/base/invariant.ts';
import type { JsonObject } from '../../src/base/json.ts';
import { silentLog } from '../../src/base/log.ts';
import { openDatabase, type Database } from '../../src/db/db.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { openAccount } from '../../src/ledger/accounts.ts';
import { openWebhooks, type Webhooks } from '../../src/webhooks/deps.ts';
import { insertEndpoint, type WebhookOwner } from '../../src/webhooks/endpoints.ts';
import type { SenderOptions } from '../../src/webhooks/sender.ts';
import type { FlightLimits } from '../../src/webhooks/flights.ts';
import { createTestDatabase } from '../support/database.ts';
import { openDatabaseClock, type DatabaseClock } from '../support/database-clock.ts';

/** The end of one call, as the journal has it. */
export type CallEnd = {
  buyer: bigint;
  seller: bigint;
  kind?: 'settle' | 'refund' | 'expire';
  amount?: bigint;
  fee?: bigint;
  held?: bigint;
};

/** One database, as many gateway processes as a test wants, and the time it is for them. */
export type WebhookWorld = {
  url: string;
  database: Database;
  /** Stands still; a test moves it. */
  clock: DatabaseClock;
  openProcess(options?: Partial<SenderOptions> & { limits?: FlightLimits }): Webhooks;
  newOwner(currency?: WebhookOwner['currency']): Promise<WebhookOwner>;
  newEndpoint(
    owner: WebhookOwner,
    url: string,
    eventTypes?: EventType[],
  ): Promise<{ id: string; uuid: string; secret: string }>;
  /** Something that happened, told in a transaction of its own. */
  happen(owner: WebhookOwner, data?: JsonObject): Promise<void>;
  accountOf(owner: WebhookOwner, kind: 'balance' | 'earnings'): Promise<bigint>;
  close(): Promise<void>;
};

export async function openWebhookWorld(): Promise<WebhookWorld> {
  const testDatabase = await createTestDatabase();
  const database = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 6 });
  const clock = openDatabaseClock(database);
  await clock.set(Date.now());
  const opened: (() => Promise<void>)[] = [];

  return {
    url: testDatabase.url,
    database,
    clock,
    openProcess: (options = {}) => {
      const own = openDatabase(testDatabase.url, { log: silentLog, maxConnections: 4 });
      const webhooks = openWebhooks({
        db: own.db,
        allowEndpoint: (url) => url.hostname === '127.0.0.1',
        clock: systemClock,
        log: silentLog,
        ...options,
      });
      opened.push(async () => {
        await webhooks.close();
        await own.close();
      });
      return webhooks;
    },
    newOwner: async (currency = 'live') => {
      const { id } = await database.db.transaction((tx) => insertOrganization(tx, 'Owner'));
      return { organizationId: id, currency };
    },
    newEndpoint: async (owner, url, eventTypes = []) => {
      const wish = { url, description: '', eventTypes };
      const { endpoint, secret } = await database.db.transaction((tx) => insertEndpoint(tx, owner, wish));
      return { id: endpoint.id, uuid: uuidOfId('whe', endpoint.id) ?? '', secret };
    },
    happen: (owner, data = { amount: '12.5' }) =>
      database.db.transaction((tx) => insertEvent(tx, { ...owner, type: 'credits.loaded', data })),
    accountOf: ({ organizationId, currency }, kind) =>
      database.db.transaction((tx) => openAccount(tx, organizationId, currency, kind)),
    close: async () => {
      for (const end of opened) await end();
      await database.close();
      await testDatabase.close();
    },
  };
}

/** A row of the journal, as the ledger writes one; answers the call's id. */
export async function endCall(
  client: { query(text: string, values: unknown[]): Promise<unknown> },
  end: CallEnd,
): Promise<string> {
  const { kind = 'settle', held = 10_000_000n, buyer, seller } = end;
  const amount = kind === 'settle' ? (end.amount ?? held) : 0n;
  const fee = kind === 'settle' ? (end.fee ?? 0n) : 0n;
  const uuid = uuidOfId('call', newId('call'));
  invariant(uuid !== undefined, 'a new id is one of its kind');
  await client.query(
    `INSERT INTO ledger_journal (id, kind, debit, credit, fee_account, amount, fee, held, key_id, agent_id, created_at)
     VALUES ($1, $2, $3, $4, $4, $5, $6, $7, 'key_1', 'agt_test_v1', clock_timestamp())`,
    [uuid, kind, buyer, seller, amount, fee, held],
  );
  return idOfUuid('call', uuid);
}
