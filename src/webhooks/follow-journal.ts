import { hash } from 'node:crypto';
import { sql, type SQL } from 'drizzle-orm';
import { idOfUuid } from '../base/ids.ts';
import type { JsonObject } from '../base/json.ts';
import { formatCredits, type Currency } from '../base/money.ts';
import type { Db, Tx } from '../db/db.ts';
import { listWriters } from '../ledger/journal-writers.ts';
import { insertDeliveries, type NewDelivery } from './insert-deliveries.ts';
import { webhookCursor } from './tables.ts';

const BATCH = 1_000;

/**
 * Makes deliveries of the calls that were settled or refunded since the last time, for the buyers and sellers
 * that have an endpoint for it, and moves the cursor over them in the same transaction. `isMore`: there was
 * more than one batch.
 *
 * It reads the journal along the indexes of the accounts somebody wants to hear of, and nothing of the
 * others'. A gateway whose organizations have no webhooks pays one small transaction a look for it, and no
 * call pays for an index that only this would need.
 */
export async function followJournal(db: Db): Promise<{ deliveries: number; isMore: boolean }> {
  return db.transaction(
    async (tx) => {
      const cursor = await lockCursor(tx);
      // Another process is following.
      if (!cursor) return { deliveries: 0, isMore: false };

      // In this order: whoever was given a number up to this one is seen writing, or has ended.
      const lastSeq = await getLastSeq(tx);
      const writers = await listWriters(tx);
      const { reach, mark } = moveOn(cursor, { seq: lastSeq, writers });
      const told = await tellCalls(tx, { after: cursor.seq, upTo: reach });
      if (told.upTo !== cursor.seq || mark !== cursor.mark) await markTold(tx, told.upTo, mark);
      return { deliveries: told.deliveries, isMore: told.isMore };
    },
    // Every statement has to see what was committed before it, and not before the transaction.
    { isolationLevel: 'read committed' },
  );
}

/** A number of the journal, and the transactions that were writing to it once that number had been given. */
export type Mark = { seq: bigint; writers: readonly string[] };
/** Up to where the journal was told, and the mark that is waited for. */
export type Cursor = { seq: bigint; mark: Mark };

/**
 * Up to where the journal may be told, and the mark to wait for next. Rows are numbered in the order they are
 * made and become visible in the order they are committed: telling up to the highest number in sight would
 * pass over whatever a slower transaction has still to commit. So it is told up to a mark whose writers are
 * all gone. A mark is kept until it is passed; under load there is always somebody writing, only not always
 * the same.
 */
export function moveOn(cursor: Cursor, here: Mark): { reach: bigint; mark: Mark } {
  const isPassed = !cursor.mark.writers.some((writer) => here.writers.includes(writer));
  const passed = here.writers.length === 0 ? here : isPassed ? cursor.mark : undefined;
  const reach = passed && passed.seq > cursor.seq ? passed.seq : cursor.seq;
  // A look that finds nothing new leaves the row as it is.
  return { reach, mark: isPassed && here.seq > cursor.mark.seq ? here : cursor.mark };
}

async function lockCursor(tx: Tx): Promise<Cursor | undefined> {
  const [row] = await tx.select().from(webhookCursor).for('update', { skipLocked: true });
  return row && { seq: row.seq, mark: { seq: row.markSeq, writers: row.markWriters } };
}

async function markTold(tx: Tx, seq: bigint, { seq: markSeq, writers }: Mark): Promise<void> {
  await tx.update(webhookCursor).set({ seq, markSeq, markWriters: [...writers] });
}

async function getLastSeq(tx: Tx): Promise<bigint> {
  const { rows } = await tx.execute<{ seq: string | null }>(
    sql`SELECT pg_sequence_last_value(pg_get_serial_sequence('ledger_journal', 'seq')::regclass)::text AS seq`,
  );
  return BigInt(rows[0]?.seq ?? 0);
}

/** An account of an organization that has an endpoint for calls, and that endpoint. */
type Listener = {
  account: string;
  role: 'buyer' | 'seller';
  currency: Currency;
  endpointUuid: string;
  eventTypes: string[];
  createdMicros: string;
};

type CallRow = {
  account: string;
  role: 'buyer' | 'seller';
  id: string;
  seq: string;
  kind: 'settle' | 'refund' | 'expire';
  amount: string;
  fee: string;
  held: string;
  keyId: string | null;
  agentId: string | null;
  createdAt: Date;
  createdMicros: string;
};

async function tellCalls(
  tx: Tx,
  range: { after: bigint; upTo: bigint },
): Promise<{ upTo: bigint; deliveries: number; isMore: boolean }> {
  const listeners = range.upTo > range.after ? await listListeners(tx) : [];
  if (listeners.length === 0) return { upTo: range.upTo, deliveries: 0, isMore: false };

  const rows = await listCallRows(tx, listeners, range);
  const isMore = rows.length === BATCH;
  // The last number may have a second row, of the other party, that was cut off: it comes with the next batch.
  const upTo = isMore ? BigInt(rows.at(-1)?.seq ?? 0) - 1n : range.upTo;
  const wanted = rows
    .filter((row) => BigInt(row.seq) <= upTo)
    .flatMap((row) =>
      listeners
        .filter(({ account, eventTypes, createdMicros }) => {
          const isWanted = eventTypes.length === 0 || eventTypes.includes(typeOf(row));
          return account === row.account && isWanted && BigInt(createdMicros) < BigInt(row.createdMicros);
        })
        .map((listener) => deliveryOf(row, listener)),
    );
  const inserted = await insertDeliveries(tx, wanted);
  return { upTo, deliveries: inserted.length, isMore };
}

async function listListeners(tx: Tx): Promise<Listener[]> {
  const { rows } = await tx.execute<Listener>(sql`
    SELECT a.id::text AS account, CASE a.kind WHEN 'balance' THEN 'buyer' ELSE 'seller' END AS role, e.currency,
      e.id AS "endpointUuid", e.event_types AS "eventTypes", ${micros(sql`e.created_at`)} AS "createdMicros"
    FROM webhook_endpoints e
    JOIN ledger_accounts a ON a.organization_id = e.organization_id AND a.currency = e.currency
    WHERE NOT e.is_disabled AND a.kind IN ('balance', 'earnings')
      AND (e.event_types = '{}' OR e.event_types && ARRAY['call.settled', 'call.refunded'])`);
  return rows;
}

/** The first rows of the range, for each party that listens. */
async function listCallRows(
  tx: Tx,
  listeners: readonly Listener[],
  { after, upTo }: { after: bigint; upTo: bigint },
): Promise<CallRow[]> {
  const accountsOf = (role: Listener['role']) =>
    sql.param([...new Set(listeners.filter((each) => each.role === role).map(({ account }) => account))]);
  const columns = sql`j.id, j.seq, j.kind, j.amount, j.fee, j.held, j.key_id AS "keyId", j.agent_id AS "agentId",
    j.created_at AS "createdAt", ${micros(sql`j.created_at`)} AS "createdMicros"`;
  const { rows } = await tx.execute<CallRow>(sql`
    SELECT * FROM (
      SELECT l.account::text, 'buyer' AS role, j.* FROM unnest(${accountsOf('buyer')}::bigint[]) AS l (account)
      CROSS JOIN LATERAL (
        SELECT ${columns} FROM ledger_journal j
        WHERE j.debit = l.account AND j.seq > ${after} AND j.seq <= ${upTo} AND j.kind IN ('settle', 'refund', 'expire')
        ORDER BY j.seq LIMIT ${BATCH}) j
      UNION ALL
      SELECT l.account::text, 'seller', j.* FROM unnest(${accountsOf('seller')}::bigint[]) AS l (account)
      CROSS JOIN LATERAL (
        SELECT ${columns} FROM ledger_journal j
        WHERE j.credit = l.account AND j.seq > ${after} AND j.seq <= ${upTo} AND j.kind = 'settle'
        ORDER BY j.seq LIMIT ${BATCH}) j
    ) told ORDER BY seq LIMIT ${BATCH}`);
  return rows.map((row) => ({ ...row, createdAt: new Date(row.createdAt) }));
}

/** A moment in µs since 1970: a Date has only milliseconds, and an endpoint's first call may follow within one. */
function micros(moment: SQL): SQL {
  return sql`(extract(epoch FROM ${moment}) * 1000000)::bigint::text`;
}

function typeOf({ kind }: CallRow): 'call.settled' | 'call.refunded' {
  return kind === 'settle' ? 'call.settled' : 'call.refunded';
}

function deliveryOf(row: CallRow, { role, currency, endpointUuid }: Listener): NewDelivery {
  return {
    endpointUuid,
    eventId: eventIdOf(row.id, role),
    type: typeOf(row),
    occurredAt: row.createdAt,
    data: role === 'buyer' ? tellBuyer(row, currency) : tellSeller(row, currency),
  };
}

/** A call ends once, so its event's id follows from its own; buyer and seller hear of two things. */
function eventIdOf(callUuid: string, role: Listener['role']): string {
  if (role === 'buyer') return idOfUuid('evt', callUuid);
  return `evt_${hash('sha256', `${callUuid} ${role}`).slice(0, 32)}`;
}

function tellBuyer(row: CallRow, currency: Currency): JsonObject {
  return {
    call_id: idOfUuid('call', row.id),
    role: 'buyer',
    agent_id: row.agentId,
    key_id: row.keyId,
    currency,
    held: formatCredits(BigInt(row.held)),
    charged: formatCredits(BigInt(row.amount)),
  };
}

/** Nothing of who the buyer is. */
function tellSeller(row: CallRow, currency: Currency): JsonObject {
  const [amount, fee] = [BigInt(row.amount), BigInt(row.fee)];
  return {
    call_id: idOfUuid('call', row.id),
    role: 'seller',
    agent_id: row.agentId,
    currency,
    charged: formatCredits(amount),
    fee: formatCredits(fee),
    proceeds: formatCredits(amount - fee),
  };
}
