import { and, desc, eq, inArray, lt, sql, type SQL } from 'drizzle-orm';
import type { PgColumn } from 'drizzle-orm/pg-core';
import { createBatcher } from '../base/batcher.ts';
import { idOfUuid, uuidOfId } from '../base/ids.ts';
import { traceOf, type Log } from '../base/log.ts';
import { formatCredits } from '../base/money.ts';
import {
  arraysOf,
  bigintArray,
  booleanArray,
  intArray,
  textArray,
  timestamptzArray,
  uuidArray,
  type ArrayOf,
} from '../db/binary-array.ts';
import type { Database, Db } from '../db/db.ts';
import { calls } from './tables.ts';

/** What is written down about one call when it has ended. */
export type CallRecord = Omit<typeof calls.$inferInsert, 'id'> & { id: string };

/** Writes call records, many in one statement. */
export type CallRecorder = {
  /** Never fails and is not waited for: the ledger, and not the record, says what was paid. */
  record(record: CallRecord): void;
  /** Resolves when everything recorded so far by this process can be read. */
  flushed(): Promise<void>;
  depth(): number;
};

const MAX_BATCH = 500;
// Nobody waits for a record, so records wait for each other; whoever reads them asks for them first.
const COLLECT_MS = 50;
const ATTEMPTS = 5;

export function createCallRecorder(database: Database, log: Log): CallRecorder {
  const batcher = createBatcher<CallRecord, undefined>(
    async (records) => {
      await insertWithPatience(database, records, log);
      return [];
    },
    { maxBatch: MAX_BATCH, spacing: { ms: COLLECT_MS, busyAt: 0, enough: MAX_BATCH } },
  );
  return {
    record: (record) => void batcher.add(record),
    flushed: () => batcher.drain(),
    depth: () => batcher.depth(),
  };
}

// The columns in the order of the table, which the row of the conflict clause has.
const COLUMNS = [
  ['id', 'uuid', uuidArray((r) => uuidOfId('call', r.id) ?? '')],
  ['organization_id', 'text', textArray((r) => r.organizationId)],
  ['key_id', 'text', textArray((r) => r.keyId)],
  ['agent_id', 'text', textArray((r) => r.agentId)],
  ['agent_version', 'text', textArray((r) => r.agentVersion ?? null)],
  ['currency', 'text', textArray((r) => r.currency)],
  ['wire', 'text', textArray((r) => r.wire)],
  ['outcome', 'text', textArray((r) => r.outcome)],
  ['replay_of', 'uuid', uuidArray((r) => r.replayOf ?? null)],
  ['code', 'text', textArray((r) => r.code ?? null)],
  ['held_micros', 'bigint', bigintArray((r) => r.heldMicros)],
  ['charged_micros', 'bigint', bigintArray((r) => r.chargedMicros)],
  ['fee_micros', 'bigint', bigintArray((r) => r.feeMicros)],
  ['request_id', 'text', textArray((r) => r.requestId)],
  ['is_delivered', 'boolean', booleanArray((r) => r.isDelivered)],
  ['upstream_ms', 'int', intArray((r) => r.upstreamMs ?? null)],
  ['started_at', 'timestamptz', timestamptzArray((r) => r.startedAt)],
  ['ended_at', 'timestamptz', timestamptzArray((r) => r.endedAt)],
  ['session', 'text', textArray((r) => r.session ?? null)],
  ['acting_for', 'text', textArray((r) => r.actingFor ?? null)],
  ['is_over_reported', 'boolean', booleanArray((r) => r.isOverReported ?? false)],
] as const satisfies readonly [string, string, ArrayOf<CallRecord>][];

const ARRAYS = COLUMNS.map(([, , arrayOf]) => arrayOf);
const NAMES = COLUMNS.map(([name]) => name).join(', ');
// Side by side in the list of what is selected, the arrays are walked once; `FROM unnest(…)` would write each
// into a table of its own first.
const INSERT = `INSERT INTO calls AS c (${NAMES})
SELECT ${COLUMNS.map(([, type], index) => `unnest($${index + 1}::${type}[])`).join(', ')}`;
// To look for a conflict costs a fifth of the insert, and there hardly ever is one.
const INSERT_OR_REPLACE = `${INSERT}
ON CONFLICT (id) DO UPDATE SET (${NAMES}) = ROW (excluded.*) WHERE c.wire = 'sweeper'`;
const UNIQUE_VIOLATION = '23505';

async function insertWithPatience(database: Database, records: CallRecord[], log: Log): Promise<void> {
  let statement = { name: 'insert_calls', text: INSERT };
  for (let attempt = 1; ; attempt += 1) {
    try {
      await database.pool.query({ ...statement, values: arraysOf(ARRAYS, records) });
      return;
    } catch (error) {
      // Written before: by the sweeper, or by an attempt whose answer was lost.
      if (codeOf(error) === UNIQUE_VIOLATION && statement.text === INSERT) {
        statement = { name: 'insert_or_replace_calls', text: INSERT_OR_REPLACE };
        continue;
      }
      if (isFaultOfRecord(error) && records.length > 1) {
        const middle = records.length >> 1;
        await insertWithPatience(database, records.slice(0, middle), log);
        return insertWithPatience(database, records.slice(middle), log);
      }
      if (attempt === ATTEMPTS || isFaultOfRecord(error)) {
        // The journal still has every one that moved money, and recovery writes those records again.
        log('error', 'call records were not written', {
          count: records.length,
          error: traceOf(error),
        });
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 100 * 2 ** attempt));
    }
  }
}

/** One record that cannot be written (data, constraint or cardinality) must not cost the others theirs. */
function isFaultOfRecord(error: unknown): boolean {
  return /^2[123]/.test(codeOf(error));
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

export type CallOutcome = (typeof calls.$inferSelect)['outcome'];

/** A call as its organization reads it. Amounts are decimal credit strings. */
export type CallView = {
  call_id: string;
  agent_id: string;
  agent_version: string | null;
  key_id: string;
  currency: 'live' | 'test';
  wire: string;
  outcome: CallOutcome;
  /** The call whose answer this one was given, free. */
  replay_of: string | null;
  code: string | null;
  held: string;
  charged: string;
  fee: string;
  /** The agent reported more use than its most can pay for; the charge was cut to that. */
  over_reported: boolean;
  delivered: boolean;
  /** As the client named them: the run the call belongs to, and on whose behalf the key called. */
  session: string | null;
  caller: string | null;
  request_id: string;
  latency_ms: number;
  upstream_ms: number | null;
  started_at: string;
  ended_at: string;
};

/** The call, if it is this organization's (undefined means anyone's, for the operator). */
export async function findCall(
  db: Db,
  callId: string,
  organizationId: string | undefined,
): Promise<CallView | undefined> {
  const uuid = uuidOfId('call', callId);
  if (uuid === undefined) return undefined;
  const [row] = await db
    .select()
    .from(calls)
    .where(and(eq(calls.id, uuid), ownedBy(calls.organizationId, organizationId)));
  return row && viewOf(row);
}

/** Newest first. `before` is the last call id of the page before. */
export async function listCalls(
  db: Db,
  page: {
    organizationId: string | undefined;
    agentId: string | undefined;
    outcome: CallOutcome | undefined;
    before: string | undefined;
    limit: number;
  },
): Promise<CallView[]> {
  const before = page.before === undefined ? undefined : uuidOfId('call', page.before);
  const rows = await db
    .select()
    .from(calls)
    .where(
      and(
        ownedBy(calls.organizationId, page.organizationId),
        page.agentId === undefined ? undefined : eq(calls.agentId, page.agentId),
        page.outcome === undefined ? undefined : eq(calls.outcome, page.outcome),
        before === undefined ? undefined : lt(calls.id, before),
      ),
    )
    .orderBy(desc(calls.id))
    .limit(page.limit);
  return rows.map(viewOf);
}

/** Those of these calls whose agent reported more use than its most can pay for. By UUID. */
export async function findOverReports(db: Db, callUuids: readonly string[]): Promise<ReadonlySet<string>> {
  const rows = await db
    .select({ id: calls.id })
    .from(calls)
    .where(and(inArray(calls.id, [...callUuids]), calls.isOverReported));
  return new Set(rows.map(({ id }) => id));
}

/** An undelivered answer has reached its buyer after all. */
export async function markDelivered(db: Db, callId: string): Promise<void> {
  await db
    .update(calls)
    .set({ isDelivered: true })
    .where(eq(calls.id, uuidOfId('call', callId) ?? sql`null`));
}

function ownedBy(column: PgColumn, organizationId: string | undefined): SQL | undefined {
  return organizationId === undefined ? undefined : eq(column, organizationId);
}

function viewOf(row: typeof calls.$inferSelect): CallView {
  return {
    call_id: idOfUuid('call', row.id),
    agent_id: row.agentId,
    agent_version: row.agentVersion,
    key_id: row.keyId,
    currency: row.currency,
    wire: row.wire,
    outcome: row.outcome,
    replay_of: row.replayOf === null ? null : idOfUuid('call', row.replayOf),
    code: row.code,
    held: formatCredits(row.heldMicros),
    charged: formatCredits(row.chargedMicros),
    fee: formatCredits(row.feeMicros),
    over_reported: row.isOverReported,
    delivered: row.isDelivered,
    session: row.session,
    caller: row.actingFor,
    request_id: row.requestId,
    latency_ms: row.endedAt.getTime() - row.startedAt.getTime(),
    upstream_ms: row.upstreamMs,
    started_at: row.startedAt.toISOString(),
    ended_at: row.endedAt.toISOString(),
  };
}
